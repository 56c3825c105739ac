"""Does every image get its vector once, whatever happens in between?"""

import csv
import gc
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vitral.errors import UsageError, VitralError
from vitral.files import locked
from vitral.images import files
from vitral.inference import Embedder
from vitral.workflow import Run, embed, parts, wanted
from vitral.workflow.progress import Display

EXACT: dict[str, Any] = {"device": "cpu", "precision": "fp32", "progress": False}


def rows(folder: Path) -> dict[str, np.ndarray]:
    """Every path with its vector, in the order of the parts; no path stands twice."""
    found: dict[str, np.ndarray] = {}
    for part in sorted(folder.glob("*.parquet")):
        table = pq.read_table(part)
        for path, vector in zip(table["path"].to_pylist(), table["vector"].to_pylist(), strict=True):
            assert path not in found
            found[path] = np.array(vector, np.float32)
    return found


def bad(folder: Path) -> dict[str, str]:
    with (folder / "errors.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return {row["path"]: row["error"] for row in csv.DictReader(file)}


@pytest.fixture
def album(make_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """Seventy pictures, more than two batches."""
    return make_folder(tmp_path / "album", counts=24, classes=("red", "green", "blue"))


def paths(album: Path) -> list[str]:
    return [str(path) for path in sorted(album.rglob("*.png"))]


def test_rows_are_what_the_classifier_gives_to_the_last_bit(run: Run, album: Path, tmp_path: Path) -> None:
    done = embed(run.path, album, tmp_path / "out", **EXACT)
    found = rows(tmp_path / "out")
    assert list(found) == paths(album)
    expected = run.classifier(device="cpu", precision="fp32").embed(paths(album))
    assert np.array_equal(np.stack(list(found.values())), expected)
    assert done.pop("seconds") > 0
    assert done.pop("images_per_second") > 0
    assert done == {
        "folder": str(tmp_path / "out"),
        "images": 72,
        "new": 72,
        "bad": 0,
        "parts": 1,
        "dim": 128,
        "pool": "token",
        "image_size": [16, 16],
        "device": "cpu",
        "backend": "torch",
        "precision": "fp32",
    }
    assert bad(tmp_path / "out") == {}


def test_parts_say_what_they_are(headless: Path, album: Path, tmp_path: Path) -> None:
    embed(headless, album, tmp_path / "out", pool="token_average", image_size=24, **EXACT)
    schema = pq.read_schema(tmp_path / "out" / "part-00000.parquet")
    assert schema.names == ["path", "vector"]
    assert schema.types == [pa.string(), pa.list_(pa.float32(), 256)]
    about = json.loads((tmp_path / "out" / "embeddings.json").read_text())
    assert json.loads(schema.metadata[b"vitral"]) == about
    assert about["weights"] == str(headless)
    assert (about["pool"], about["dim"], about["precision"]) == ("token_average", 256, "fp32")
    assert about["preprocessing"]["size"] == about["image_size"] == [24, 24]
    embedder = Embedder.load(headless, pool="token_average", image_size=24, device="cpu", precision="fp32")
    first, vector = next(iter(rows(tmp_path / "out").items()))
    np.testing.assert_allclose(vector, embedder.embed(first), atol=1e-5)


def test_a_second_call_computes_only_what_is_new(headless: Path, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    embed(headless, album / "green", out, **EXACT)
    again = embed(headless, album / "green", out, **EXACT)
    assert (again["new"], again["images"], again["parts"]) == (0, 24, 1)
    before = rows(out)
    (album / "green" / "05.png").unlink()  # its row stays
    shutil.copy(album / "red" / "00.png", album / "green" / "05b.png")
    more = embed(headless, album, out, **EXACT)
    assert (more["new"], more["images"], more["parts"]) == (49, 73, 2)
    after = rows(out)
    assert set(after) == set(before) | set(paths(album))
    assert all(np.array_equal(after[path], vector) for path, vector in before.items())
    np.testing.assert_allclose(
        after[str(album / "green" / "05b.png")], after[str(album / "red" / "00.png")], atol=1e-5
    )


def test_a_file_named_twice_has_one_row_and_paths_stay_as_given(
    headless: Path, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(album)
    words = ["red/03.png", "./red/03.png", "green", "red/0[23].png", "green/", str(album / "red" / "03.png")]
    done = embed(headless, words, tmp_path / "out", **EXACT)
    expected = ["red/03.png", *(f"green/{number:02d}.png" for number in range(24)), "red/02.png"]
    found = [Path(path).as_posix() for path in rows(tmp_path / "out")]
    assert found == [*expected, (album / "red" / "03.png").as_posix()]
    assert done["new"] == 27


def test_bad_files_are_listed_and_tried_again(headless: Path, album: Path, tmp_path: Path) -> None:
    out, cut = tmp_path / "out", album / "green" / "07.png"
    whole = cut.read_bytes()
    cut.write_bytes(whole[:200])
    words = [album, "nowhere.png", album / "*.gif", tmp_path / "empty"]
    (tmp_path / "empty").mkdir()
    done = embed(headless, words, out, **EXACT)
    assert (done["new"], done["bad"]) == (71, 4)
    errors = bad(out)
    assert set(errors) == {str(cut), "nowhere.png", str(album / "*.gif"), str(tmp_path / "empty")}
    assert "truncated" in errors[str(cut)]
    assert "no such file" in errors["nowhere.png"]
    cut.write_bytes(whole)
    done = embed(headless, album, out, **EXACT)
    assert (done["new"], done["bad"], done["images"]) == (1, 0, 72)
    assert bad(out) == {}
    assert set(rows(out)) == set(paths(album))


@pytest.mark.skipif(sys.platform != "linux", reason="only there may names be no text")
def test_a_name_that_is_no_utf8_is_a_bad_file(headless: Path, album: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    shutil.copy(album / "red" / "00.png", album / "red" / odd)
    done = embed(headless, album / "red", tmp_path / "out", **EXACT)
    assert (done["new"], done["bad"]) == (24, 1)
    assert bad(tmp_path / "out") == {str(album / "red" / odd): "the file's name is not UTF-8: rename it"}


def test_other_vectors_are_kept_apart(headless: Path, run: Run, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    embed(headless, album / "red", out, **EXACT)
    before = rows(out)
    for weights, options, why in (
        (run.path, {}, rf"made with other weights \({headless}\)"),
        (headless, {"precision": "bf16"}, "with precision fp32, not bf16"),
        (headless, {"pool": "average"}, "with pool token, not average"),
        (headless, {"image_size": 32}, r"with size \[16, 16\], not \[32, 32\]"),
        (headless, {"crop_share": 0.5}, r"with crop_share 1.0, not 0.5"),
        (headless, {"heads": 2}, r"with heads 4, not 2"),
    ):
        with pytest.raises(UsageError, match=why) as caught:
            embed(weights, album, out, **(EXACT | options))
        assert "--overwrite" in str(caught.value)
    assert rows(out).keys() == before.keys()
    # The same weights elsewhere are the same.
    shutil.copytree(headless, tmp_path / "moved")
    assert embed(tmp_path / "moved", album / "red", out, **EXACT)["new"] == 0
    # Starting anew leaves alone what is not vitral's.
    (out / "notes.txt").write_text("mine")
    embed(run.path, album / "green", out, overwrite=True, **EXACT)
    assert set(rows(out)) == set(map(str, sorted((album / "green").iterdir())))
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_going_on_is_in_the_precision_that_was_begun_with(
    headless: Path, album: Path, tmp_path: Path, precision: str
) -> None:
    embed(headless, album / "red", tmp_path / "out", **(EXACT | {"precision": precision}))
    done = embed(headless, album, tmp_path / "out", device="cpu", progress=False)
    assert (done["precision"], done["new"]) == (precision, 48)


def test_a_part_that_is_damaged_or_not_ours_is_named(
    headless: Path, run: Run, album: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    embed(headless, album / "red", out, **EXACT)
    embed(headless, album / "green", out, **EXACT)
    embed(run.path, album / "blue", other, **EXACT)
    first, second = sorted(out.glob("*.parquet"))
    whole = second.read_bytes()

    def refused(what: str, overwrite: bool = False) -> None:
        with pytest.raises(VitralError, match=what) as caught:
            embed(headless, album, out, overwrite=overwrite, **EXACT)
        assert "\n" not in str(caught.value)

    for damaged in (whole[:-300], whole[: len(whole) // 2], b"", whole[:4] + bytes(60) + whole[64:]):
        second.write_bytes(damaged)
        refused(r"part-00001\.parquet is damaged \(.*\): delete it")
    shutil.copy(first, second)
    refused(r"part-00001\.parquet repeats .*00\.png of an earlier part: delete it")
    shutil.copy(other / "part-00000.parquet", second)
    refused(r"part-00001\.parquet was made with other weights")
    pq.write_table(pa.table({"path": ["a.png"], "vector": [[1.0]]}), second)
    refused(r"part-00001\.parquet is no part of vitral's: move it")
    second.unlink()
    # A part that was deleted is computed again, and its number with it.
    assert embed(headless, album, out, **EXACT)["new"] == 48
    assert set(rows(out)) == set(paths(album))

    pq.write_table(pa.table({"a": [1]}), out / "mine.parquet")
    refused(r"mine\.parquet is no part of vitral's: move it")
    refused(r"mine\.parquet is no part of vitral's: move it", overwrite=True)
    assert len(list(out.glob("part-*"))) == 2
    (out / "mine.parquet").unlink()
    (out / "embeddings.json").write_text('{"format": "somebody else\'s"}')
    refused("embeddings.json is not vitral's")
    # Without it the parts themselves say how they were made.
    (out / "embeddings.json").unlink()
    with pytest.raises(VitralError, match="was made with other weights"):
        embed(run.path, album, out, **EXACT)
    assert embed(headless, album, out, **EXACT)["new"] == 0
    assert (out / "embeddings.json").exists()


def test_somebody_elses_parts_are_not_removed(headless: Path, album: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "out" / "part-00000.parquet")
    with pytest.raises(VitralError, match="no part of vitral's"):
        embed(headless, album, tmp_path / "out", overwrite=True, **EXACT)
    assert pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pydict() == {"a": [1]}


def test_one_process_at_a_time(headless: Path, album: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "out" / ".lock"), pytest.raises(VitralError, match="another process writes to"):
        embed(headless, album, tmp_path / "out", **EXACT)
    assert embed(headless, album, tmp_path / "out", **EXACT)["new"] == 72


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_is_done_when_it_is_stopped_is_kept(
    headless: Path, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    out, vectors, calls = tmp_path / "out", Embedder.vectors, []

    def stopped(self: Embedder, pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        if len(calls) == 3:
            raise stop
        return vectors(self, pixels)

    monkeypatch.setattr(parts, "ROWS", 20)
    monkeypatch.setattr(Embedder, "vectors", stopped)
    with pytest.raises(type(stop)) as caught:
        embed(headless, album, out, **EXACT)
    monkeypatch.setattr(Embedder, "vectors", vectors)
    if isinstance(stop, KeyboardInterrupt):
        assert "the same command goes on" in caught.value.__notes__[0]
    assert list(rows(out)) == paths(album)[:64]
    assert sorted(file.name for file in out.iterdir()) == [
        ".lock",
        "embeddings.json",
        *(f"part-{number:05d}.parquet" for number in range(4)),
    ]
    assert embed(headless, album, out, **EXACT)["new"] == 8
    assert list(rows(out)) == paths(album)


def test_a_part_is_written_at_least_every_so_often(
    headless: Path, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 5))  # five seconds go by with every row
    monkeypatch.setattr(parts, "monotonic", lambda: next(clock))
    embed(headless, album, tmp_path / "out", **EXACT)
    lengths = [pq.read_metadata(part).num_rows for part in sorted((tmp_path / "out").glob("*.parquet"))]
    assert sum(lengths) == 72
    assert max(lengths) * 5 <= 60
    assert len(lengths) <= 8


# `vitral embed` whose parts are small, so that many of them are written while it runs.
SMALL_PARTS = (
    "import sys, vitral.workflow.parts as parts; parts.ROWS = 5; "
    "from vitral.cli.app import main; sys.exit(main(sys.argv[1:]))"
)


def kill_in_the_middle(words: list[str], out: Path, after: float) -> None:
    """Start `vitral embed`, and kill it when so many more parts are there, fractions being in between two."""
    before = len(list(out.glob("part-*")))
    command = [sys.executable, "-c", SMALL_PARTS, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        while process.poll() is None and len(list(out.glob("part-*"))) < before + int(after):
            time.sleep(0.001)
        time.sleep(after % 1 * 0.05)
        assert process.poll() is None, process.stderr and process.stderr.read()
        process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows kills in another way")
@pytest.mark.parametrize("kills", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_after_a_kill_no_row_is_missing_and_none_there_twice(
    headless: Path, album: Path, tmp_path: Path, kills: int, make_folder: Callable[..., Path]
) -> None:
    out, draw = tmp_path / "out", random.Random(kills)
    for number in range(20 if kills == 1 else 60):  # many files of few pictures
        shutil.copytree(album, tmp_path / "many" / str(number), copy_function=os.link)
    words = ["embed", str(headless), str(tmp_path / "many"), "--output", str(out), "--precision", "fp32"]
    words += ["--device", "cpu", "--pool", "average"]
    for count in range(kills):
        kill_in_the_middle(words, out, draw.uniform(0.5, 20) if count else 7.5)
        done = rows(out)  # every part can be read, and no path stands twice
        assert len(done) < len(paths(tmp_path / "many"))
        if count == 1:
            shutil.copytree(album, tmp_path / "many" / "between", copy_function=os.link)
    assert len(rows(out)) >= 30
    (out / ".part-00099.parquet.abc_12.part").write_bytes(b"what a kill may leave")
    parts_before = {file.name: file.read_bytes() for file in out.glob("part-*")}
    last = embed(headless, tmp_path / "many", out, pool="average", **EXACT)
    assert last["new"] + sum(pq.read_metadata(out / name).num_rows for name in parts_before) == last["images"]
    found = rows(out)
    assert set(found) == set(paths(tmp_path / "many"))
    assert all((out / name).read_bytes() == content for name, content in parts_before.items())
    assert not list(out.glob(".*.part"))
    # Hard links of one picture have one vector.
    same = np.stack([vector for path, vector in found.items() if path.endswith("blue/03.png")])
    assert len(same) >= 20
    np.testing.assert_allclose(same, np.broadcast_to(same[0], same.shape), atol=1e-5)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_sigterm_keeps_the_rows_and_says_how_to_go_on(headless: Path, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in range(20):
        shutil.copytree(album, tmp_path / "many" / str(number), copy_function=os.link)
    words = ["embed", str(headless), str(tmp_path / "many"), "--output", str(out)]
    command = [sys.executable, "-c", SMALL_PARTS, *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while len(list(out.glob("part-*"))) < 3:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.splitlines()[-1] == (
        f"error: interrupted; what is done lies in {out}, and the same command goes on from there"
    )
    assert 15 <= len(rows(out)) < 1440


def link_many(pictures: list[str], folder: Path, count: int) -> Path:
    """A folder of so many hard links to a few pictures."""
    folder.mkdir()
    for number in range(count):
        os.link(pictures[number % len(pictures)], folder / f"{number:05d}.png")
    return folder


def test_python_holds_no_more_of_many_files_than_of_few(
    headless: Path, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROWS", 100)
    monkeypatch.setattr(wanted, "_RECENT", 100)
    monkeypatch.setattr(files, "AT_ONCE", 100)
    # pathlib keeps the names that it meets in a table of the interpreter's own, which grows by leaps.
    but_names = [tracemalloc.Filter(False, pathlib.__file__)]
    held: list[int] = []

    def weigh(self: Display, done: int, total: int, new: int, bad: int) -> None:
        if done == total:
            gc.collect()  # what waits to be collected is not held
            snapshot = tracemalloc.take_snapshot().filter_traces(but_names)
            held.append(sum(trace.size for trace in snapshot.traces))

    monkeypatch.setattr(Display, "passing", weigh)
    for count in (100, 600, 2_400):  # the first one imports and fills caches
        folder = link_many(paths(album), tmp_path / str(count), count)
        tracemalloc.start()
        try:
            embed(headless, folder, tmp_path / f"out-{count}", **EXACT)
        finally:
            tracemalloc.stop()
        assert len(rows(tmp_path / f"out-{count}")) == count
    # Of 1,800 more files 16 bytes each; a path takes 150 and a vector 512.
    assert held[2] - held[1] < 1_800 * 16 + 40_000, held


# `vitral embed` with small parts that says at its end how much memory it held at most.
PEAK = (
    "import sys, vitral.workflow.parts as parts; parts.ROWS = 500; "
    "from vitral.cli.app import main; main(sys.argv[1:]); "
    "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_number_of_files(headless: Path, album: Path, tmp_path: Path) -> None:
    peaks = []
    for count in (2_000, 10_000):
        folder = link_many(paths(album), tmp_path / str(count), count)
        words = ["embed", headless, folder, "--output", tmp_path / f"out-{count}", "--image-size", "48"]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *map(str, words)], capture_output=True, text=True, check=True
        )
        peaks.append(1024 * int(done.stdout.splitlines()[-1]))
        assert len(rows(tmp_path / f"out-{count}")) == count
    # The pixels of 8,000 more files are 55 MB; the names of a folder, which are held, 2 MB.
    assert peaks[1] - peaks[0] < 16e6, peaks


def test_neither_torch_nor_pyarrow_is_needed_to_find_images() -> None:
    code = "import sys, vitral.images, vitral.files, vitral.workflow; print({'torch', 'pyarrow'} & {*sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_starting_brings_nothing_that_trains_or_draws() -> None:
    code = "import sys, vitral.workflow.embedding, vitral.workflow.searching, vitral.workflow.prediction; "
    code += "print({'torchvision', 'matplotlib', 'torch._dynamo'} & {*sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
