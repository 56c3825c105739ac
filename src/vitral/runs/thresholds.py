"""From probabilities to labels: one threshold a class, chosen on validation."""

import numpy as np

# Where nothing chose.
UNCHOSEN = 0.5


def choose_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> tuple[float, ...]:
    """For every class the threshold with the highest F1: a class is answered whose probability is not below it.

    Args:
        targets: (images, classes), 0 or 1.
        probabilities: (images, classes), 0..1.

    Returns:
        One a class: half way between the two probabilities that it parts; of several equally good ones that nearest
        to 0.5. It is 0.5 itself for a class that no image has, or every one, as there is nothing to part then.
    """
    return tuple(
        _best(truth, scores)
        for truth, scores in zip(targets.T > 0, probabilities.T.astype(float), strict=True)
    )


def _best(truth: np.ndarray, scores: np.ndarray) -> float:
    if truth.all() or not truth.any():
        return UNCHOSEN
    values, places = np.unique(scores, return_inverse=True)
    # Of answering yes from each value upwards: how many images are answered so, and how many of them rightly.
    answered = np.bincount(places)[::-1].cumsum()[::-1]
    right = np.bincount(places, weights=truth)[::-1].cumsum()[::-1]
    f1 = 2 * right / (answered + truth.sum())
    middles = (np.concatenate([[0.0], values[:-1]]) + values) / 2
    best = middles[f1 == f1.max()]
    return float(best[np.abs(best - UNCHOSEN).argmin()])
