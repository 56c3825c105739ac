"""Which images a command line means: files, folders and wildcards, one image after the other."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from vitral.errors import DataError
from vitral.images import IMAGE_SUFFIXES, walk_images
from vitral.images.files import ARRAY, has_companions, in_order, suffix_of


@dataclass(frozen=True)
class Wanted:
    """One image that was asked about.

    Args:
        path: as the answer names it.
        source: what can be read, a path or bytes; None where there is nothing to read.
        error: why there is nothing.
    """

    path: str
    source: str | bytes | None
    error: str | None = None


def expand(words: Sequence[str], standard_input: bytes | None = None) -> list[Wanted]:
    """The images that files, folders and wildcards mean, in the order given.

    Folders are searched with all folders below them and sorted, hidden files left out. `*`, `?`, `[…]` and `**` are
    wildcards unless a file of that very name exists. What leads to no image is answered by an error in its place.

    Args:
        words: paths, wildcards, or "-" for one image's bytes.
        standard_input: these bytes.
    """
    return list(each_wanted(words, standard_input))


def each_wanted(words: Sequence[str], standard_input: bytes | None = None) -> Iterator[Wanted]:
    """The same one after the other; memory stays small however many there are."""
    for word in words:
        path = Path(word)
        if word == "-" and standard_input is not None:
            yield Wanted("-", standard_input)
        elif path.is_dir():
            yield from _in_folder(word, path)
        elif path.exists() or not glob.has_magic(word):
            yield Wanted(word, word)
        else:
            yield from _matching(word)


class PathSet:
    """Which paths have been met, at 16 bytes each: their hashes, most of them in one sorted array."""

    def __init__(self) -> None:
        self.settled = np.empty(0, "S16")
        self.recent: set[bytes] = set()

    def __len__(self) -> int:
        return len(self.settled) + len(self.recent)

    def add(self, path: str) -> bool:
        """Whether this path is new; from now on it is not."""
        key = blake2b(os.fsencode(path), digest_size=16).digest()
        if key in self.recent:
            return False
        place = int(np.searchsorted(self.settled, np.bytes_(key)))
        # numpy leaves out zeros at the end of what it holds.
        if place < len(self.settled) and self.settled[place] == key.rstrip(b"\0"):
            return False
        self.recent.add(key)
        if len(self.recent) == _RECENT:
            self.settled = np.concatenate([self.settled, np.array(list(self.recent), "S16")])
            self.settled.sort()
            self.recent.clear()
        return True


_RECENT = 1 << 16


def _in_folder(word: str, folder: Path) -> Iterator[Wanted]:
    unreadable: list[DataError] = []
    empty = True
    for file in walk_images(folder, unreadable.append):
        empty = False
        yield Wanted(str(file), str(file))
    for error in unreadable:
        yield Wanted(word, None, str(error))
    if empty and not unreadable:
        yield Wanted(word, None, "the folder holds no images: name another one")


def _matching(pattern: str) -> Iterator[Wanted]:
    met = PathSet()  # `**` finds a folder and what lies in it
    pictured = {
        os.path.dirname(match) for match in glob.iglob(pattern, recursive=True) if has_companions(match)
    }
    for match in in_order(lambda: glob.iglob(pattern, recursive=True)):
        path = Path(match)
        if suffix_of(path) == ARRAY and os.path.dirname(match) in pictured:
            continue
        for one in _images_in(path):
            if met.add(one.path):
                yield one
    if not len(met):
        yield Wanted(pattern, None, "no image matches these wildcards: check the path")


def _images_in(path: Path) -> Iterator[Wanted]:
    """The image itself, or those in a folder."""
    if path.is_dir():
        yield from _in_folder(str(path), path)
    elif path.is_file() and suffix_of(path) in IMAGE_SUFFIXES:
        yield Wanted(str(path), str(path))
