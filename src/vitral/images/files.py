"""Which files of a folder are images."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vitral.errors import DataError

# fmt: off
IMAGE_SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".webp", ".tif", ".tiff",
    ".pbm", ".pgm", ".ppm", ".pnm", ".avif", ".heic", ".heif", ".hif", ".npy",
])
# fmt: on
"""Endings of image files, in lower case."""

ARRAY, BESIDE_ARRAYS = ".npy", (".npy", ".tif", ".tiff")


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files in `folder` and all folders below it, sorted by path.

    A file counts by its ending, whatever the case; whether it can be read shows only when it is read,
    so a link that leads nowhere is listed too. A .npy counts unless files of other formats than TIFF lie
    beside it: see `without_companions`. Hidden files and folders (`.name`) are ignored. Linked
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
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    folders = {entry.name for entry in entries if _is_folder(entry)}
    images = without_companions(
        folder / entry.name
        for entry in entries
        if entry.name not in folders and _suffix(entry) in IMAGE_SUFFIXES and not _is_pipe_or_device(entry)
    )
    by_name = {image.name: image for image in images}
    for entry in entries:
        if entry.name in folders:
            yield from _images_below(folder / entry.name, (*above, here))
        elif entry.name in by_name:
            yield by_name[entry.name]


def without_companions(images: Iterable[Path]) -> list[Path]:
    """The files without the .npy that lie beside images of other formats than TIFF.

    Those are masks, depths or features of the photographs beside them, and no images of their own.
    """
    images = list(images)
    pictured = {image.parent for image in images if _suffix(image) not in BESIDE_ARRAYS}
    return [image for image in images if _suffix(image) != ARRAY or image.parent not in pictured]


def _suffix(file: os.PathLike[str]) -> str:
    return os.path.splitext(os.fspath(file))[1].lower()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_pipe_or_device(entry: os.DirEntry[str]) -> bool:
    """Something that could be waited on for ever. A link that leads nowhere is not."""
    return os.path.exists(entry.path) and not entry.is_file()
