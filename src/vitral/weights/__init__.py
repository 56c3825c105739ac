"""Checkpoints of every family, in and out. What a name stands for is imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitral.weights.catalogue import CATALOGUE, DEFAULT, Pretrained
    from vitral.weights.channels import adapt_filters
    from vitral.weights.conversion import Conversion, convert
    from vitral.weights.heads import match_head
    from vitral.weights.opening import load_model, overrides_from, read_checkpoint
    from vitral.weights.reading import Overrides
    from vitral.weights.source import Source, find_source, is_weights
    from vitral.weights.store import (
        Checkpoint,
        Origin,
        find_checkpoint,
        read_config,
        write_checkpoint,
        write_config,
    )

__all__ = [
    "CATALOGUE",
    "DEFAULT",
    "Checkpoint",
    "Conversion",
    "Origin",
    "Overrides",
    "Pretrained",
    "Source",
    "adapt_filters",
    "convert",
    "find_checkpoint",
    "find_source",
    "is_weights",
    "load_model",
    "match_head",
    "overrides_from",
    "read_checkpoint",
    "read_config",
    "write_checkpoint",
    "write_config",
]

_HOMES = {
    "catalogue": ("CATALOGUE", "DEFAULT", "Pretrained"),
    "channels": ("adapt_filters",),
    "conversion": ("Conversion", "convert"),
    "heads": ("match_head",),
    "opening": ("load_model", "overrides_from", "read_checkpoint"),
    "reading": ("Overrides",),
    "source": ("Source", "find_source", "is_weights"),
    "store": ("Checkpoint", "Origin", "find_checkpoint", "read_config", "write_checkpoint", "write_config"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"vitral.weights.{home}"), name)
    raise AttributeError(f"module 'vitral.weights' has no attribute {name!r}")
