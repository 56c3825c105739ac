"""From a decoded image to what the network sees: geometry and normalisation, kept as data in config.json."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from vitral.errors import ConfigError
from vitral.images.reading import ImageSource, read_image

HALF = (0.5, 0.5, 0.5)
"""Mean and standard deviation of the paper's and Google's checkpoints: values from -1 to 1."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

FITS = ("crop", "pad", "stretch")
INTERPOLATIONS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}
LARGEST_SIDE = 16384


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of one network, in evaluation, prediction, export and service alike.

    Calling it gives what the network takes: `preprocessing(source)` is float32 (channels, height, width).

    Args:
        size: (height, width) of the input, in pixels.
        fit: what happens when the image's proportions differ from those of `size`:
            "crop" resizes, proportions kept, until `size` is covered, and cuts out the centre;
            "pad" resizes, proportions kept, to fit inside `size`, and fills up with the mean colour;
            "stretch" resizes to `size` and gives up the proportions.
        mean, std: one number per channel, in units where `range` is 0..1.
        interpolation: "bicubic", "bilinear" or "nearest". Resizing is Pillow's, on 8-bit values; when it
            makes an image smaller, the first two average over all pixels that fall together (antialiasing).
        crop_share: the share of the resized image's shorter side that "crop" keeps, in (0, 1]: 0.875 at
            224 pixels resizes to 256 first. The other fits ignore it.
        channels: 3 for RGB, 1 for grey.
        range: the values that stand for black and white.

    Raises:
        ConfigError: a field that makes no sense, named in the text.
    """

    size: tuple[int, int]
    fit: str = "crop"
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF
    interpolation: str = "bicubic"
    crop_share: float = 1.0
    channels: int = 3
    range: tuple[float, float] = (0.0, 255.0)

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, source: ImageSource) -> np.ndarray:
        """What the network sees of any image that `read_image` takes: float32 (channels, height, width)."""
        return self.normalise(self.fit_image(self.read(source)))

    def read(self, source: ImageSource, *, at_least: tuple[int, int] | None = None) -> np.ndarray:
        """The image as uint8 (height, width, channels), as `read_image` reads it; grey for one channel."""
        image = read_image(source, at_least=at_least)
        if self.channels == 1:
            return np.array(Image.fromarray(image).convert("L"))[..., None]
        return image

    def fit_image(self, image: np.ndarray) -> np.ndarray:
        """Bring uint8 (height, width, channels) to `size`, the values still uint8."""
        assert image.dtype == np.uint8
        assert image.shape[2] == self.channels
        box, (height, width) = self._plan(*image.shape[:2])
        fitted = _resize(image, (height, width), box, INTERPOLATIONS[self.interpolation])
        if (height, width) == self.size:
            return fitted
        low, high = self.range
        colour = np.clip(np.rint(low + np.array(self.mean) * (high - low)), 0, 255)
        padded = np.empty((*self.size, self.channels), np.uint8)
        padded[:] = colour.astype(np.uint8)
        top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        padded[top : top + height, left : left + width] = fitted
        return padded

    def normalise(self, images: np.ndarray) -> np.ndarray:
        """uint8 (..., height, width, channels) to float32 (..., channels, height, width): x * scale + shift."""
        *leading, height, width, channels = images.shape
        values = np.empty((*leading, channels, height, width), np.float32)
        for channel, (scale, shift) in enumerate(zip(self.scale, self.shift, strict=True)):
            plane = values[..., channel, :, :]
            np.multiply(images[..., channel], np.float32(scale), out=plane)
            plane += np.float32(shift)
        return values

    @property
    def scale(self) -> tuple[float, ...]:
        """What 8-bit values are multiplied by, per channel."""
        low, high = self.range
        return tuple(1 / ((high - low) * std) for std in self.std)

    @property
    def shift(self) -> tuple[float, ...]:
        """What is added to the scaled values, per channel; black, for one, becomes this."""
        low, high = self.range
        return tuple(
            -(low / (high - low) + mean) / std for mean, std in zip(self.mean, self.std, strict=True)
        )

    def region(self, height: int, width: int) -> tuple[float, float, float, float]:
        """The box (left, top, right, bottom) that the network sees of an image of `height` by `width` pixels.

        In the image's own pixels, fractions included; it reaches beyond the image where "pad" fills up.
        """
        (left, top, right, bottom), (fitted_height, fitted_width) = self._plan(height, width)
        if (fitted_height, fitted_width) == self.size:
            return left, top, right, bottom
        per_row, per_column = height / fitted_height, width / fitted_width
        top = -((self.size[0] - fitted_height) // 2) * per_row
        left = -((self.size[1] - fitted_width) // 2) * per_column
        return left, top, left + self.size[1] * per_column, top + self.size[0] * per_row

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON knows them, for config.json."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `to_dict`. Raises ConfigError, naming the key that is missing, unknown or wrong."""
        if not isinstance(content, Mapping):
            raise ConfigError(f"preprocessing is {content!r}: give an object with its fields")
        names = {field.name for field in fields(cls)}
        for key in sorted(names ^ set(content)):
            problem = "lacks" if key in names else "has an unknown key"
            raise ConfigError(f"preprocessing {problem} {key!r}: its keys are {', '.join(sorted(names))}")
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
        return cls(**values)

    def _plan(self, height: int, width: int) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
        """What is cut out of an image of this size (left, top, right, bottom), and what it is resized to."""
        whole = (0.0, 0.0, float(width), float(height))
        if self.fit == "stretch":
            return whole, self.size
        if self.fit == "pad":
            scale = min(self.size[0] / height, self.size[1] / width)
            fitted = (round(height * scale), round(width * scale))
            return whole, (max(1, min(fitted[0], self.size[0])), max(1, min(fitted[1], self.size[1])))
        # Whole pixels, rounded as torchvision and timm round, so that published accuracies can be met: resize
        # until the target is covered, then cut. Cutting first and resizing the cut gives the same pixels.
        target_height, target_width = (math.floor(side / self.crop_share) for side in self.size)
        if target_height * width >= target_width * height:
            resized = (target_height, width * target_height // height)
        else:
            resized = (height * target_width // width, target_width)
        top, left = round((resized[0] - self.size[0]) / 2), round((resized[1] - self.size[1]) / 2)
        per_row, per_column = height / resized[0], width / resized[1]
        right, bottom = (left + self.size[1]) * per_column, (top + self.size[0]) * per_row
        return (left * per_column, top * per_row, min(right, width), min(bottom, height)), self.size


def _resize(
    image: np.ndarray,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    resample: Image.Resampling,
) -> np.ndarray:
    """The part `box` of uint8 (height, width, channels), resized to (height, width)."""
    grey = image.shape[2] == 1
    resized = Image.fromarray(image[..., 0] if grey else image).resize((size[1], size[0]), resample, box)
    return np.array(resized).reshape(*size, -1)


def _check(preprocessing: Preprocessing) -> None:
    """Raise ConfigError for the first field that makes no sense."""
    p = preprocessing
    sides = _numbers(p.size, "size", 2)
    if not all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in sides):
        raise ConfigError(
            f"preprocessing size is {p.size}: give height and width from 1 to {LARGEST_SIDE} pixels"
        )
    if p.fit not in FITS:
        raise ConfigError(f"preprocessing fit is {p.fit!r}: choose one of {', '.join(FITS)}")
    if p.interpolation not in tuple(INTERPOLATIONS):
        choices = ", ".join(INTERPOLATIONS)
        raise ConfigError(f"preprocessing interpolation is {p.interpolation!r}: choose one of {choices}")
    if p.channels not in (1, 3) or type(p.channels) is not int:
        raise ConfigError(f"preprocessing channels is {p.channels!r}: give 3 (RGB) or 1 (grey)")
    _numbers(p.mean, "mean", p.channels)
    if min(_numbers(p.std, "std", p.channels)) <= 0:
        raise ConfigError(f"preprocessing std is {p.std}: give numbers above 0")
    (share,) = _numbers((p.crop_share,), "crop_share", 1)
    if not 0 < share <= 1:
        raise ConfigError(f"preprocessing crop_share is {share}: give a number above 0 and up to 1")
    low, high = _numbers(p.range, "range", 2)
    if low >= high:
        raise ConfigError(
            f"preprocessing range is {p.range}: give the lower value first, then the higher one"
        )


def _numbers(value: Any, name: str, count: int) -> tuple[float, ...]:
    """`value` itself if it is a tuple of `count` finite numbers; ConfigError otherwise."""
    good = isinstance(value, tuple) and len(value) == count
    if not good or not all(type(v) in (int, float) and math.isfinite(v) for v in value):
        wanted = "a number" if count == 1 else f"{count} numbers"
        raise ConfigError(f"preprocessing {name} is {value!r}: give {wanted}")
    return value
