"""What the values of the training images are: a range, and mean and standard deviation of every channel."""

import builtins
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vitral.data.labelled import LabelledImages
from vitral.errors import DataError

PERCENTILES = (0.5, 99.5)
# Values that the percentiles are taken of: all where there are no more, else as many drawn at random. At 4 million the
# share of values below what is found is between 0.49 and 0.51 per cent.
SAMPLED = 1 << 22


@dataclass(frozen=True)
class Statistics:
    """Of the training images.

    Args:
        range: the values that become 0 and 1.
        mean, std: one number per channel, in units where `range` is 0..1.
    """

    range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def statistics(
    data: LabelledImages,
    range: tuple[float, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Look once at every training image; memory stays the same however many there are.

    Args:
        data: its training split is looked at.
        range: None: the 0.5 and 99.5 percentiles of all values.
        progress: called with the number of images looked at so far and in all.

    Raises:
        DataError: the percentiles are one and the same number.
        ImageError: an image has gone bad since DATA was opened.
    """
    samples = data.split("train")
    count = np.zeros((), np.int64)
    mean, squares = (
        np.zeros(data.channels),
        np.zeros(data.channels),
    )  # squares: of the distances from the mean
    drawn = _Drawn()
    for done, sample in enumerate(samples, start=1):
        values = data.read(sample).reshape(-1, data.channels)
        if range is None:
            drawn.add(values.reshape(-1))
        # Sums of two parts put together (Chan, Golub and LeVeque 1983): large offsets cost no digits.
        columns = [values[:, channel] for channel in builtins.range(data.channels)]
        own = np.array([column.mean(dtype=np.float64) for column in columns])
        spread = np.array([column.var(dtype=np.float64) for column in columns])
        apart, total = own - mean, count + len(values)
        squares += spread * len(values) + apart**2 * (count * len(values) / total)
        mean, count = mean + apart * (len(values) / total), total
        if progress is not None:
            progress(done, len(samples))
    low, high = range or drawn.percentiles()
    if low >= high:
        raise DataError(
            f"the {PERCENTILES[0]} and {PERCENTILES[1]} percentiles of the training images' values are both {low:g}: "
            "say with --range LOW,HIGH which values matter"
        )
    deviation = np.sqrt(squares / count) / (high - low)
    return Statistics(
        (low, high),
        tuple(((mean - low) / (high - low)).tolist()),
        tuple(np.where(deviation > 0, deviation, 1.0).tolist()),  # a channel that never changes
    )


class _Drawn:
    """Some of a stream of values, each of them as likely as any other to be among them."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.count, self.share, self.random = 0, 1.0, np.random.default_rng(0)

    def add(self, values: np.ndarray) -> None:
        """Take the next values into account."""
        self._keep(self._thinned(values, self.share) if self.share < 1 else values)
        while self.count > SAMPLED:  # half of what there is, and of what comes
            together = np.concatenate(self.parts)
            self.parts, self.count, self.share = [], 0, self.share / 2
            self._keep(self._thinned(together, 0.5))

    def percentiles(self) -> tuple[float, float]:
        low, high = np.percentile(np.concatenate(self.parts), PERCENTILES).tolist()
        return low, high

    def _keep(self, values: np.ndarray) -> None:
        self.parts.append(values)
        self.count += len(values)

    def _thinned(self, values: np.ndarray, share: float) -> np.ndarray:
        return values[self.random.random(len(values), np.float32) < share]
