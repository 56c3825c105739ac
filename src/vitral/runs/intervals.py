"""95 % intervals for shares of images, also where images come in groups that stand or fall together.

Ten photographs of one patient are not ten independent images. What they are worth is estimated from how much
groups differ (the design effect), and the interval is drawn as if there were only that many images. With few
groups, or nearly all answers right, this keeps its 95 %, where resampling the groups does not.

Sources: Wilson 1927; Korn and Graubard 1998 (effective sample size, with Student's t for few groups);
Agresti and Min 2005 (paired difference).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

Interval = tuple[float, float]

NORMAL_QUANTILE = 1.959963984540054  # 95 % of the normal distribution lie within this many deviations


def wilson_interval(share: float, images: float) -> Interval:
    """Wilson's score interval of a share 0..1 seen in `images` independent images (a fraction is fine)."""
    squared = NORMAL_QUANTILE**2
    centre = (share + squared / (2 * images)) / (1 + squared / images)
    half = NORMAL_QUANTILE * math.sqrt(share * (1 - share) / images + squared / (4 * images**2))
    half /= 1 + squared / images
    # The share lies inside by definition; rounding must not leave a perfect score outside its interval.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def paired_interval(difference: float, differing: float, images: float) -> Interval:
    """Agresti and Min's interval of a difference of two shares of the same images.

    Args:
        difference: first share minus second, -1..1.
        differing: share of the images on which the two disagree; of shares of right answers the mean squared
            difference.
        images: number of independent images (a fraction is fine).
    """
    total = images + 2
    centre = difference * images / total
    variance = ((differing * images + 1) / total - centre**2) / total
    half = NORMAL_QUANTILE * math.sqrt(variance)
    return max(-1.0, centre - half), min(1.0, centre + half)


def repeated_interval(correct: np.ndarray, groups: np.ndarray | None) -> Interval:
    """The interval of a share that several trainings reached on the same images.

    The answers to one image stand or fall together as members of a group do, so an image and its answers are one
    cluster (a group of images with all their answers, where there are groups). What varies is which images were
    photographed; how much trainings differ from one another is told by their spread, not by this.

    Args:
        correct: (images, trainings) booleans.
        groups: (images,) integers; None where every image stands for itself.
    """
    codes = np.arange(len(correct)) if groups is None else groups
    answers = correct.ravel()
    worth = effective_images(answers, np.repeat(codes, correct.shape[1]))
    return wilson_interval(float(answers.mean()), worth)


def effective_images(values: np.ndarray, groups: np.ndarray | None) -> float:
    """How many independent images would tell the mean of `values` as well as these images in groups do.

    Args:
        values: (images,) 0..1, what was found in each image, such as right or wrong.
        groups: (images,) integers; None where every image stands for itself.
    """
    images = len(values)
    if groups is None:
        return float(images)
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) == images:
        return float(images)
    mean = values.mean()
    residuals = values - mean
    # A few groups may agree by luck, and all of them do where every answer is right. So to those that were
    # seen come half a group that is all 1 and half a group that is all 0, of the size that the mean image's
    # group has: without any evidence each group then counts as one image, and with much they do not matter.
    size = (sizes**2).sum() / images
    added = ((1 - mean) ** 2 + mean**2) / 2
    between_groups = (np.bincount(codes, weights=residuals) ** 2).sum() + added * size**2
    between_images = (residuals**2).sum() + added * size
    effective = images / max(1.0, float(between_groups / between_images))
    return effective * _few_groups(len(sizes))


def _few_groups(groups: int) -> float:
    """What an effective number is multiplied with, so that Student's t replaces the normal distribution."""
    from scipy.special import stdtrit

    return (NORMAL_QUANTILE / float(stdtrit(groups - 1, 0.975))) ** 2 if groups > 1 else 1.0


def resampled_interval(
    value: float,
    statistic: Callable[[np.ndarray], np.ndarray],
    images: int,
    groups: np.ndarray | None,
    replicates: int,
) -> Interval:
    """The interval of a figure 0..1 of many images together, such as a mean average precision.

    Images, or whole groups, are drawn again with replacement (Efron 1979), always alike. How much the figure varies
    then says how many independent images would vary as much, and the interval is Wilson's for that many: the
    quantiles of the draws themselves end where the figure does when it is nearly perfect, and leave no room.

    Args:
        value: the figure.
        statistic: takes how often each image was drawn, (replicates, images), and gives the figure for each
            replicate, NaN where there is none.
        images: how many.
        groups: (images,) integers; None where every image stands for itself.
        replicates: how often to draw.
    """
    codes = np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(codes.max()) + 1
    generator, block = np.random.default_rng(0), max(1, 2_000_000 // images)
    values = []
    for start in range(0, replicates, block):
        count = min(block, replicates - start)
        drawn = generator.multinomial(units, np.full(units, 1 / units), size=count)
        values.append(statistic(drawn[:, codes].astype(np.float64)))
    found = np.concatenate(values)
    variance = float(np.var(found[np.isfinite(found)])) * units / max(1, units - 1)
    # Rounding is no variation.
    effective = value * (1 - value) / variance if variance > 1e-12 else float(units)
    return wilson_interval(value, effective * (1.0 if groups is None else _few_groups(units)))


def group_codes(groups: Sequence[str] | None) -> np.ndarray | None:
    """Groups as integers (images,), an empty name a group of its own; None where no two images share one."""
    if groups is None:
        return None
    numbers: dict[str | int, int] = {}
    codes = [numbers.setdefault(name or index, len(numbers)) for index, name in enumerate(groups)]
    return np.array(codes) if len(numbers) < len(codes) else None
