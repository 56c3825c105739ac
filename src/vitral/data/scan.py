"""Every image looked at once when DATA is opened: can it be read, how big is it, what does it hold."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL

from vitral.errors import ImageError
from vitral.files import cache_folder, sha256, written_whole
from vitral.images import NotAPicture, Signature, read_bands, read_image, signature, thumbnail

# Below this many pixels a side, two different images can look as alike as two copies.
SIGNED_SIDE = 32
# Bytes that all kept scans together may take; the ones unused for longest go first.
CACHE_LIMIT = 512 << 20
# Kept scans of another version, or of another Pillow, which may decode otherwise, are not used.
CACHE_VERSION = f"2 {PIL.__version__}"

# First bytes of formats that lose nothing: PNG, BMP, TIFF, BigTIFF, GIF, PNM, numpy.
LOSSLESS = (b"\x89PNG", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8", b"P", b"\x93NUMPY")

Progress = Callable[[int, int], None]
Source = TypeVar("Source")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an image once it has been decoded.

    Args:
        hash: SHA-256 of the file's bytes, hexadecimal.
        pixels: SHA-256 of height, width, channels and the decoded values, hexadecimal.
        height, width: in pixels, upright.
        channels: 3 for pictures, which are read in RGB; of others as many as there are.
        dtype: the type of its values; None for 8-bit pictures.
        bytes: the file's size.
        lossy: whether its format loses something when saving, as JPEG does.
        signature: of a picture, for finding near-duplicates; None where a side is shorter than 32 pixels.
        thumbnail: of what is no picture, for the same; None in the same case.
    """

    hash: str
    pixels: str
    height: int
    width: int
    channels: int
    dtype: str | None
    bytes: int
    lossy: bool
    signature: Signature | None
    thumbnail: np.ndarray | None = None

    @property
    def decoded_bytes(self) -> int:
        """What its values take in memory."""
        return self.height * self.width * self.channels * np.dtype(self.dtype or "uint8").itemsize


def scan_files(
    files: Sequence[Path], root: Path, progress: Progress | None = None, bands: bool = False
) -> list[Facts | str]:
    """Decode every file once; what is already known of unchanged files (path, size, time) is not decoded again.

    Args:
        files: absolute paths.
        root: DATA's folder or file; what was found is kept in one cache file for it.
        progress: called with the number of files looked at so far and in all.
        bands: read 8-bit pictures band by band, too.

    Returns:
        Facts, or the reason why a file is not usable, in the order of `files`.
    """
    name = sha256(str(root.absolute()).encode("utf-8", "surrogateescape"))[:32]
    cache = cache_folder("scans") / f"{name}{'-bands' if bands else ''}.npz"
    known = _load(cache)
    stamps = [_stamp(file) for file in files]
    found: list[Facts | str | None] = [
        known.get((os.fspath(file), *stamp)) if stamp else None
        for file, stamp in zip(files, stamps, strict=True)
    ]
    unknown = [index for index, facts in enumerate(found) if facts is None]
    look = _look_at_bands if bands else _look
    looked = _in_threads(look, [files[index] for index in unknown], len(files), progress)
    for index, facts in zip(unknown, looked, strict=True):
        found[index] = facts
    complete = [facts for facts in found if facts is not None]
    assert len(complete) == len(files)
    if any(isinstance(complete[index], Facts) for index in unknown):
        keep = {
            (os.fspath(file), *stamp): facts
            for file, stamp, facts in zip(files, stamps, complete, strict=True)
            if stamp and isinstance(facts, Facts)
        }
        # A disk that is full or read-only costs the time of looking again, nothing else.
        with suppress(OSError):
            _save(cache, keep)
            _prune(cache)
    elif cache.exists():
        with suppress(OSError):
            os.utime(cache)
    return complete


def scan_arrays(
    arrays: Iterable[np.ndarray], count: int, progress: Progress | None = None, bands: bool = False
) -> list[Facts]:
    """The facts of `count` images uint8 (height, width, channels) that are no files; both hashes are the pixels'."""

    def look(pixels: np.ndarray) -> Facts:
        digest = _hash_pixels(pixels)
        return _facts(pixels, digest, digest, pixels.nbytes, False, bands)

    return _in_threads(look, arrays, count, progress, block=256)


def _look(file: Path, bands: bool = False) -> Facts | str:
    """Read and decode one file; a problem comes back as its reason."""
    try:
        if file.exists() and not file.is_file():
            return "not a file: name an image"
        content = file.read_bytes()
        try:
            pixels = read_bands(content) if bands else read_image(content)
        except NotAPicture:
            pixels, bands = read_bands(content), True
    except FileNotFoundError:
        return "there is no such file: check the path"
    except OSError as error:
        return f"cannot be opened ({error.strerror or error}): check its permissions"
    except ImageError as error:
        return str(error)
    lossy = not content.startswith(LOSSLESS)
    return _facts(pixels, sha256(content), _hash_pixels(pixels), len(content), lossy, bands)


def _look_at_bands(file: Path) -> Facts | str:
    return _look(file, bands=True)


