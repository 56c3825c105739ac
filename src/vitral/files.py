"""Files that are written whole or not at all, locks, hashes, and the place for caches."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from vitral.errors import VitralError


@contextmanager
def written_whole(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that appears under `path` only once it is complete and on disk.

    The bytes go to a hidden neighbour first, which replaces `path` when the block ends well and
    vanishes when it does not, so a reader sees the old content or the new one, never a part.

    Args:
        path: where the file shall stand; its folder is made if need be.
        mode: `"wb"` for bytes, `"w"` for UTF-8 text with Unix line ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    # File names need not be UTF-8 on Linux: their bytes go through as they are (surrogateescape).
    text: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}
    try:
        with os.fdopen(descriptor, mode, **({} if "b" in mode else text)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _permissions(path))
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def written_together(path: str | Path) -> Iterator[Path]:
    """A folder for files that belong together; they appear beside `path` once the block ends well, or not at all.

    It lies hidden in the folder of `path`, which is made if need be. The file called as `path` is the last one to
    appear, so whoever sees it sees the others. Folders that the block leaves there are thrown away.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield part
        files = sorted(
            (file for file in part.iterdir() if file.is_file()), key=lambda file: file.name == path.name
        )
        for file in files:
            with open(file, "r+b") as written:
                os.fsync(written.fileno())
            os.chmod(file, _permissions(path.parent / file.name))
        for file in files:
            os.replace(file, path.parent / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with written_whole(path) as file:
        file.write(content)


def write_text(path: str | Path, content: str) -> None:
    """Write `content` to `path` in UTF-8, whole or not at all."""
    with written_whole(path, "w") as file:
        file.write(content)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` to `path` as indented JSON, whole or not at all. NaN and infinity are refused."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Keep other processes out of what the lock file `path` stands for; it stays behind, empty.

    The system itself lets go of the lock when the process ends, however it ends.

    Raises:
        VitralError: another process holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        if not _lock(file):
            raise VitralError(f"another process writes to {path.parent}: wait until it has ended")
        yield


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; memory stays small whatever the file's size."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder(name: str) -> Path:
    """The folder for one kind of cache, under `VITRAL_CACHE` or the system's usual place; safe to delete."""
    root = os.environ.get("VITRAL_CACHE")
    if root:
        return Path(root).expanduser() / name
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "vitral" / name


def _permissions(path: Path) -> int:
    """Those of the file that is replaced, else what the process would give a new file (mkstemp gives 0600)."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _lock(file: IO[bytes]) -> bool:
    """Whether this process now holds the lock; until the file is closed."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
