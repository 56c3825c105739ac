"""What training tells whoever listens: a progress bar, a notebook, a tracker. Training itself prints nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StepDone:
    """One update more.

    Args:
        epoch: the current one, from 1.
        step, steps: updates done, and in all.
        loss: mean over the epoch so far; None before it is known.
        images_per_second: over the epoch so far.
        seconds_left: until the last step, at this rate.
    """

    epoch: int
    step: int
    steps: int
    loss: float | None
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class EpochDone:
    """An epoch has been trained, measured and kept.

    Args:
        figures: its line of metrics.jsonl.
        epochs: how many there will be.
        best: whether validation found it the best so far.
    """

    figures: dict[str, Any]
    epochs: int
    best: bool


@dataclass(frozen=True)
class Notice:
    """Something that a person should know, one sentence."""

    text: str


Event = StepDone | EpochDone | Notice
Listener = Callable[[Event], None]
