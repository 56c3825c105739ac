"""Does the model mean what it says? Answers sorted into bins by their probability (Guo et al. 2017, section 2)."""

import numpy as np

from vitral.reporting.charts import Bin
from vitral.runs.evaluation import CALIBRATION_BINS
from vitral.runs.intervals import wilson_interval


def reliability_bins(confidence: np.ndarray, right: np.ndarray) -> list[Bin]:
    """The bins that hold any answer, cut where the calibration error cuts them.

    Args:
        confidence: (images,), the probability of the answer, 0..1.
        right: (images,) booleans.
    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    positions = np.searchsorted(edges[1:-1], confidence)
    bins = []
    for index in range(CALIBRATION_BINS):
        inside = positions == index
        images = int(inside.sum())
        if images:
            share = float(right[inside].mean())
            bins.append(
                Bin(
                    low=float(edges[index]),
                    high=float(edges[index + 1]),
                    confidence=float(confidence[inside].mean()),
                    accuracy=share,
                    interval=wilson_interval(share, images),
                    images=images,
                )
            )
    return bins
