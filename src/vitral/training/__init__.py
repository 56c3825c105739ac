"""Training: recipes as data, a visible loop, and what surrounds it."""

from vitral.training.events import EpochDone, Event, Listener, Notice, StepDone
from vitral.training.recipe import RECIPES, Recipe, recipe_for
from vitral.training.trainer import Plan, continue_from, prepare, run

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
    "prepare",
    "recipe_for",
    "run",
]
