"""Two models on the same images: is one of them better, or is it luck?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitral.errors import DataError
from vitral.runs.intervals import (
    Interval,
    effective_images,
    group_codes,
    paired_interval,
    resampled_interval,
)
from vitral.runs.multi_label import redrawn_precision, replicates_for


@dataclass(frozen=True)
class PairedDifference:
    """How much better one of two models answers the same images.

    Attributes:
        images: how many both answered.
        difference: accuracy, or mean average precision, of the first less that of the second, -1..1.
        interval: 95 %, by groups where there are groups.
        groups: how many groups the interval stands on; None where every image stands for itself.
    """

    images: int
    difference: float
    interval: Interval
    groups: int | None = None


def paired_difference(
    correct_a: np.ndarray, correct_b: np.ndarray, groups: Sequence[str] | None = None
) -> PairedDifference:
    """Compare two models on the images that both answered.

    Args:
        correct_a: (images,) booleans, whether the first is right; for the mean of several trainings the share 0..1 of
            them that are.
        correct_b: (images,) the same of the second, of the same images in the same order.
        groups: as for `evaluate_predictions`.

    Raises:
        DataError: there is no image.
    """
    if len(correct_a) == 0:
        raise DataError("the two runs share no image to compare: evaluate both on the same data")
    if np.shape(correct_a) != np.shape(correct_b):
        raise ValueError(f"{len(correct_a)} answers against {len(correct_b)}")
    differences = np.asarray(correct_a, dtype=np.float64) - np.asarray(correct_b, dtype=np.float64)
    codes = group_codes(groups)
    # Of right and wrong answers the mean square is the share on which the two disagree.
    difference, differing = float(differences.mean()), float((differences**2).mean())
    interval = paired_interval(difference, differing, effective_images((differences + 1) / 2, codes))
    return PairedDifference(
        len(differences), difference, interval, len(np.unique(codes)) if codes is not None else None
    )


def paired_precision(
    truth: np.ndarray, first: np.ndarray, second: np.ndarray, groups: Sequence[str] | None = None
) -> PairedDifference:
    """Compare the mean average precision of two models on the images that both answered.

    The interval comes from images drawn again, the same ones for both.

    Args:
        truth: (images, classes) booleans; some image has some class.
        first, second: probabilities (images, classes).
        groups: as for `evaluate_predictions`.
    """
    codes = group_codes(groups)
    of_first, of_second = (redrawn_precision(truth, [answers]) for answers in (first, second))
    everything = np.ones((1, len(truth)))
    difference = float((of_first(everything) - of_second(everything))[0])

    def as_share(weights: np.ndarray) -> np.ndarray:
        return (of_first(weights) - of_second(weights) + 1) / 2

    share = resampled_interval(
        (difference + 1) / 2, as_share, len(truth), codes, replicates_for(2 * truth.size)
    )
    low, high = (2 * end - 1 for end in share)
    return PairedDifference(
        len(truth), difference, (low, high), len(np.unique(codes)) if codes is not None else None
    )
