"""Does the cache give back what was put in, and nothing else, whatever happened to its files?"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vitral.files import cache_folder, sha256
from vitral.transfer import cache as cache_module
from vitral.transfer.cache import FeatureCache

WIDTH = 6


def names(count: int, start: int = 0) -> list[str]:
    return [sha256(str(index).encode()) for index in range(start, start + count)]


def numbers(count: int, start: int = 0, width: int = WIDTH) -> np.ndarray:
    return np.arange(start * width, (start + count) * width, dtype=np.float32).reshape(count, width) + 0.5


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureCache:
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path))
    return FeatureCache("ab12")


def fill(cache: FeatureCache, count: int, start: int = 0, name: str = "layer-3") -> Path:
    before = set((cache.folder / name).glob("*"))
    with cache.writer(name, WIDTH) as writer:
        writer.add(names(count, start), numbers(count, start))
    (segment,) = set((cache.folder / name).glob("*")) - before
    return segment


def found(cache: FeatureCache, count: int, name: str = "layer-3") -> list[int]:
    """Which of the first images are there, each with its own numbers."""
    values, there = cache.read(name, names(count), WIDTH)
    rows = np.flatnonzero(there)
    np.testing.assert_array_equal(values[rows], numbers(count)[rows])
    return rows.tolist()


def test_what_was_put_in_comes_out_in_the_order_asked_for(cache: FeatureCache) -> None:
    fill(cache, 4)
    fill(cache, 3, start=4)
    hashes = names(7)
    values, there = cache.read("layer-3", [hashes[5], hashes[0], sha256(b"other"), hashes[5]], WIDTH)
    assert there.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(values[[0, 1, 3]], numbers(7)[[5, 0, 5]])
    assert found(cache, 9) == list(range(7))


def test_layers_and_keys_are_kept_apart(cache: FeatureCache) -> None:
    fill(cache, 2)
    assert found(cache, 2, "layer-4") == []
    assert found(FeatureCache("ab13"), 2) == []
    assert cache.read("layer-3", names(2), WIDTH + 1)[1].tolist() == [False, False]


@pytest.mark.parametrize("ending", [b"\0", b"\0\0\0", b"\xff\0"])
def test_hashes_that_end_with_zeros(cache: FeatureCache, ending: bytes) -> None:
    one = (b"\1" * (32 - len(ending)) + ending).hex()
    with cache.writer("layer-3", WIDTH) as writer:
        writer.add([one], numbers(1))
    assert cache.read("layer-3", [one], WIDTH)[1].tolist() == [True]


def test_a_segment_cut_anywhere_is_used_up_to_its_last_whole_record(cache: FeatureCache) -> None:
    segment = fill(cache, 3)
    content = segment.read_bytes()
    record = 32 + 4 * WIDTH + 8
    header = len(content) - 3 * record
    assert header == 16
    for length in range(len(content)):
        segment.write_bytes(content[:length])
        assert found(cache, 3) == list(range(max(0, (length - header) // record)))


def test_a_spoiled_byte_costs_its_own_record_only(cache: FeatureCache) -> None:
    segment = fill(cache, 3)
    content = segment.read_bytes()
    record = 32 + 4 * WIDTH + 8
    for place in range(16, len(content), 5):
        spoiled = bytearray(content)
        spoiled[place] ^= 1
        segment.write_bytes(spoiled)
        assert found(cache, 3) == [index for index in range(3) if index != (place - 16) // record]
    for place in range(16):  # the header: no segment at all
        segment.write_bytes(content[:place] + b"?" + content[place + 1 :])
        assert found(cache, 3) == []


def test_other_files_are_left_alone(cache: FeatureCache) -> None:
    segment = fill(cache, 2)
    for name, content in {"a.features": b"", "b.features": b"x" * 500, "note.txt": b"mine"}.items():
        (segment.parent / name).write_bytes(content)
    (segment.parent / "c.features").mkdir()
    assert found(cache, 2) == [0, 1]
    assert (segment.parent / "note.txt").read_bytes() == b"mine"


WRITER = """
import sys
from tests_of_cache import names, numbers, WIDTH
from vitral.transfer.cache import FeatureCache
start, batches = int(sys.argv[1]), int(sys.argv[2])
with FeatureCache("ab12").writer("layer-3", WIDTH) as writer:
    for batch in range(batches):
        writer.add(names(8, start + 8 * batch), numbers(8, start + 8 * batch))
        print(batch, flush=True)
