"""Anything that holds an image as a binary file, what kind of file it is, and what decoders raise as one ImageError."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from vitral.errors import ImageError
from vitral.images.limits import too_many_pixels

ImageSource = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray | Any
"""A path, bytes, a binary file, a PIL image, a numpy array or a torch tensor (not named: torch is not imported)."""

# Formats that need other programs (EPS) or that nobody photographs in are left to those who know them.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")


@contextmanager
def opened(source: Any) -> Iterator[IO[bytes]]:
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
        raise ImageError(f"the file cannot be opened ({reason(error)}): check its permissions") from error


def kind_of(file: IO[bytes]) -> str:
    """What the file is by its first bytes, in words, refusing what Pillow would only call unidentified."""
    try:
        head = file.read(64)
        file.seek(0)
    except OSError as error:
        raise ImageError(
            f"the file cannot be read ({reason(error)}): check the disk, or copy it again"
        ) from error
    if not head:
        raise ImageError("the file is empty: copy or download it again")
    if head[4:8] == b"ftyp":
        return "AVIF" if b"avif" in head or b"avis" in head else "HEIC"
    signatures = {
        b"\xff\xd8\xff": "JPEG",
        b"\x89PNG": "PNG",
        b"GIF8": "GIF",
        b"BM": "BMP",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        b"\x93NUMPY": "NPY",
        b"II+\0": "TIFF",
        b"MM\0+": "TIFF",
    }
    for signature, kind in signatures.items():
        if head.startswith(signature):
            return kind
    if head[8:12] == b"WEBP":
        return "WEBP"
    return "image"


@contextmanager
def decoding_errors(kind: str) -> Iterator[None]:
    """Damaged files make decoders raise almost anything; all of it becomes ImageError."""
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
            text = f"not an image in a format that is read ({', '.join(FORMATS)}, HEIC, NPY)"
            raise ImageError(f"{text}: convert it, or leave it out") from error
        if kind == "AVIF" and not features.check("avif"):
            raise ImageError(
                "AVIF images need a Pillow built with AVIF: pip install --upgrade pillow"
            ) from error
        raise ImageError(f"the {kind} file is truncated or damaged: copy or download it again") from error
    except Exception as error:
        if isinstance(error, EOFError) or "truncated" in str(error).lower():
            raise ImageError(f"the {kind} file is truncated: copy or download it again") from error
        text = f"the {kind} file is damaged or of an unknown kind ({reason(error)})"
        raise ImageError(f"{text}: copy or download it again, or convert it") from error


def reason(error: Exception) -> str:
    """An error's own words, on one line."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return " ".join(text.split())
