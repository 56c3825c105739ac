"""What can be asked of an image: the methods, and what goes with each."""

from dataclasses import dataclass, fields, replace

from vitral.errors import UsageError
from vitral.inspection import FUSIONS

METHODS = ("gradient", "rollout", "attention")
# What each option of a look is for.
GOES_WITH = {
    "target": ("gradient",),
    "layer": ("attention",),
    "head": ("attention",),
    "point": ("rollout", "attention"),
    "fusion": ("rollout", "attention"),
    "discard": ("rollout",),
}


@dataclass(frozen=True)
class Look:
    """What is asked of an image.

    Args:
        method: "gradient": the relevance for a class by attention and its gradient (Chefer et al. 2021); "rollout":
            attention through all layers (appendix D.8); "attention": of one layer. None: the one that the other
            options are for; without any "gradient", or "rollout" where there are no classes or nearest neighbours vote.
        target: the class that "gradient" is about, by its name; None: the most probable one.
        layer: whose "attention", from 0, or from the end with -1; None: the last, or attention pooling's own.
        head: which of its heads alone, from 0; None: all of them by `fusion`.
        point: "rollout" and "attention" from the patch at this pixel (x, y) of the image, and not from what the head
            sees.
        fusion: what becomes of the heads: "mean", "max" or "min".
        discard: the share of each layer's weights, the smallest, that "rollout" leaves out.

    Raises:
        UsageError: what there is not, or what does not go together.
    """

    method: str | None = None
    target: str | None = None
    layer: int | None = None
    head: int | None = None
    point: tuple[float, float] | None = None
    fusion: str = "mean"
    discard: float = 0.0

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in METHODS:
            raise UsageError(f"there is no method {self.method!r}: choose one of {', '.join(METHODS)}")
        if self.fusion not in FUSIONS:
            raise UsageError(f"heads cannot be fused by {self.fusion!r}: choose one of {', '.join(FUSIONS)}")
        if not 0 <= self.discard < 1:
            raise UsageError(f"discard {self.discard:g} is no share: give 0 or more, and less than 1")
        if not self._possible():
            given = " and ".join(self._given())
            asked = f" with method {self.method!r}" if self.method else " together"
            ways = "; ".join(f"{name} is for {' and '.join(GOES_WITH[name])}" for name in self._given())
            raise UsageError(f"{given} cannot be asked{asked}: {ways}")

    def settled(self, usual: str) -> "Look":
        """With its method: the one asked for, else `usual` if the options allow it, else one that they are for."""
        possible = self._possible()
        return replace(self, method=usual if usual in possible else possible[0])

    def _given(self) -> list[str]:
        default = {one.name: one.default for one in fields(self)}
        return [name for name in GOES_WITH if getattr(self, name) != default[name]]

    def _possible(self) -> list[str]:
        methods = METHODS if self.method is None else (self.method,)
        return [one for one in methods if all(one in GOES_WITH[name] for name in self._given())]
