"""Figures and pages for people, from a run folder."""

from vitral.reporting.comparison import compare, write_comparison
from vitral.reporting.figures import write_batch, write_curves
from vitral.reporting.repetition import write_repetition
from vitral.reporting.report import write_report

__all__ = [
    "compare",
    "write_batch",
    "write_comparison",
    "write_curves",
    "write_repetition",
    "write_report",
]
