"""Is an explanation true? Take away what it calls relevant, and see whether the answer goes with it.

Deletion and insertion: Petsiuk et al. 2018, "RISE", section 4.1; of whole patches, in the order of their relevance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitral.errors import VitralError

STEPS = 16
RANDOM_ORDERS = 2

Score = Callable[[Tensor], np.ndarray]


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """What happens to a score as patches are removed, and added, in the order of their relevance and at random.

    Args:
        fractions: float64 `(steps + 1,)`, of the patches, from 0 to 1.
        deletion: of each fraction removed, the most relevant first: the share of the score that is lost.
        insertion: of each fraction added to an image without any, the most relevant first: the share that is regained.
        random_deletion, random_insertion: the same in random orders, their mean.
    """

    fractions: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray
    random_deletion: np.ndarray
    random_insertion: np.ndarray

    def areas(self) -> dict[str, float]:
        """The mean of each curve over the fractions: the larger, the more faithful."""
        names = ("deletion", "insertion", "random_deletion", "random_insertion")
        return {name: float(np.trapezoid(getattr(self, name), self.fractions)) for name in names}


def faithfulness(
    score: Score, image: Tensor, relevance: np.ndarray, *, steps: int = STEPS, seed: int | tuple[int, ...] = 0
) -> Faithfulness:
    """Measure one explanation.

    Args:
        score: gives for images `(batch, channels, height, width)` a number each, `(batch,)`: the probability of the
            class that is explained, or how alike a representation stays; of `image` itself above 0.
        image: `(channels, height, width)` as the network takes it; a removed patch becomes 0, the mean colour.
        relevance: `(rows, columns)` of the patches.
        steps: how many fractions of the patches are tried, at most.
        seed: of the random orders.

    Raises:
        VitralError: the score of `image` itself is 0.
    """
    grid = relevance.shape
    count = relevance.size
    removed = np.unique(np.linspace(0, count, min(steps, count) + 1).round().astype(int))
    generator = np.random.default_rng(seed)
    orders = [np.argsort(-relevance.ravel(), kind="stable")]
    orders += [generator.permutation(count) for _ in range(RANDOM_ORDERS)]
    (whole,) = score(image[None])
    if not whole > 0:
        raise VitralError("the class has no probability here that could be lost: explain a likelier one")
    curves = []
    for order in orders:
        first = _first(order, removed, grid)
        kept = torch.from_numpy(np.concatenate([~first, first])).to(image.device)
        scores = score(image * _as_pixels(kept, image))
        without, only = np.split(scores.astype(np.float64) / whole, 2)
        curves.append((1 - without, only))
    (deletion, insertion), *others = curves
    random_deletion, random_insertion = np.mean(others, axis=0)
    return Faithfulness(removed / count, deletion, insertion, random_deletion, random_insertion)


def _first(order: np.ndarray, counts: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Which patches are among the first so many of `order`: booleans `(counts, rows, columns)`."""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return (rank < counts[:, None]).reshape(-1, *grid)


def _as_pixels(patches: Tensor, image: Tensor) -> Tensor:
    """`(masks, rows, columns)` to `(masks, 1, height, width)` of the image's type."""
    high, wide = image.shape[1] // patches.shape[1], image.shape[2] // patches.shape[2]
    return patches.repeat_interleave(high, 1).repeat_interleave(wide, 2)[:, None].to(image.dtype)


def compared(measured: Sequence[Faithfulness]) -> dict[str, Any]:
    """How much better the explanations of several images are than random orders, ready for JSON.

    Returns:
        images, and of "deletion" and "insertion" each: area (the mean over images), random (the same of random orders),
        difference, and interval, its 95 % by Student's t over the images; None of a single image.
    """
    from scipy.stats import ttest_1samp  # takes a while to import

    areas = [one.areas() for one in measured]
    found: dict[str, Any] = {"images": len(measured)}
    for kind in ("deletion", "insertion"):
        ours, random = (np.array([one[name] for one in areas]) for name in (kind, f"random_{kind}"))
        interval = None
        if len(measured) > 1:
            low, high = ttest_1samp(ours - random, 0).confidence_interval()
            interval = [float(low), float(high)]
        found[kind] = {
            "area": float(ours.mean()),
            "random": float(random.mean()),
            "difference": float((ours - random).mean()),
            "interval": interval,
        }
    return found
