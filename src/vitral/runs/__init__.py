"""The run folder: its layout and metadata, predictions, and what predictions are worth."""

from vitral.runs.comparison import PairedDifference, paired_difference, paired_precision
from vitral.runs.evaluation import ClassFigures, Evaluation, evaluate_predictions
from vitral.runs.layout import RunFolder
from vitral.runs.machine import machine, versions
from vitral.runs.multi_label import LabelFigures, MultiLabelEvaluation, evaluate_multi_label
from vitral.runs.predictions import Predictions, answered, read_predictions, write_predictions
from vitral.runs.repetition import kind_of, put_together, share_right
from vitral.runs.results import write_results
from vitral.runs.second_look import DoubtfulLabel, doubtful_labels, read_second_look
from vitral.runs.thresholds import choose_thresholds

__all__ = [
    "ClassFigures",
    "DoubtfulLabel",
    "Evaluation",
    "LabelFigures",
    "MultiLabelEvaluation",
    "PairedDifference",
    "Predictions",
    "RunFolder",
    "answered",
    "choose_thresholds",
    "doubtful_labels",
    "evaluate_multi_label",
    "evaluate_predictions",
    "kind_of",
    "machine",
    "paired_difference",
    "paired_precision",
    "put_together",
    "read_predictions",
    "read_second_look",
    "share_right",
    "versions",
    "write_predictions",
    "write_results",
]
