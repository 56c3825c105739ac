"""Which files of a folder are images."""

import heapq
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from vitral.errors import DataError

# fmt: off
IMAGE_SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".webp", ".tif", ".tiff",
    ".pbm", ".pgm", ".ppm", ".pnm", ".avif", ".heic", ".heif", ".hif", ".npy",
])
# fmt: on
"""Endings of image files, in lower case."""

ARRAY, BESIDE_ARRAYS = ".npy", (".npy", ".tif", ".tiff")

# Names of one folder that are held, sorted, at a time; a folder of more is looked through again for the next ones.
AT_ONCE = 100_000


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files in `folder` and all folders below it, sorted by path.

    A file counts by its ending, whatever the case; whether it can be read shows only when it is read,
    so a link that leads nowhere is listed too. A .npy counts unless files of other formats than TIFF lie
    beside it: see `without_companions`. Hidden files and folders (`.name`) are ignored. Linked
    folders are entered, except where a link leads back to a folder that it lies in.

    Raises:
        DataError: `folder`, or a folder below it, is missing or may not be read.
    """
    return list(walk_images(folder))


def walk_images(
    folder: str | os.PathLike[str], unreadable: Callable[[DataError], None] | None = None
) -> Iterator[Path]:
    """The same one after the other; memory stays small however many there are, in one folder too.

    Args:
        folder: where to look.
        unreadable: told of a folder that is missing or may not be read, instead of an error that ends the walk.
    """
    return _images_below(Path(folder), (), unreadable)


def in_order(scan: Callable[[], Iterator[Any]], at_once: int | None = None) -> Iterator[Any]:
    """What `scan()` finds, sorted and each once, though no more than `at_once` of it is ever held.

    Args:
        scan: looks for everything from the start; called again for each further `at_once`.
        at_once: how much is held; None: `AT_ONCE`.
    """
    at_once = at_once or AT_ONCE
    found = heapq.nsmallest(at_once, scan())
    while found:
        last = None
        for one in found:
            if one != last:
                yield one
            last = one
        if len(found) < at_once:
            return
        found = heapq.nsmallest(at_once, (one for one in scan() if one > last))


def _images_below(
    folder: Path, above: tuple[str, ...], unreadable: Callable[[DataError], None] | None
) -> Iterator[Path]:
    """Images below `folder`; `above` holds the real paths of the folders that lead to it."""
    here = os.path.realpath(folder)
    if here in above:
        return
    try:
        # Looked for first: which .npy count, shows only when the others are known.
        pictured = any(has_companions(name) for name, is_folder in _in_folder(folder) if not is_folder)
        for name, is_folder in in_order(lambda: _in_folder(folder)):
            if pictured and not is_folder and suffix_of(name) == ARRAY:
                continue
            if is_folder:
                yield from _images_below(folder / name, (*above, here), unreadable)
            else:
                yield folder / name
    except DataError as error:
        if unreadable is None:
            raise
        unreadable(error)


def _in_folder(folder: Path) -> Iterator[tuple[str, bool]]:
    """Name of every image and folder in a folder, and whether it is a folder, in no order."""
    try:
        with os.scandir(folder) as found:
            for entry in found:
                name = entry.name
                if name.startswith("."):
                    continue
                if _is_folder(entry):
                    yield name, True
                elif suffix_of(name) in IMAGE_SUFFIXES and not _is_pipe_or_device(entry):
                    yield name, False
    except FileNotFoundError:
        raise DataError(f"there is no folder {folder}: check the path") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file: name the folder that holds the images") from None
    except OSError as error:
        raise DataError(
            f"the folder {folder} cannot be read ({error.strerror}): check its permissions"
        ) from error


def without_companions(images: Iterable[Path]) -> list[Path]:
    """The files without the .npy that lie beside images of other formats than TIFF.

    Those are masks, depths or features of the photographs beside them, and no images of their own.
    """
    images = list(images)
    pictured = {image.parent for image in images if has_companions(image)}
    return [image for image in images if suffix_of(image) != ARRAY or image.parent not in pictured]


def has_companions(image: os.PathLike[str] | str) -> bool:
    """Whether an image is of a format beside which a .npy is no image of its own."""
    suffix = suffix_of(image)
    return suffix in IMAGE_SUFFIXES and suffix not in BESIDE_ARRAYS


def suffix_of(file: os.PathLike[str] | str) -> str:
    """A file's ending in lower case, ".jpg"."""
    return os.path.splitext(os.fspath(file))[1].lower()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_pipe_or_device(entry: os.DirEntry[str]) -> bool:
    """Something that could be waited on for ever. A link that leads nowhere, or to itself, is not."""
    try:
        return not entry.is_file() and os.path.exists(entry.path)
    except OSError:
        return False
