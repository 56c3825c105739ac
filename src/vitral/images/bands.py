"""Anything that holds an image -> its values band by band, in their own type: nothing rounded, clipped or converted."""

import io
import logging
import re
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from PIL import Image

from vitral.errors import ImageError
from vitral.images.arrays import from_tensor, is_tensor, read_npy
from vitral.images.limits import NotAPicture, refuse_deep, refuse_too_many_bytes, refuse_too_many_pixels
from vitral.images.reading import orientation_of, read_image
from vitral.images.sources import ImageSource, decoding_errors, kind_of, opened

# EXIF orientation: what brings the stored values upright.
_TURN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}
_ORIENTATION_TAG = 274
_WIDE_PNM = re.compile(rb"P([56])" + 3 * rb"(?:\s|#[^\n]*\n)+(\d{1,9})" + rb"\s")

# Bytes of values in a TIFF. No compression that is usual makes them a thousand times fewer, as a small file may claim.
LARGEST_UNASKED, LARGEST_RATIO = 1 << 28, 1000

# Columns of a page of a stack; what has no more has a row of an image in each page, and its bands side by side.
NARROWEST = 15

# tifffile says there what it finds odd in a file, and Python would print that on standard error.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def read_bands(source: ImageSource) -> np.ndarray:
    """Read one image as it was stored: (height, width, bands), upright, in the file's own type of numbers.

    PNG and PNM of 8 or 16 bits a channel, TIFF of any depth and .npy keep every value. Bands may be interleaved or
    planar; pages of one size are bands too, in the file's order, while smaller copies (previews) are left out. An array
    (height, width, bands) that tifffile wrote a row a page, as it does unasked, is that array again.
    Transparency is a band like the others. Formats for 8-bit pictures are read as `read_image` reads them.

    Args:
        source: a path, bytes, a binary file (read from where it stands), a PIL image, a numpy array (height, width) or
            (height, width, bands), a torch tensor (height, width) or (bands, height, width).

    Raises:
        ImageError: it is empty, truncated, damaged, no image, too big, or holds NaN, infinity or other things than
            numbers. The text says which, but not the path.
    """
    if is_tensor(source):
        return _checked(from_tensor(source, channels=None))
    if isinstance(source, np.ndarray):
        return _checked(source)
    if isinstance(source, Image.Image):
        return _checked(_from_pillow(source))
    with opened(source) as file:
        kind = kind_of(file)
        if kind == "NPY":
            return _checked(read_npy(file))
        with decoding_errors(kind):
            if kind == "TIFF":
                return _checked(_read_tiff(file))
            if kind == "PNG":
                return _checked(_read_png(file.read()))
            if kind == "image" and (wide := _WIDE_PNM.match(file.read(4096))) and int(wide[4]) > 255:
                return _checked(_read_wide_pnm(file, wide))
        file.seek(0)
        try:
            return read_image(file)
        except NotAPicture:
            raise ImageError(
                "files of this kind are read with 8 bits a channel only: save it as PNG, TIFF or .npy"
            ) from None


def _read_tiff(file: IO[bytes]) -> np.ndarray:
    import tifffile  # takes a third of a second, and most images are no TIFF

    # OME files may name other files that their pages are to be taken from: the pages of this one are what is read.
    with tifffile.TiffFile(file, is_ome=False) as tiff:
        last = tiff.pages[len(tiff.pages) - 1]
        _refuse_missing_pages(file, last.offset, tiff.tiff)  # type: ignore[union-attr]
        series = tiff.series[0]
        axes, shape = series.axes, series.shape
        if not {"Y", "X"} <= set(axes):
            raise ImageError(
                f"its axes are {axes}, and an image has Y and X: save it as pages or bands of one image"
            )
        refuse_too_many_pixels(shape[axes.index("X")], shape[axes.index("Y")])
        refuse_too_many_bytes(shape, series.dtype.itemsize)
        end = file.seek(0, io.SEEK_END)
        if series.nbytes > max(LARGEST_UNASKED, LARGEST_RATIO * end):
            raise ImageError(
                f"the TIFF file has {end:,} bytes and says to hold {series.nbytes:,}: save it again without compression"
            )
        for page in filter(None, series.pages):
            places = zip(page.dataoffsets, page.databytecounts, strict=True)
            if any(start + count > end for start, count in places):
                raise ImageError("the TIFF file is truncated: copy or download it again")
        values = series.asarray(maxworkers=1)
        tag = tiff.pages[0].tags.get(_ORIENTATION_TAG)  # type: ignore[union-attr]
    if series.kind == "shaped" and _is_rows_of_bands(axes, shape):
        axes = "YXS"
    # What is neither row nor column is bands, the last axis the fastest.
    image = np.moveaxis(values, (axes.index("Y"), axes.index("X")), (0, 1))
    return _turned(image.reshape(*image.shape[:2], -1), tag.value if tag is not None else 1)


