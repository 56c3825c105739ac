"""Checkpoints of every family, in and out."""

from vitral.weights.catalogue import CATALOGUE, DEFAULT, Pretrained
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
    "Origin",
    "Overrides",
    "Pretrained",
    "Source",
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
