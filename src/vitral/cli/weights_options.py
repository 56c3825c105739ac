"""What the user may say about WEIGHTS of other origin, as options of every command that takes them."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from vitral.errors import UsageError

GROUP = Group("Weights of other origin")
SPEED = Group("Speed")


@dataclass(frozen=True)
class WeightsOptions:
    """What their files do not settle, or settle wrongly; `vitral summary WEIGHTS` shows what was taken for granted."""

    family: Annotated[str | None, Parameter(group=GROUP)] = None
    """Whose format it is, where two fit: jax, timm, eva, facebook, torchvision; of transformers vit, deit, vit_mae, dinov2, dinov2_with_registers, dinov3_vit, clip_vision_model, siglip_vision_model."""  # noqa: E501
    grid: Annotated[str | None, Parameter(group=GROUP)] = None
    """Rows and columns of patches that the positions were learned on, such as 12x20; default: a square."""
    heads: Annotated[int | None, Parameter(group=GROUP)] = None
    """Attention heads."""
    activation: Annotated[
        Literal["gelu", "gelu_tanh", "quick_gelu", "silu"] | None, Parameter(group=GROUP)
    ] = None
    """Of the MLP."""
    norm_epsilon: Annotated[float | None, Parameter(group=GROUP)] = None
    """Of the layer norms."""
    position_interpolation: Annotated[
        Literal["bilinear", "bicubic", "bicubic_corners", "bicubic_antialias", "bicubic_offset"] | None,
        Parameter(group=GROUP),
    ] = None
    """How positions are brought to another image size; default: as the family does it."""
    mean: Annotated[str | None, Parameter(group=GROUP)] = None
    """Of the images' channels, from 0 to 1, such as 0.485,0.456,0.406."""
    std: Annotated[str | None, Parameter(group=GROUP)] = None
    """Standard deviation of the images' channels."""
    interpolation: Annotated[Literal["bicubic", "bilinear", "nearest"] | None, Parameter(group=GROUP)] = None
    """How images are resized."""
    crop_share: Annotated[float | None, Parameter(group=GROUP)] = None
    """Share of the resized image that is kept, such as 0.875."""
    merge: Annotated[int | None, Parameter(group=SPEED)] = None
    """Patches merged away in every layer of any weights, the most similar ones: faster, a little less exact."""

    def given(self) -> dict[str, Any]:
        """What was said, as keywords of `vitral.load_model`.

        Raises:
            UsageError: a grid or numbers that are none.
        """
        values = vars(self) | {
            "grid": _grid(self.grid),
            "mean": _numbers("--mean", self.mean),
            "std": _numbers("--std", self.std),
        }
        return {name: value for name, value in values.items() if value is not None}


NOTHING_SAID = WeightsOptions()


def size_from(text: str | None) -> int | tuple[int, int] | None:
    """`224` or `224x320`, height first, as `vitral.load_model` takes it.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text.replace(" ", ""))
    if match is None:
        raise UsageError(
            f"--image-size takes a number of pixels or HEIGHTxWIDTH, such as 224x320, not {text!r}"
        )
    return int(match[1]), int(match[2])


def _grid(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,4})[xX×,](\d{1,4})", text.replace(" ", ""))
    if match is None:
        raise UsageError(f"--grid takes rows and columns of patches, such as 12x20, not {text!r}")
    return int(match[1]), int(match[2])


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise UsageError(f"{option} takes one number a channel, such as 0.5,0.5,0.5, not {text!r}") from error
