"""From a decoded image to what the network sees: geometry and normalisation, kept as data in config.json."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from vitral.errors import ConfigError, ImageError
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
LARGEST_RESIZED = 1 << 24  # pixels; a longer, thinner image is cut before it is resized, to save memory


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
        channels: 3 for RGB, 1 for grey. Other numbers say what a network takes; no image is read for it yet.
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
        if self.channels not in (1, 3):
            raise ImageError(
                f"the network takes {self.channels} channels, and images are read in RGB or grey only"
            )
        image = read_image(source, at_least=at_least)
        if self.channels == 1:
            return np.array(Image.fromarray(image).convert("L"))[..., None]
        return image

    def fit_image(self, image: np.ndarray) -> np.ndarray:
        """Bring uint8 (height, width, channels) to `size`, the values still uint8."""
        assert image.dtype == np.uint8
        assert image.shape[2] == self.channels
        picture = Image.fromarray(image if self.channels == 3 else image[..., 0])
        (height, width), (top, left) = self._placement(*image.shape[:2])
        resample, (rows, columns) = INTERPOLATIONS[self.interpolation], self.size
        if self.fit == "crop" and height * width > LARGEST_RESIZED:
            left, top, right, bottom = self.region(*image.shape[:2])
            box = (left, top, min(right, picture.width), min(bottom, picture.height))
            fitted = picture.resize((columns, rows), resample, box)
        else:
            fitted = Image.new(picture.mode, (columns, rows), self._mean_colour())
            fitted.paste(picture.resize((width, height), resample), (-left, -top))
        return np.array(fitted).reshape(rows, columns, self.channels)

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
        (resized_height, resized_width), (top, left) = self._placement(height, width)
        row, column = height / resized_height, width / resized_width
        # From the nearer edge each, so that a margin of nothing is the edge itself, to the last digit.
        right, below = resized_width - left - self.size[1], resized_height - top - self.size[0]
        return left * column, top * row, width - right * column, height - below * row

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

    def _placement(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """What the whole image is resized to (height, width), and where in that the input begins (top, left).

        In whole pixels, sides cut off as all libraries do. An odd margin has its larger half below and to the right, as
        with transformers; torchvision and timm put every second one of these the other way.
        """
        if self.fit == "stretch":
            return self.size, (0, 0)
        rows, columns = self.size
        if self.fit == "crop":
            rows, columns = math.floor(rows / self.crop_share), math.floor(columns / self.crop_share)
        by_height = rows * width >= columns * height  # reaching the target's height covers its width too
        if by_height == (self.fit == "crop"):
            resized = (rows, max(1, width * rows // height))
        else:
            resized = (max(1, height * columns // width), columns)
        return resized, (int((resized[0] - self.size[0]) / 2), int((resized[1] - self.size[1]) / 2))

    def _mean_colour(self) -> Any:
        """The colour that `normalise` brings nearest to 0, as Pillow takes it."""
        low, high = self.range
        colour = tuple(min(255, max(0, round(low + mean * (high - low)))) for mean in self.mean)
        return colour if self.channels == 3 else colour[0]


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
    if type(p.channels) is not int or p.channels < 1:
        raise ConfigError(
            f"preprocessing channels is {p.channels!r}: give 3 (RGB), 1 (grey) or another number"
        )
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
