"""Networks prepared for this machine, kept under `VITRAL_CACHE/compiled`: safe to delete, safe from other processes.

An entry is a folder of its own: the files, and `entry.json` with what they were made of and each file's SHA-256. It is
put together beside its place and moved there whole. What is damaged, or was made of something else than its name says,
is thrown away.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from vitral.errors import WeightsError, one_line
from vitral.files import cache_folder, sha256, sha256_of_file, write_json

# Bytes that all entries together may take; those unused for longest go first.
LIMIT = 8 << 30
ENTRY = "entry.json"
# Bytes above which a file is checked while it is loaded, and not before.
LARGE = 1 << 22
# Seconds after which what lies half made was left by a process that is gone.
LONGEST_AT_WORK = 24 * 3600

log = logging.getLogger("vitral")

Built = TypeVar("Built")
Ready = TypeVar("Ready")


def prepared(
    made_of: Mapping[str, str],
    *,
    load: Callable[[Path], Ready],
    build: Callable[[], Built],
    save: Callable[[Built, Path], None],
    start: Callable[[Built], Ready],
) -> Ready:
    """What is kept, or built and kept now.

    Args:
        made_of: whatever changes it changes this.
        load: makes it ready from its folder.
        build: makes it anew.
        save: puts into a folder what `load` takes.
        start: makes ready what was built just now.
    """
    folder = _place(made_of)
    if os.path.exists(folder):  # unlike pathlib's, it bears a folder that nobody may look into
        files, ready = _files(folder, made_of), None
        with ThreadPoolExecutor(1) as beside:  # tensors are checked while they are loaded
            whole = beside.submit(_are_whole, folder, files, large=True)
            if _are_whole(folder, files, large=False):
                with suppress(
                    WeightsError, OSError
                ):  # another process threw it away this moment, or it was kept spoiled
                    ready = load(folder)
        if ready is not None and whole.result():
            with suppress(OSError):
                os.utime(folder)  # used just now
            return ready
        discard(made_of)
    built = build()
    ready = start(built)  # what does not start is not kept
    keep(made_of, lambda place: save(built, place))
    return ready


def keep(made_of: Mapping[str, str], write: Callable[[Path], None]) -> None:
    """Keep what `write` puts into the folder it is given.

    Where another process was faster, its entry stays. A disk that is full or read-only costs nothing but the time of
    making it again.
    """
    folder = _place(made_of)
    part = folder.with_name(f".{folder.name}.{uuid4().hex}.part")
    try:
        part.mkdir(parents=True)
        write(part)
        files = {file.name: sha256_of_file(file) for file in part.iterdir()}
        write_json(part / ENTRY, {"made_of": dict(made_of), "files": files})
        if folder.exists() and not _are_whole(folder, _files(folder, made_of)):
            discard(made_of)
        with suppress(OSError):  # not empty: it is there by now
            part.rename(folder)
        _make_room(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: what OpenVINO makes of a full disk
        log.info("nothing is kept in %s: %s", folder.parent, one_line(error))
    finally:
        shutil.rmtree(part, ignore_errors=True)


def discard(made_of: Mapping[str, str]) -> None:
    """Throw an entry away; it leaves its place at once, before its files go one by one."""
    folder = _place(made_of)
    gone = folder.with_name(f".{folder.name}.{uuid4().hex}.gone")
    with suppress(OSError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _place(made_of: Mapping[str, str]) -> Path:
    return cache_folder("compiled") / sha256(json.dumps(dict(made_of), sort_keys=True).encode())[:32]


def _files(folder: Path, made_of: Mapping[str, str]) -> dict[str, str] | None:
    """The files of an entry that was made of just this, each with its SHA-256; None where this is no such entry."""
    try:
        entry = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        files = entry["files"]
        listed = isinstance(files, dict) and {ENTRY, *files} == set(os.listdir(folder))
        if listed and entry["made_of"] == dict(made_of):
            return files
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def _are_whole(folder: Path, files: dict[str, str] | None, large: bool | None = None) -> bool:
    """Whether every byte is as it was kept: of the files above `LARGE` bytes, of the others, or (None) of all."""
    try:
        return files is not None and all(
            sha256_of_file(folder / name) == found
            for name, found in files.items()
            if large is None or ((folder / name).stat().st_size > LARGE) == large
        )
    except OSError:
        return False


def _make_room(kept: Path) -> None:
    """Take away what was left half made, and entries until all fit, those unused for longest first."""
    with suppress(OSError):
        entries = [entry for entry in kept.parent.iterdir() if entry.is_dir() and entry != kept]
        sizes = {entry: sum(file.stat().st_size for file in entry.iterdir()) for entry in [kept, *entries]}
        taken = sum(sizes.values())
        for entry in sorted(entries, key=lambda one: one.stat().st_mtime):
            at_work = entry.name.startswith(".") and time.time() - entry.stat().st_mtime < LONGEST_AT_WORK
            if not at_work and (entry.name.startswith(".") or taken > LIMIT):
                shutil.rmtree(entry, ignore_errors=True)
                taken -= sizes[entry]
