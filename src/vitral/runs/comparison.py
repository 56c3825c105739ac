"""Two models on the same images: is one of them better, or is it luck?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitral.errors import DataError
from vitral.runs.intervals import Interval, effective_images, group_codes, paired_interval


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of the first less that of the second, -1..1, its 95 % interval, and on how many images."""

    images: int
    difference: float
    interval: Interval


def paired_difference(
    correct_a: np.ndarray, correct_b: np.ndarray, groups: Sequence[str] | None = None
) -> PairedDifference:
    """Compare two models on the images that both answered.

    Args:
        correct_a: (images,) booleans, whether the first is right.
        correct_b: (images,) booleans, whether the second is, of the same images in the same order.
        groups: as for `evaluate_predictions`.

    Raises:
        DataError: there is no image.
    """
    if len(correct_a) == 0:
        raise DataError("the two runs share no image to compare: evaluate both on the same data")
    if np.shape(correct_a) != np.shape(correct_b):
        raise ValueError(f"{len(correct_a)} answers against {len(correct_b)}")
    differences = np.asarray(correct_a, dtype=np.int64) - np.asarray(correct_b, dtype=np.int64)
    difference, differing = float(differences.mean()), float(np.abs(differences).mean())
    effective = effective_images((differences + 1) / 2, group_codes(groups))
    return PairedDifference(len(differences), difference, paired_interval(difference, differing, effective))
