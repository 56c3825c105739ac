"""What is not read at all, as too big; and what is no 8-bit picture: deep, of unusual channels, or of several pages."""

import math
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vitral.errors import ImageError

if TYPE_CHECKING:  # takes longer to import than a JPEG to read
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

PIXEL_LIMIT = 178_956_970
"""Larger images are refused before they are decoded. Pillow's own limit, but Pillow only refuses twice as many."""
BYTES_LIMIT = 1 << 31
"""The same for all values of an image, whatever its channels and pages are."""


class NotAPicture(ImageError):
    """A sound image, but no 8-bit picture in 1, 3 or 4 channels."""


def refuse_too_many_pixels(width: int, height: int) -> None:
    """ImageError above `PIXEL_LIMIT`."""
    if width * height > PIXEL_LIMIT:
        raise too_many_pixels(f" and has {width} x {height}")


def too_many_pixels(size: str = "") -> ImageError:
    """The error for an image above `PIXEL_LIMIT`."""
    limit = f"the limit of {PIXEL_LIMIT:,} pixels (Pillow's guard against decompression bombs)"
    return ImageError(f"the image is bigger than {limit}{size}: make it smaller, or cut it into parts")


def refuse_too_many_bytes(shape: tuple[int, ...], itemsize: int) -> None:
    """ImageError where values of `itemsize` bytes in this shape take more than `BYTES_LIMIT`."""
    if math.prod(shape) * itemsize > BYTES_LIMIT:
        said = " x ".join(map(str, shape))
        raise ImageError(
            f"the image has {said} values, more than {BYTES_LIMIT:,} bytes: make it smaller, or cut it into parts"
        )


def refuse_deep(image: Image.Image) -> None:
    """NotAPicture above 8 bits a channel, also where Pillow would keep 8 of 16 without a word."""
    if image.mode.startswith(("I", "F")):
        raise _unusual(f"{32 if image.mode in ('I', 'F') else 16} bits a channel")
    if image.format == "TIFF":
        _refuse_unusual_tags(_tags_of(image))
    tiles = getattr(image, "tile", None)  # what the decoder will be told; empty once the image is loaded
    arguments = tiles[0][3] if tiles else None
    if image.format == "PNG" and ";16" in str(arguments):
        raise _unusual("16 bits a channel")
    if image.format == "PPM" and isinstance(arguments, tuple) and arguments[1] > 255:  # the header's white
        raise _unusual("16 bits a channel")


def refuse_pages(image: Image.Image) -> None:
    """NotAPicture for a TIFF with pages of one size, a stack; smaller copies and masks behind the image are none."""
    frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if frames == 1:
        return
    size = image.size
    image.seek(1)
    if image.size == size and not _tags_of(image).get(_NEW_SUBFILE_TYPE, 0) & (_REDUCED | _MASK):
        raise _unusual(f"{frames} pages")
    image.seek(0)


def refuse_unusual_tiff_file(file: IO[bytes]) -> None:
    """NotAPicture if the first page of this TIFF has more than 8 bits a channel or unusual channels."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file.seek(0)
    header = file.read(8)
    if b"+" in header[2:4]:  # BigTIFF
        header += file.read(8)
    tags = ImageFileDirectory_v2(header)
    file.seek(tags.next)
    tags.load(file)
    _refuse_unusual_tags(tags)


def refuse_unusual_array(array: np.ndarray) -> None:
    """NotAPicture unless these (height, width, channels) are 8-bit values in 1, 3 or 4 channels."""
    if array.dtype != np.uint8:
        raise _unusual(f"{array.dtype} values")
    if array.shape[2] not in (1, 3, 4):
        raise _unusual(f"{array.shape[2]} channels")


_NEW_SUBFILE_TYPE, _REDUCED, _MASK = 254, 1, 4
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL, _EXTRA_SAMPLES = 258, 277, 338


def _tags_of(image: Any) -> "ImageFileDirectory_v2":
    """Those of a TIFF as Pillow opens it."""
    return image.tag_v2


def _refuse_unusual_tags(tags: "ImageFileDirectory_v2") -> None:
    bits = tags.get(_BITS_PER_SAMPLE, 1)
    deepest = max(bits) if isinstance(bits, tuple) else bits
    if deepest > 8:
        raise _unusual(f"{deepest} bits a channel")
    channels = tags.get(_SAMPLES_PER_PIXEL, 1)
    transparent = any(extra in (1, 2) for extra in tags.get(_EXTRA_SAMPLES, ()))
    if channels not in (1, 3, 4) and not (channels == 2 and transparent):
        raise _unusual(f"{channels} channels")


def _unusual(found: str) -> NotAPicture:
    return NotAPicture(
        f"the image has {found}, and a picture of one page with 8 bits a channel in 1, 3 or 4 channels is wanted: "
        "convert it to 8-bit grey or RGB, or take a network that was trained on such images"
    )
