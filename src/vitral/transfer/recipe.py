"""How a probe is fitted, as data. No torch here, so that the command line can show it at once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from vitral.errors import ConfigError, UsageError

# Several draws of so many images a class; "all" is every training image, once.
Shots = int | Literal["all"]


@dataclass(frozen=True)
class ProbeRecipe:
    """How a probe is fitted: what was asked for, and in a run's recipe.toml what it came to."""

    method: Literal["least-squares", "logistic", "knn"] = "least-squares"
    layer: int = -1
    """The network ends with this layer: from 0, or from the end with -1."""
    feature_layers: int = 0
    """The features of the last so many layers side by side; 0: 1 or 6, as left-out images are answered better."""
    pool: Literal["", "token", "average", "token_average", "distilled", "attention"] = ""
    """What becomes of a layer's tokens; "": the network's own pooling with 1 layer, all there is with 6."""
    image_size: int = 0
    """Side in pixels; 0: the checkpoint's own, at most 224."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    flip: Literal["none", "horizontal"] = "horizontal"
    """horizontal: training images count once more, mirrored."""
    shots: tuple[Shots, ...] = ()
    """Images a class to learn from, in an experiment beside the run: 1, 5, …, "all"."""
    draws: int = 5
    """Draws of each number of shots."""
    strength: float | None = None
    """Of the regularisation; chosen."""
    neighbours: int | None = None
    """How many vote; chosen."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, choices = getattr(self, field.name), getattr(field.type, "__args__", ())
            if all(isinstance(choice, str) for choice in choices) and choices and value not in choices:
                raise ConfigError(
                    f"{field.name} must be one of {', '.join(filter(None, choices))}, not {value!r}"
                )
        for name, least in (("feature_layers", 0), ("image_size", 0), ("draws", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"{name} must be a whole number, {least} or more, not {value!r}")
        object.__setattr__(self, "shots", shots_from(self.shots))

    @property
    def batch_size(self) -> int:
        """Images computed at once."""
        return 32

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked again."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values; of shots a list."""
        return asdict(self) | {"shots": list(self.shots)}


def shots_from(given: str | Sequence[int | str] | None) -> tuple[Shots, ...]:
    """`1,5,10,all`, or a list of these.

    Raises:
        UsageError: it is neither.
    """
    if not given:
        return ()
    parts = given.split(",") if isinstance(given, str) else given
    shots: list[Shots] = []
    for part in parts:
        text = str(part).strip()
        if text == "all":
            shots.append("all")
        elif text.isdecimal() and int(text) > 0:
            shots.append(int(text))
        else:
            raise UsageError(f"--shots takes whole numbers and all, such as 1,5,10,all, not {text!r}")
    return tuple(dict.fromkeys(shots))
