"""Figures and pages for people, from a run folder."""

from vitral.reporting.comparison import write_comparison
from vitral.reporting.figures import write_batch, write_curves
from vitral.reporting.report import write_report

__all__ = ["write_batch", "write_comparison", "write_curves", "write_report"]
