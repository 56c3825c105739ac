"""From a decoded image to what the network sees: geometry and normalisation, kept as data in config.json."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from vitral.errors import ConfigError, ImageError
from vitral.images.arrays import is_tensor
from vitral.images.bands import read_bands
from vitral.images.reading import read_image
from vitral.images.sources import ImageSource

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
# fmt: off
DTYPES = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
)
# fmt: on
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
        interpolation: "bicubic", "bilinear" or "nearest". Resizing is Pillow's, on 8-bit values of pictures and on
            float32 of bands; when it makes an image smaller, the first two average over all pixels that fall
            together (antialiasing).
        crop_share: the share of the resized image's shorter side that "crop" keeps, in (0, 1]: 0.875 at
            224 pixels resizes to 256 first. The other fits ignore it.
        channels: of pictures 3 for RGB, 1 for grey; of bands any number.
        range: the values that become 0 and 1. What lies beyond is not clipped.
        dtype: None for 8-bit pictures, as a person sees them. Else the images are measurements, taken band by band as
            `read_bands` gives them, and this is the type of number that they are stored in, such as "uint16".
        display_bands: which bands people are shown as red, green and blue, or one of them in grey, counted from 1;
            None: the first three, or the first.

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
    dtype: str | None = None
    display_bands: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check(self)

    @property
    def bands(self) -> bool:
        """Whether images are taken band by band, and not as pictures."""
        return self.dtype is not None or self.channels not in (1, 3)

    def __call__(self, source: ImageSource) -> np.ndarray:
        """What the network sees of any image: float32 (channels, height, width)."""
        return self.normalise(self.fit_image(self.read(source)))

    def read(self, source: ImageSource, *, at_least: tuple[int, int] | None = None) -> np.ndarray:
        """The image as (height, width, channels): a picture by `read_image`, or in grey; bands by `read_bands`.

        Raises:
            ImageError: it cannot be read, or is not what the network takes.
        """
        if self.bands:
            image = read_bands(source)
            self._refuse_other(image, stored=not isinstance(source, np.ndarray) and not is_tensor(source))
            return image
        image = read_image(source, at_least=at_least)
        if self.channels == 1:
            return np.array(Image.fromarray(image).convert("L"))[..., None]
        return image

    def fit_image(self, image: np.ndarray) -> np.ndarray:
        """Bring an image as `read` gives it to `size`: uint8 of pictures, else float32 where `range` is 0..1."""
        return self.resize(self.values(image))

    def values(self, image: np.ndarray) -> np.ndarray:
        """What `resize` takes of an image from `read`: a picture as it is, of bands float32 where `range` is 0..1.

        Raises:
            ImageError: other channels or another type than the network takes.
        """
        self._refuse_other(image)
        if not self.bands:
            return image
        return self._in_range(image)

    def resize(self, values: np.ndarray) -> np.ndarray:
        """Bring (height, width, channels) to `size`; their type stays, and of bands nothing is rounded or clipped."""
        if not self.bands:
            picture = Image.fromarray(values if self.channels == 3 else values[..., 0])
            colour = self.mean_colour if self.channels == 3 else self.mean_colour[0]
            return self._placed(picture, colour).reshape(*self.size, self.channels)
        planes = [Image.fromarray(values[..., band]) for band in range(self.channels)]
        return np.stack(
            [self._placed(plane, mean) for plane, mean in zip(planes, self.mean, strict=True)], axis=-1
        )

    def picture(self, values: np.ndarray) -> np.ndarray:
        """What people are shown of the network's `values` (..., height, width, channels): uint8, 3 channels or 1."""
        return _eight_bits(values[..., self._shown]) if self.bands else values

    def show(self, image: np.ndarray) -> np.ndarray:
        """An image as `read` gives it for people: uint8 (height, width, 3)."""
        self._refuse_other(image)
        picture = _eight_bits(self._in_range(image[..., self._shown])) if self.bands else image
        return np.array(np.broadcast_to(picture, (*picture.shape[:2], 3)))

    def normalise(self, images: np.ndarray) -> np.ndarray:
        """What `resize` gives (..., height, width, channels) to float32 (..., channels, height, width)."""
        *leading, height, width, channels = images.shape
        values = np.empty((*leading, channels, height, width), np.float32)
        for channel, (scale, shift) in enumerate(zip(self.scale, self.shift, strict=True)):
            plane = values[..., channel, :, :]
            np.multiply(images[..., channel], np.float32(scale), out=plane)
            plane += np.float32(shift)
        return values

    @property
    def scale(self) -> tuple[float, ...]:
        """What the values that `resize` gives are multiplied by, per channel."""
        low, high = self._black_and_white
        return tuple(1 / ((high - low) * std) for std in self.std)

    @property
    def shift(self) -> tuple[float, ...]:
        """What is added to the scaled values, per channel; black, for one, becomes this."""
        low, high = self._black_and_white
        return tuple(
            -(low / (high - low) + mean) / std for mean, std in zip(self.mean, self.std, strict=True)
        )

    @property
    def covered(self) -> tuple[int, int]:
        """(height, width) that a resized image covers with "crop", and fits into with "pad"."""
        rows, columns = self.size
        if self.fit != "crop":
            return rows, columns
        return math.floor(rows / self.crop_share), math.floor(columns / self.crop_share)

    @property
    def mean_colour(self) -> tuple[int, ...]:
        """What "pad" fills pictures up with: the 8-bit colour that `normalise` brings nearest to 0."""
        low, high = self.range
        return tuple(min(255, max(0, round(low + mean * (high - low)))) for mean in self.mean)

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
        """The fields as JSON knows them, for config.json; without those that pictures have no use for."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value is not None
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Preprocessing":
        """The inverse of `to_dict`. Raises ConfigError, naming the key that is missing, unknown or wrong."""
        if not isinstance(content, Mapping):
            raise ConfigError(f"preprocessing is {content!r}: give an object with its fields")
        names = {field.name for field in fields(cls)}
        optional = {field.name for field in fields(cls) if field.default is None}
        for key in sorted((names ^ set(content)) - (optional - set(content))):
            problem = "lacks" if key in names else "has an unknown key"
            raise ConfigError(f"preprocessing {problem} {key!r}: its keys are {', '.join(sorted(names))}")
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
        return cls(**values)

    def _in_range(self, image: np.ndarray) -> np.ndarray:
        """Bands as float32 where `range` is 0..1; in double precision before, so that large offsets cost no level."""
        low, high = self.range
        values = np.empty(image.shape, np.float32)
        for band in range(image.shape[2]):
            values[..., band] = (image[..., band].astype(np.float64) - low) / (high - low)
        return values

    @property
    def _shown(self) -> list[int]:
        """The bands that people are shown, counted from 0."""
        return [band - 1 for band in self.display_bands or ((1, 2, 3) if self.channels >= 3 else (1,))]

    @property
    def _black_and_white(self) -> tuple[float, float]:
        """Which of the values that `resize` gives stand for 0 and 1."""
        return (0.0, 1.0) if self.bands else self.range

    def _refuse_other(self, image: np.ndarray, *, stored: bool = False) -> None:
        """ImageError for other channels than the network's, or numbers that cannot mean what its own do.

        Files hold the very type. What a program hands over may be floating point, or of a type for general use.
        """
        if image.ndim != 3:
            raise ImageError(
                f"an array of shape {image.shape} is not one image: give (height, width, channels)"
            )
        mine, found = self.dtype or "uint8", image.dtype
        if image.shape[2] == self.channels and same_values(mine, found.name):
            return
        general = found.kind == "f" or (found.name in ("int32", "int64") and np.can_cast(mine, found))
        if image.shape[2] != self.channels or stored or not self.bands or not general:
            raise ImageError(
                f"the image has {described(image.shape[2], found.name)}, and the network takes "
                f"{described(self.channels, mine)}: give it images like those that it was trained on"
            )

    def _placed(self, picture: Image.Image, fill: Any) -> np.ndarray:
        """A picture or one band brought to `size`."""
        (height, width), (top, left) = self._placement(picture.height, picture.width)
        resample, (rows, columns) = INTERPOLATIONS[self.interpolation], self.size
        if self.fit == "crop" and height * width > LARGEST_RESIZED:
            left, top, right, bottom = self.region(picture.height, picture.width)
            box = (left, top, min(right, picture.width), min(bottom, picture.height))
            return np.array(picture.resize((columns, rows), resample, box))
        fitted = Image.new(picture.mode, (columns, rows), fill)
        fitted.paste(picture.resize((width, height), resample), (-left, -top))
        return np.array(fitted)

    def _placement(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """What the whole image is resized to (height, width), and where in that the input begins (top, left).

        In whole pixels, sides cut off as all libraries do. An odd margin has its larger half below and to the right, as
        with transformers; torchvision and timm put every second one of these the other way.
        """
        if self.fit == "stretch":
            return self.size, (0, 0)
        rows, columns = self.covered
        by_height = rows * width >= columns * height  # reaching the target's height covers its width too
        if by_height == (self.fit == "crop"):
            resized = (rows, max(1, width * rows // height))
        else:
            resized = (max(1, height * columns // width), columns)
        return resized, (int((resized[0] - self.size[0]) / 2), int((resized[1] - self.size[1]) / 2))


def same_values(one: str, other: str) -> bool:
    """Whether numbers of two types may mean the same: of one type, or both floating point."""
    return one == other or (one.startswith("float") and other.startswith("float"))


def described(channels: int, dtype: str | None) -> str:
    """What an image holds, in words: `5 channels of uint16`."""
    if dtype is None:
        return "8-bit pictures"
    return f"{channels} channel{'' if channels == 1 else 's'} of {dtype}"


def _eight_bits(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


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
    if p.dtype is not None and p.dtype not in DTYPES:
        raise ConfigError(f"preprocessing dtype is {p.dtype!r}: choose one of {', '.join(DTYPES)}")
    bands = p.display_bands
    if bands is not None and not (
        isinstance(bands, tuple)
        and len(bands) in (1, 3)
        and all(type(band) is int and 1 <= band <= p.channels for band in bands)
    ):
        raise ConfigError(
            f"preprocessing display_bands is {bands!r}: give one number from 1 to {p.channels}, or three for red, "
            "green and blue"
        )


def _numbers(value: Any, name: str, count: int) -> tuple[float, ...]:
    """`value` itself if it is a tuple of `count` finite numbers; ConfigError otherwise."""
    good = isinstance(value, tuple) and len(value) == count
    if not good or not all(type(v) in (int, float) and math.isfinite(v) for v in value):
        wanted = "a number" if count == 1 else f"{count} numbers"
        raise ConfigError(f"preprocessing {name} is {value!r}: give {wanted}")
    return value