"""


def start_writer(folder: Path, start: int, batches: int) -> "subprocess.Popen[str]":
    # The helpers above, under a name that a fresh process can import.
    (folder / "tests_of_cache.py").write_text(Path(__file__).read_text())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}
    command = [sys.executable, "-c", WRITER, str(start), str(batches)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_one_cache_at_once(cache: FeatureCache, tmp_path: Path) -> None:
    # The second one writes what the first one writes too, and more.
    writers = [start_writer(tmp_path, 0, 60), start_writer(tmp_path, 240, 60)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.close()
    assert found(cache, 730) == list(range(720))
    assert len(list((cache.folder / "layer-3").iterdir())) == 2


def test_what_a_killed_process_had_told_of_is_there(cache: FeatureCache, tmp_path: Path) -> None:
    writer = start_writer(tmp_path, 0, 1_000_000)
    assert writer.stdout is not None
    for _ in range(20):
        last = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    told = [last, *(int(line) for line in writer.stdout if line.endswith("\n"))]
    writer.wait()
    writer.stdout.close()
    images = 8 * (told[-1] + 1)
    there = found(cache, images + 64)
    assert there[:images] == list(range(images))
    # Whoever comes next adds to it.
    fill(cache, 64, start=images)
    assert found(cache, images + 64) == list(range(images + 64))


def test_a_disk_that_cannot_be_written_costs_nothing_but_the_cache(
    cache: FeatureCache,
) -> None:
    cache.folder.parent.mkdir(parents=True)
    cache.folder.write_text("a file where the folder should be")
    with cache.writer("layer-3", WIDTH) as writer:
        writer.add(names(2), numbers(2))
        writer.add(names(2, 2), numbers(2, 2))
    assert found(cache, 4) == []
    cache.prune()
    cache.folder.unlink()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a file's size are POSIX's")
def test_a_disk_that_fills_up_within_a_record_leaves_nothing_askew(cache: FeatureCache) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    record = 32 + 4 * WIDTH + 8
    with cache.writer("layer-3", WIDTH) as writer:
        writer.add(names(2), numbers(2))
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 + 2 * record + record // 2, limits[1]))
        try:
            writer.add(names(2, 2), numbers(2, 2))  # half a record fits
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        writer.add(names(2, 4), numbers(2, 4))  # there is space again
    assert found(cache, 6) == [0, 1]
    fill(cache, 4, start=2)
    assert found(cache, 6) == list(range(6))


def test_the_networks_unused_for_longest_go_first(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {}
    for age, key in enumerate(("new", "middle", "old")):
        other = FeatureCache(key)
        sizes[key] = fill(other, 10).stat().st_size
        os.utime(other.folder, (time.time() - 1000 * (age + 1),) * 2)
    fill(cache, 10)
    monkeypatch.setattr(cache_module, "CACHE_LIMIT", 3 * sizes["new"])
    FeatureCache("old").read("layer-3", names(1), WIDTH)  # used just now
    cache.prune()
    assert {folder.name for folder in cache_folder("features").iterdir()} == {"ab12", "new", "old"}
    monkeypatch.setattr(cache_module, "CACHE_LIMIT", 1)
    cache.prune()
    assert found(cache, 10) == list(range(10))
    assert {folder.name for folder in cache_folder("features").iterdir()} == {"ab12"}
