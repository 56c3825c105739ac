"""Checkpoints, in and out."""

from vitral.weights.store import (
    Checkpoint,
    find_checkpoint,
    load_model,
    read_checkpoint,
    read_config,
    write_checkpoint,
    write_config,
)

__all__ = [
    "Checkpoint",
    "find_checkpoint",
    "load_model",
    "read_checkpoint",
    "read_config",
    "write_checkpoint",
    "write_config",
]
