"""What a user asks for in one call: train, evaluate, predict, report."""

from vitral.workflow.evaluation import evaluate
from vitral.workflow.reports import report
from vitral.workflow.run import Run
from vitral.workflow.training import train

__all__ = ["Run", "evaluate", "report", "train"]
