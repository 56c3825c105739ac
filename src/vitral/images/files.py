"""Which files of a folder are images."""

import os
from collections.abc import Iterator
from pathlib import Path

from vitral.errors import DataError

# fmt: off
IMAGE_SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".webp", ".tif", ".tiff",
    ".pbm", ".pgm", ".ppm", ".pnm", ".avif", ".heic", ".heif", ".hif",
])
# fmt: on
"""Endings of image files, in lower case."""


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files in `folder` and all folders below it, sorted by path.

    A file counts by its ending, whatever the case; whether it can be read shows only when it is read,
    so a link that leads nowhere is listed too. Hidden files and folders (`.name`) are ignored. Linked
    folders are entered, except where a link leads back to a folder that it lies in.

    Raises:
        DataError: `folder`, or a folder below it, is missing or may not be read.
    """
    return list(_images_below(Path(folder), ()))


def _images_below(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Images below `folder`; `above` holds the real paths of the folders that lead to it."""
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        raise DataError(f"there is no folder {folder}: check the path") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file: name the folder that holds the images") from None
    except OSError as error:
        raise DataError(
            f"the folder {folder} cannot be read ({error.strerror}): check its permissions"
        ) from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            yield from _images_below(folder / entry.name, (*above, here))
        elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and not _is_pipe_or_device(entry):
            yield folder / entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_pipe_or_device(entry: os.DirEntry[str]) -> bool:
    """Something that could be waited on for ever. A link that leads nowhere is not."""
    return os.path.exists(entry.path) and not entry.is_file()
