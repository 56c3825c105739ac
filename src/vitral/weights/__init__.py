"""Checkpoints, in and out."""

from vitral.weights.store import Checkpoint, find_checkpoint, load_model, read_checkpoint, write_checkpoint

__all__ = ["Checkpoint", "find_checkpoint", "load_model", "read_checkpoint", "write_checkpoint"]
