"""Are any number of paths found and remembered in little memory?"""

import random
import tracemalloc
from pathlib import Path

import pytest

from vitral.workflow import wanted
from vitral.workflow.wanted import PathSet, each_wanted, expand


def test_a_set_of_paths_answers_as_a_set_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted, "_RECENT", 50)  # so that several thousand are settled many times
    draw = random.Random(0)
    paths, known = PathSet(), set()
    for _ in range(5000):
        path = f"folder/{draw.randrange(3000)}.jpg"
        assert paths.add(path) == (path not in known)
        known.add(path)
        assert len(paths) == len(known)
    assert paths.add("name that is no UTF-8 \udcff.jpg")
    assert not paths.add("name that is no UTF-8 \udcff.jpg")


def test_a_path_takes_sixteen_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted, "_RECENT", 10_000)
    tracemalloc.start()
    paths = PathSet()
    try:
        for number in range(20_000):
            paths.add(f"a folder with a long name/and another one in it/photograph {number:09d}.jpg")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(paths) == 20_000
    assert held < 20_000 * 17


def test_images_are_found_one_after_the_other(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.jpg"):
        (tmp_path / name).touch()
    found = each_wanted([str(tmp_path), str(tmp_path / "?.png")])
    assert next(found).path == str(tmp_path / "a.png")
    assert [Path(one.path).name for one in found] == ["b.png", "c.jpg", "a.png", "b.png"]
    assert expand([str(tmp_path / "*.png")]) == list(each_wanted([str(tmp_path / "*.png")]))
