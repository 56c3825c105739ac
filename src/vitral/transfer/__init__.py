"""Frozen features: extract once, keep, fit a probe. What stands here is imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitral.transfer.features import Backbone, Extraction, make_backbone
    from vitral.transfer.fitting import Fitted, classifier_from, few_shots, fit
    from vitral.transfer.pooling import Pooling, poolings
    from vitral.transfer.probes import (
        LinearProbe,
        NeighbourProbe,
        calibrated,
        least_squares,
        logistic,
        nearest_neighbours,
        targets_of,
    )
    from vitral.transfer.recipe import ProbeRecipe, shots_from

__all__ = [
    "Backbone",
    "Extraction",
    "Fitted",
    "LinearProbe",
    "NeighbourProbe",
    "Pooling",
    "ProbeRecipe",
    "calibrated",
    "classifier_from",
    "few_shots",
    "fit",
    "least_squares",
    "logistic",
    "make_backbone",
    "nearest_neighbours",
    "poolings",
    "shots_from",
    "targets_of",
]

_HOMES = {
    **dict.fromkeys(("Backbone", "Extraction", "make_backbone"), "features"),
    **dict.fromkeys(("Fitted", "classifier_from", "few_shots", "fit"), "fitting"),
    **dict.fromkeys(("Pooling", "poolings"), "pooling"),
    **dict.fromkeys(
        (
            "LinearProbe",
            "NeighbourProbe",
            "calibrated",
            "least_squares",
            "logistic",
            "nearest_neighbours",
            "targets_of",
        ),
        "probes",
    ),
    **dict.fromkeys(("ProbeRecipe", "shots_from"), "recipe"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vitral.transfer' has no attribute {name!r}")
    return getattr(import_module(f"vitral.transfer.{_HOMES[name]}"), name)
