"""The numbers behind the curves: which measure stands at which epoch, from the lines of metrics.jsonl."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

SPLITS = ("train", "validation", "test")


def curve(
    metrics: Iterable[Mapping[str, Any]], key: str, scale: float = 1.0
) -> tuple[tuple[float, float], ...]:
    """`(epoch, value * scale)` for every epoch that has a finite `key`."""
    points = []
    for line in metrics:
        value = line.get(key)
        if value is not None and math.isfinite(value):
            points.append((float(line["epoch"]), scale * float(value)))
    return tuple(points)


def curves_by_split(
    metrics: Iterable[Mapping[str, Any]], measure: str, scale: float = 1.0
) -> dict[str, tuple[tuple[float, float], ...]]:
    """The curve of `measure` (`"loss"`, `"accuracy"`) for each split that has one."""
    lines = list(metrics)
    found = {split: curve(lines, f"{split}_{measure}", scale) for split in SPLITS}
    return {split: points for split, points in found.items() if points}
