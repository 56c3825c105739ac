"""What a user asks for in one call: train, evaluate, probe, predict, explain, inspect, tune, embed, search, report.

What stands here is imported when it is first used: to predict needs neither augmentations nor figures.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitral.workflow.embedding import embed
    from vitral.workflow.evaluation import evaluate
    from vitral.workflow.explaining import explain
    from vitral.workflow.inspecting import inspect
    from vitral.workflow.probing import probe
    from vitral.workflow.reports import compare, report
    from vitral.workflow.run import Run
    from vitral.workflow.searching import search
    from vitral.workflow.training import train
    from vitral.workflow.tuning import tune

__all__ = [
    "Run",
    "compare",
    "embed",
    "evaluate",
    "explain",
    "inspect",
    "probe",
    "report",
    "search",
    "train",
    "tune",
]

_HOMES = {
    "Run": "run",
    "compare": "reports",
    "embed": "embedding",
    "evaluate": "evaluation",
    "explain": "explaining",
    "inspect": "inspecting",
    "probe": "probing",
    "report": "reports",
    "search": "searching",
    "train": "training",
    "tune": "tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vitral.workflow' has no attribute {name!r}")
    return getattr(import_module(f"vitral.workflow.{_HOMES[name]}"), name)
