"""Ways to run a network that may be faster: which ones there are to be tried, and which of those are worth it."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitral.inference.backends import PRECISIONS
from vitral.model import ViTConfig
from vitral.model.summary import summarise

# Shares of the multiply-adds that merging is to save, and of each side of an image that is left.
SAVED = (0.10, 0.20, 0.35)
SIDES = (0.86, 0.71)
# Patches a side, below which no image is made.
LEAST_PATCHES = 2


@dataclass(frozen=True)
class Candidate:
    """One way to run a network.

    Args:
        backend, precision: as for `Classifier.load`.
        merge: R, how many patches are merged in every layer.
        image_size: (height, width) in pixels.
    """

    backend: str
    precision: str
    merge: int
    image_size: tuple[int, int]


def pairs(backends: Sequence[str] | None, precisions: Sequence[str] | None) -> list[tuple[str, str]]:
    """Every backend with each of its precisions, or with those of them that are asked for; None: all."""
    return [
        (backend, precision)
        for backend, known in PRECISIONS.items()
        for precision in known
        if precision != "auto"
        and (backends is None or backend in backends)
        and (precisions is None or precision in precisions)
    ]


def merge_counts(config: ViTConfig) -> tuple[int, ...]:
    """The R that come nearest to saving `SAVED` of an architecture's multiply-adds, each larger than its own R."""
    own = summarise(config).multiply_adds
    saved: dict[int, float] = {}
    for count in range(config.merge + 1, max(config.merge, config.patches // 2) + 1):
        saved[count] = 1 - summarise(config.replace(merge=count)).multiply_adds / own
        if saved[count] > max(SAVED):
            break
    some = [count for count in saved if saved[count] > 0]
    return tuple(sorted({min(some, key=lambda count: abs(saved[count] - share)) for share in SAVED if some}))


def smaller_sizes(config: ViTConfig) -> tuple[tuple[int, int], ...]:
    """Smaller (height, width) than an architecture's own, about `SIDES` of it, of whole patches."""
    sizes = []
    for share in SIDES:
        rows, columns = (min(count, max(LEAST_PATCHES, round(share * count))) for count in config.grid)
        sizes.append((rows * config.reach[0], columns * config.reach[1]))
    return tuple(size for size in dict.fromkeys(sizes) if size != config.image_size)


def on_front(points: Sequence[tuple[float, float]], slack: float = 1.0) -> list[bool]:
    """Which points no other one beats: the Pareto front.

    Args:
        points: (speed, accuracy), the more the better.
        slack: how many times as fast another one must be to beat a point; above 1 what is near the front stays, too.
    """

    def beaten(speed: float, accuracy: float) -> bool:
        return any(
            other >= slack * speed and better >= accuracy and (other, better) != (speed, accuracy)
            for other, better in points
        )

    return [not beaten(*point) for point in points]