def _is_rows_of_bands(axes: str, shape: tuple[int, ...]) -> bool:
    """Whether pages are the rows of one image: tifffile stores (height, width, bands) so unless told what the axes are.

    Each page is then as narrow as there are bands, which no image is that anything is to be seen in.
    """
    return axes == "QYX" and shape[2] <= NARROWEST and shape[2] < min(shape[:2])


def _refuse_missing_pages(file: IO[bytes], last: int, form: Any) -> None:
    """ImageError if the last page found, which begins at `last`, names another one: a file cut short has lost it."""
    file.seek(last)
    (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    file.seek(tags * form.tagsize, io.SEEK_CUR)
    (following,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    if following:
        raise ImageError("the TIFF file is truncated or damaged: copy or download it again")


def _read_png(content: bytes) -> np.ndarray:
    from imagecodecs import png_decode  # takes half a second, and most images have 8 bits

    width, height = struct.unpack(">II", content[16:24].ljust(8, b"\0"))
    refuse_too_many_pixels(width, height)
    orientation = 1
    if b"eXIf" in content or b"Raw profile type" in content:  # else Pillow would decode it all to find none
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            orientation = orientation_of(image)
    return _turned(png_decode(content), orientation)


def _read_wide_pnm(file: IO[bytes], header: re.Match[bytes]) -> np.ndarray:
    """Binary PGM or PPM whose white is above 255: two bytes a value, the higher one first (Netpbm)."""
    width, height, white, channels = *map(int, header.groups()[1:]), 3 if header[1] == b"6" else 1
    refuse_too_many_pixels(width, height)
    if white > 65535:
        raise ImageError(f"the image says that {white} is white, and PNM ends at 65535: save it again")
    file.seek(header.end())
    content = file.read(2 * width * height * channels)
    if len(content) < 2 * width * height * channels:
        raise ImageError("the image file is truncated: copy or download it again")
    return np.frombuffer(content, ">u2").reshape(height, width, channels)


def _from_pillow(image: Image.Image) -> np.ndarray:
    """What Pillow holds, in its own type."""
    with decoding_errors("image"):
        refuse_too_many_pixels(*image.size)
        if not image.mode.startswith(("I", "F")):
            try:
                refuse_deep(image)
            except NotAPicture:
                raise ImageError(
                    "Pillow opens this image and keeps 8 of its bits a channel: give the file's path or bytes"
                ) from None
        if image.mode not in ("L", "LA", "RGB", "RGBA", "I", "F") and not image.mode.startswith("I;16"):
            return read_image(image)
        return _turned(np.asarray(image), orientation_of(image))


def _turned(image: np.ndarray, orientation: int) -> np.ndarray:
    turn = _TURN.get(orientation)
    return image if turn is None else turn(image)


def _checked(image: np.ndarray) -> np.ndarray:
    """The image as (height, width, bands) in the machine's byte order; ImageError unless all are finite numbers."""
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.size == 0:
        raise ImageError(f"an array of shape {image.shape} is not one image: give (height, width, channels)")
    if image.dtype.kind not in "uif" or image.dtype.itemsize > 8:
        raise ImageError(f"its values are of type {image.dtype}: convert them to integers or floating point")
    refuse_too_many_pixels(image.shape[1], image.shape[0])
    refuse_too_many_bytes(image.shape, image.dtype.itemsize)
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ImageError("it holds NaN or infinity: replace them with a number, such as the lowest one")
    return np.ascontiguousarray(image, image.dtype.newbyteorder("="))
