"""Features kept between runs: by network, preprocessing and image content, safe against kills and other processes.

A folder for each network with its preprocessing (the key), in it one for each layer, in it segments. Every process
appends to a segment of its own and to no other, so that none can spoil another's. A segment is a header, then records
of one size: image hash, numbers, checksum. What a kill cut short, or a disk spoiled, is passed over.
"""

import os
import shutil
import struct
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from uuid import uuid4

import numpy as np

from vitral.files import cache_folder

# Bytes that all features together may take; those of the networks unused for longest go first.
CACHE_LIMIT = 4 << 30
VERSION = 1
_HEADER = struct.Struct("<8sII")  # magic, version, how many numbers a record has
_MAGIC = b"vitralfe"
_ENDING = ".features"


class FeatureCache:
    """The features of one network for images that go through one preprocessing.

    A disk that is full or read-only costs nothing but the time of computing again.

    Args:
        key: hexadecimal; whatever changes the features changes it.
    """

    def __init__(self, key: str) -> None:
        self.folder = cache_folder("features") / key

    def read(self, name: str, hashes: Sequence[str], width: int) -> tuple[np.ndarray, np.ndarray]:
        """What is kept of some images.

        Args:
            name: of the layer.
            hashes: the images' content, SHA-256 in hexadecimal.
            width: numbers an image.

        Returns:
            float32 `(images, width)`, and which of the rows were found `(images,)`.
        """
        values = np.zeros((len(hashes), width), np.float32)
        wanted: dict[bytes, list[int]] = {}
        for row, one in enumerate(hashes):
            wanted.setdefault(bytes.fromhex(one), []).append(row)
        found = np.zeros(len(hashes), bool)
        try:
            segments = sorted((self.folder / name).glob(f"*{_ENDING}"))
        except OSError:
            segments = []
        for segment in segments:
            records = _records(segment, width)
            for place, one in enumerate(records["hash"].tolist()):
                # numpy cuts zeros off the end of bytes.
                rows = wanted.get(one.ljust(32, b"\0"))
                if rows is None or found[rows[0]]:
                    continue
                record = records[place].tobytes()
                if _checksum(record[:-8]) == record[-8:]:
                    values[rows] = records["values"][place]
                    found[rows] = True
        if segments:
            with suppress(OSError):
                os.utime(self.folder)  # used just now
        return values, found

    def writer(self, name: str, width: int) -> "Writer":
        """What new features of a layer are added with; a context manager."""
        return Writer(self.folder / name, width)

    def prune(self) -> None:
        """Delete what was unused for longest until all that is kept fits CACHE_LIMIT, but nothing of this network."""
        with suppress(OSError):
            others = [folder for folder in self.folder.parent.iterdir() if folder.name != self.folder.name]
            others.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
            total = 0
            for folder in [self.folder, *others]:
                total += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                if total > CACHE_LIMIT and folder != self.folder:
                    shutil.rmtree(folder, ignore_errors=True)


class Writer:
    """Adds records to a segment of its own, which it makes with the first one."""

    def __init__(self, folder: Path, width: int) -> None:
        self.folder, self.width = folder, width
        self.file: IO[bytes] | None = None
        self.failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is not None:
            with suppress(OSError):
                self.file.close()

    def add(self, hashes: Sequence[str], values: np.ndarray) -> None:
        """Append some images' features float32 `(images, width)`; they are in the system's hands when this returns."""
        if self.failed:  # the records after a broken one could not be told apart
            return
        bodies = [
            bytes.fromhex(one) + row.astype("<f4").tobytes() for one, row in zip(hashes, values, strict=True)
        ]
        try:
            if self.file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.file = (self.folder / f"{uuid4().hex}{_ENDING}").open("xb", buffering=0)
                self._write(_HEADER.pack(_MAGIC, VERSION, self.width))
            self._write(b"".join(body + _checksum(body) for body in bodies))
        except OSError:
            self.failed = True

    def _write(self, content: bytes) -> None:
        assert self.file is not None
        view = memoryview(content)
        while view:
            view = view[self.file.write(view) :]


def _records(segment: Path, width: int) -> np.ndarray:
    """The whole records of a segment, read when they are looked at; none where it is no segment of this width."""
    kind = np.dtype([("hash", "S32"), ("values", "<f4", (width,)), ("checksum", "V8")])
    try:
        size = segment.stat().st_size
        with segment.open("rb") as file:
            header = file.read(_HEADER.size)
        count = (size - _HEADER.size) // kind.itemsize
        if len(header) == _HEADER.size and count > 0:
            magic, version, numbers = _HEADER.unpack(header)
            if (magic, version, numbers) == (_MAGIC, VERSION, width):
                return np.memmap(segment, kind, "r", _HEADER.size, (count,))
    except (OSError, ValueError):
        pass
    return np.empty(0, kind)


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=8).digest()
