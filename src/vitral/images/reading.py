"""Anything that holds an image -> uint8 RGB, as a person would see it; everything else -> one ImageError."""

import importlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from vitral.errors import ImageError
from vitral.images.arrays import eight_bits, from_tensor, is_tensor
from vitral.images.limits import (
    refuse_deep,
    refuse_pages,
    refuse_too_many_pixels,
    refuse_unusual_tiff_file,
    too_many_pixels,
)

ImageSource = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray | Any
"""A path, bytes, a binary file, a PIL image, a numpy array or a torch tensor (not named: torch is not imported)."""

# Formats that need other programs (EPS) or that nobody photographs in are left to those who know them.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")

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
    """Read one image as uint8 (height, width, 3): RGB, upright, on white where it is transparent.

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
        ImageError: it is empty, truncated, damaged, no image, too big, has more than 8 bits a channel, or
            a number of channels other than 1, 3 and 4. The text says which, but not the path.
    """
    if is_tensor(source) or isinstance(source, np.ndarray):
        array = eight_bits(from_tensor(source) if is_tensor(source) else np.asarray(source))
        return array if array.shape[2] == 3 else _read_pillow(Image.fromarray(array))
    if isinstance(source, Image.Image):
        with _pillow_errors("image"):
            return _read_pillow(source)
    with _opened(source) as file:
        return _read_file(file, at_least)


def _read_file(file: IO[bytes], at_least: tuple[int, int] | None) -> np.ndarray:
    kind = _kind(file)
    formats = _heif() if kind == "HEIC" else _FORMATS
    with _pillow_errors(kind):
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
    turn = _TURN.get(_orientation(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    return np.array(image.transpose(turn) if turn is not None else image)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF data can raise anything; viewers then show the pixels as they are stored
        return 1


@contextmanager
def _opened(source: Any) -> Iterator[IO[bytes]]:
    """`source` as a binary file that can be rewound."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield io.BytesIO(source)
    elif hasattr(source, "read"):
        content = source.read()
        if not isinstance(content, bytes):
            raise ImageError("the file is open for text: open it with mode 'rb'")
        yield io.BytesIO(content)
    elif isinstance(source, (str, os.PathLike)):
        with _open_path(source) as file:
            yield file if file.seekable() else io.BytesIO(file.read())
    else:
        kind = type(source).__name__
        raise ImageError(
            f"{kind} is not an image: give a path, bytes, a PIL image, a numpy array or a tensor"
        )


def _open_path(path: str | os.PathLike[str]) -> IO[bytes]:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise ImageError("there is no such file: check the path") from None
    except (OSError, ValueError) as error:
        if os.path.isdir(path):  # Windows calls this a missing permission
            raise ImageError("this is a folder: name the image files in it") from None
        raise ImageError(f"the file cannot be opened ({_reason(error)}): check its permissions") from error


def _kind(file: IO[bytes]) -> str:
    """What the file is by its first bytes, in words, refusing what Pillow would only call unidentified."""
    try:
        head = file.read(64)
        file.seek(0)
    except OSError as error:
        raise ImageError(
            f"the file cannot be read ({_reason(error)}): check the disk, or copy it again"
        ) from error
    if not head:
        raise ImageError("the file is empty: copy or download it again")
    if head.startswith(b"\x93NUMPY"):
        raise ImageError(
            ".npy files are not read yet: load the array with numpy.load, or save it as 8-bit PNG"
        )
    if head[4:8] == b"ftyp":
        return "AVIF" if b"avif" in head or b"avis" in head else "HEIC"
    signatures = {
        b"\xff\xd8\xff": "JPEG",
        b"\x89PNG": "PNG",
        b"GIF8": "GIF",
        b"BM": "BMP",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        b"II+\0": "TIFF",
        b"MM\0+": "TIFF",
    }
    for signature, kind in signatures.items():
        if head.startswith(signature):
            return kind
    if head[8:12] == b"WEBP":
        return "WEBP"
    return "image"


def _heif() -> tuple[str]:
    """Let Pillow read HEIC through the optional package."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        raise ImageError("HEIC images need an extra package: pip install 'vitral[heif]'") from None
    return ("HEIF",)


@contextmanager
def _pillow_errors(kind: str) -> Iterator[None]:
    """Damaged files make Pillow raise almost anything; all of it becomes ImageError."""
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_many_pixels() from None
    except MemoryError as error:
        raise ImageError(f"the {kind} does not fit into memory: make it smaller") from error
    except UnidentifiedImageError as error:
        if kind == "image":
            text = f"not an image in a format that is read ({', '.join(_FORMATS)}, HEIC)"
            raise ImageError(f"{text}: convert it, or leave it out") from error
        if kind == "AVIF" and not features.check("avif"):
            raise ImageError(
                "AVIF images need a Pillow built with AVIF: pip install --upgrade pillow"
            ) from error
        raise ImageError(f"the {kind} file is truncated or damaged: copy or download it again") from error
    except Exception as error:
        if isinstance(error, EOFError) or "truncated" in str(error).lower():
            raise ImageError(f"the {kind} file is truncated: copy or download it again") from error
        text = f"the {kind} file is damaged or of an unknown kind ({_reason(error)})"
        raise ImageError(f"{text}: copy or download it again, or convert it") from error


def _reason(error: Exception) -> str:
    """An error's own words, on one line."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return " ".join(text.split())
