"""Anything that holds an image -> uint8 RGB, as a person would see it; everything else -> one ImageError."""

import importlib
from typing import IO

import numpy as np
from PIL import Image

from vitral.errors import ImageError
from vitral.images.arrays import eight_bits, from_tensor, is_tensor, read_npy
from vitral.images.limits import (
    refuse_deep,
    refuse_pages,
    refuse_too_many_pixels,
    refuse_unusual_array,
    refuse_unusual_tiff_file,
)
from vitral.images.sources import FORMATS, ImageSource, decoding_errors, kind_of, opened

_TURN = {  # EXIF orientation: what brings the stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112


def read_image(source: ImageSource, *, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """Read one picture as uint8 (height, width, 3): RGB, upright, on white where it is transparent.

    Grey, palette, CMYK, 1-bit, transparent and EXIF-rotated images are read as a person would see them,
    animated ones by their first frame. Colour profiles are not applied. HEIC needs the extra `heif`;
    HEIC and AVIF photographs with more than 8 bits a channel are rounded to the 8 bits that a screen shows.

    Args:
        source: a path, bytes, a binary file (read from where it stands), a PIL image, a numpy array
            (height, width) or (height, width, 1, 3 or 4) or a torch tensor (height, width) or
            (1, 3 or 4, height, width). Values of arrays and tensors are 0..1 for floating types, 0..max of
            the type for integers.
        at_least: (height, width) that suffice. A JPEG file is then decoded up to eight times smaller, but
            never below that size, which is much faster. For overviews only: the pixels differ a little.

    Raises:
        NotAPicture: it has more than 8 bits a channel, a number of channels other than 1, 3 and 4, or several
            pages: `read_bands` reads it.
        ImageError: it is empty, truncated, damaged, no image, or too big. The text says which, but not the path.
    """
    if is_tensor(source) or isinstance(source, np.ndarray):
        array = eight_bits(from_tensor(source) if is_tensor(source) else np.asarray(source))
        return array if array.shape[2] == 3 else _read_pillow(Image.fromarray(array))
    if isinstance(source, Image.Image):
        with decoding_errors("image"):
            return _read_pillow(source)
    with opened(source) as file:
        return _read_file(file, at_least)


def _read_file(file: IO[bytes], at_least: tuple[int, int] | None) -> np.ndarray:
    kind = kind_of(file)
    if kind == "NPY":
        array = read_npy(file)
        refuse_unusual_array(array)
        return read_image(array)
    formats = _heif() if kind == "HEIC" else FORMATS
    with decoding_errors(kind):
        if kind == "TIFF":
            refuse_unusual_tiff_file(file)  # Pillow does not open those, or takes the bands that it knows
        with Image.open(file, formats=formats) as image:
            return _read_opened(image, at_least)


def _read_opened(image: Image.Image, at_least: tuple[int, int] | None) -> np.ndarray:
    refuse_too_many_pixels(*image.size)
    refuse_pages(image)
    if at_least and image.format in ("JPEG", "MPO"):
        side = max(at_least)  # of both: height and width change places when the image is turned upright
        image.draft(None, (side, side))
    return _read_pillow(image)


def _read_pillow(image: Image.Image) -> np.ndarray:
    refuse_too_many_pixels(*image.size)
    refuse_deep(image)
    image.load()
    turn = _TURN.get(orientation_of(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    return np.array(image.transpose(turn) if turn is not None else image)


def orientation_of(image: Image.Image) -> int:
    """How the stored pixels lie, as EXIF counts it; 1 is upright."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF data can raise anything; viewers then show the pixels as they are stored
        return 1


def _heif() -> tuple[str]:
    """Let Pillow read HEIC through the optional package."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        raise ImageError("HEIC images need an extra package: pip install 'vitral[heif]'") from None
    return ("HEIF",)
