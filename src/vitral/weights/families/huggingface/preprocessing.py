"""preprocessor_config.json as `Preprocessing`."""

import math
from collections.abc import Mapping
from typing import Any

from vitral.images import Preprocessing
from vitral.model import ViTConfig
from vitral.weights.reading import for_channels

# Pillow's numbers for what vitral has.
INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}


def preprocessing_of(
    processor: Mapping[str, Any], config: ViTConfig, usual: Preprocessing, assumed: dict[str, str]
) -> Preprocessing:
    """What their image processor does, to the size and channels of the network.

    Args:
        processor: the content of preprocessor_config.json, {} where there is none.
        config: of the network.
        usual: for what the file does not say.
        assumed: is added to.
    """
    if not processor:
        for name in ("fit", "mean", "std", "interpolation", "crop_share"):
            assumed[name] = "as usual for these weights: there is no preprocessor_config.json"
    fit, crop_share = _geometry(processor, usual, assumed)
    mean, std = processor.get("image_mean") or usual.mean, processor.get("image_std") or usual.std
    if not processor.get("do_normalize", True):
        mean, std = 0.0, 1.0
    return Preprocessing(
        config.image_size,
        fit,
        _each(mean, config.channels, "mean", assumed),
        _each(std, config.channels, "std", assumed),
        _interpolation(processor, usual, assumed),
        crop_share,
        config.channels,
        (0.0, _white(processor)),
    )


def _geometry(
    processor: Mapping[str, Any], usual: Preprocessing, assumed: dict[str, str]
) -> tuple[str, float]:
    """`fit` and `crop_share`."""
    size, cut = processor.get("size"), processor.get("crop_size")
    if not processor.get("do_center_crop"):
        cut = None
    sides, kept = _sides(size), _sides(cut)
    if not sides or not processor.get("do_resize", True):
        if processor:
            assumed["fit"] = "as usual for these weights: their processor names no size to resize to"
        return usual.fit, usual.crop_share
    shorter = isinstance(size, Mapping) and "shortest_edge" in size
    if not kept and not shorter:
        return "stretch", 1.0
    if not kept:
        assumed["fit"] = "their processor cuts nothing off, and a network takes one size"
        return "crop", 1.0
    # Of old files, one number before a cut is the shorter side, though DeiT's processor makes a square of it.
    if not shorter and isinstance(size, Mapping):
        assumed["fit"] = "their processor resizes to a square before it cuts; vitral keeps the proportions"
    side, kept_side = min(sides), min(kept)
    share = min(kept_side / side, 1.0)
    if (
        share < 1 and math.floor(kept_side / share) != side
    ):  # rounded so that it does not lead back to the side
        share = math.nextafter(share, 0)
    return "crop", share


def _sides(size: Any) -> list[int]:
    """The pixels in a size of theirs: one number, or some with names."""
    values = size.values() if isinstance(size, Mapping) else [size]
    return [value for value in values if type(value) is int and value > 0]


def _interpolation(processor: Mapping[str, Any], usual: Preprocessing, assumed: dict[str, str]) -> str:
    number = processor.get("resample")
    if number is None:
        return usual.interpolation
    if number not in INTERPOLATIONS:
        assumed["interpolation"] = (
            f"near to their processor's, number {number} of Pillow's, which vitral has not"
        )
    return INTERPOLATIONS.get(number, "bicubic")


def _each(values: Any, channels: int, name: str, assumed: dict[str, str]) -> tuple[float, ...]:
    """One number for each channel, of colours' numbers their average."""
    values = tuple(values) if isinstance(values, (list, tuple)) else (values,) * channels
    if len(values) != channels:
        assumed[name] = f"the average of {len(values)} channels' for {channels}"
    return for_channels(values, channels)


def _white(processor: Mapping[str, Any]) -> float:
    """The value that becomes 1 before the normalisation."""
    if not processor.get("do_rescale", True):
        return 1.0
    factor = processor.get("rescale_factor") or 1 / 255
    return 255.0 if abs(255 * factor - 1) < 1e-6 else 1 / factor
