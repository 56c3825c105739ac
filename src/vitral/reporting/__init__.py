"""Figures and pages for people, from a run folder.

What stands here is imported when it is first used: its texts are read where nothing is drawn, too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitral.reporting.comparison import compare, write_comparison
    from vitral.reporting.explanations import write_faithfulness, write_heads
    from vitral.reporting.figures import write_batch, write_curves
    from vitral.reporting.repetition import write_repetition
    from vitral.reporting.report import write_report

__all__ = [
    "compare",
    "write_batch",
    "write_comparison",
    "write_curves",
    "write_faithfulness",
    "write_heads",
    "write_repetition",
    "write_report",
]

_HOMES = {
    "compare": "comparison",
    "write_batch": "figures",
    "write_comparison": "comparison",
    "write_curves": "figures",
    "write_faithfulness": "explanations",
    "write_heads": "explanations",
    "write_repetition": "repetition",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vitral.reporting' has no attribute {name!r}")
    return getattr(import_module(f"vitral.reporting.{_HOMES[name]}"), name)