def _facts(pixels: np.ndarray, content: str, decoded: str, size: int, lossy: bool, bands: bool) -> Facts:
    height, width, channels = pixels.shape
    large = min(height, width) >= SIGNED_SIDE
    return Facts(
        hash=content,
        pixels=decoded,
        height=height,
        width=width,
        channels=channels,
        dtype=pixels.dtype.name if bands else None,
        bytes=size,
        lossy=lossy,
        signature=signature(pixels) if large and not bands else None,
        thumbnail=thumbnail(pixels) if large and bands else None,
    )


def _hash_pixels(pixels: np.ndarray) -> str:
    kind = "" if pixels.dtype == np.uint8 else pixels.dtype.name
    digest = hashlib.sha256(f"{pixels.shape}{kind}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _in_threads(
    look: Callable[[Source], Result],
    sources: Iterable[Source],
    total: int,
    progress: Progress | None,
    block: int = 1,
) -> list[Result]:
    """`look` at every source on all processors: decoding and hashing leave Python's lock alone.

    `sources` may be the last of `total`; the ones before them count as done. Images that take less time to
    look at than to hand to a thread are handed over in blocks.
    """
    sources = list(sources)
    done = total - len(sources)
    blocks = [sources[start : start + block] for start in range(0, len(sources), block)]
    results: list[Result] = []
    pool = ThreadPoolExecutor(_processors())
    try:
        if progress:
            progress(done, total)
        for found in pool.map(lambda block: [look(source) for source in block], blocks):
            results += found
            if progress:
                progress(done + len(results), total)
    finally:
        # On Ctrl-C, too: what has not begun shall not be waited for.
        pool.shutdown(cancel_futures=True)
    return results


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def _stamp(file: Path) -> tuple[int, int] | None:
    """(size, time of last change in nanoseconds); None where there is no file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


Key = tuple[str, int, int]  # path, size, time


def _save(cache: Path, known: dict[Key, Facts]) -> None:
    facts = list(known.values())
    signed = [fact.signature for fact in facts if fact.signature is not None]
    thumbnails = np.stack([one.thumbnail for one in signed]) if signed else np.empty((0, 16, 16, 3), np.uint8)
    measured = [fact.thumbnail for fact in facts if fact.thumbnail is not None]
    with written_whole(cache) as file:
        np.savez(
            file,
            version=np.frombuffer(CACHE_VERSION.encode(), np.uint8),
            paths=np.frombuffer(
                "\0".join(key[0] for key in known).encode("utf-8", "surrogateescape"), np.uint8
            ),
            stamps=np.array([key[1:] for key in known], np.int64).reshape(-1, 2),
            hashes=np.frombuffer(bytes.fromhex("".join(fact.hash + fact.pixels for fact in facts)), np.uint8),
            shapes=np.array([(f.height, f.width, f.channels) for f in facts], np.int32).reshape(-1, 3),
            dtypes=np.array([fact.dtype or "" for fact in facts], "U8"),
            lossy=np.array([fact.lossy for fact in facts], bool),
            signed=np.array([fact.signature is not None for fact in facts], bool),
            differences=np.array([one.hash for one in signed], np.uint64),
            thumbnails=thumbnails,
            measured=np.array([fact.thumbnail is not None for fact in facts], bool),
            of_bands=np.stack(measured) if measured else np.empty((0, 16, 16, 3), np.float32),
        )


def _load(cache: Path) -> dict[Key, Facts]:
    """What an earlier scan kept; nothing where there is none, or it is damaged or of another version."""
    try:
        with cache.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if kept["version"].tobytes().decode() != CACHE_VERSION:
                return {}
            paths = kept["paths"].tobytes().decode("utf-8", "surrogateescape").split("\0")
            stamps, shapes = kept["stamps"].tolist(), kept["shapes"].tolist()
            hashes = kept["hashes"].tobytes().hex()
            lossy, signed = kept["lossy"].tolist(), kept["signed"].tolist()
            signatures = map(Signature, kept["differences"].tolist(), kept["thumbnails"])
            dtypes, measured, of_bands = (
                kept["dtypes"].tolist(),
                kept["measured"].tolist(),
                iter(kept["of_bands"]),
            )
            return {
                (path, size, time): Facts(
                    hash=hashes[128 * index : 128 * index + 64],
                    pixels=hashes[128 * index + 64 : 128 * index + 128],
                    height=shapes[index][0],
                    width=shapes[index][1],
                    channels=shapes[index][2],
                    dtype=dtypes[index] or None,
                    bytes=size,
                    lossy=lossy[index],
                    signature=next(signatures) if signed[index] else None,
                    thumbnail=next(of_bands) if measured[index] else None,
                )
                for index, (path, (size, time)) in enumerate(zip(paths, stamps, strict=True))
            }
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
        EOFError,
        StopIteration,
        RuntimeError,
        zipfile.BadZipFile,
    ):
        return {}


def _prune(newest: Path) -> None:
    """Delete the scans unused for longest until the rest, `newest` included, fits CACHE_LIMIT."""
    scans = sorted(newest.parent.glob("*.npz"), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for file in scans:
        total += file.stat().st_size
        if total > CACHE_LIMIT and file != newest:
            file.unlink(missing_ok=True)
