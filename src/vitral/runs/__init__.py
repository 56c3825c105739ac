"""The run folder: its layout and metadata, predictions, and what predictions are worth."""

from vitral.runs.comparison import PairedDifference, paired_difference
from vitral.runs.evaluation import ClassFigures, Evaluation, evaluate_predictions
from vitral.runs.layout import RunFolder
from vitral.runs.machine import machine, versions
from vitral.runs.predictions import Predictions, read_predictions, write_predictions

__all__ = [
    "ClassFigures",
    "Evaluation",
    "PairedDifference",
    "Predictions",
    "RunFolder",
    "evaluate_predictions",
    "machine",
    "paired_difference",
    "read_predictions",
    "versions",
    "write_predictions",
]
