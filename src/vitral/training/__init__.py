"""Training: recipes as data, a visible loop, and what surrounds it.

What stands here is imported when it is first used: the command line shows recipes and their options without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitral.training.events import EpochDone, Event, Listener, Notice, StepDone
    from vitral.training.plan import Plan, make_learner, prepare
    from vitral.training.recipe import RECIPES, Recipe, recipe_for
    from vitral.training.trainer import continue_from, run

__all__ = [
    "RECIPES",
    "EpochDone",
    "Event",
    "Listener",
    "Notice",
    "Plan",
    "Recipe",
    "StepDone",
    "continue_from",
    "make_learner",
    "prepare",
    "recipe_for",
    "run",
]

_HOMES = {
    **dict.fromkeys(("EpochDone", "Event", "Listener", "Notice", "StepDone"), "events"),
    **dict.fromkeys(("RECIPES", "Recipe", "recipe_for"), "recipe"),
    **dict.fromkeys(("Plan", "make_learner", "prepare"), "plan"),
    **dict.fromkeys(("continue_from", "run"), "trainer"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vitral.training' has no attribute {name!r}")
    return getattr(import_module(f"vitral.training.{_HOMES[name]}"), name)
