"""The look at every file when DATA is opened: kept, renewed when a file changes, never trusted blindly."""

import hashlib
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import vitral.data.scan
from vitral.data import open_data
from vitral.files import cache_folder


@pytest.fixture
def looked_at(monkeypatch) -> list[str]:
    """The names of the files that are really decoded."""
    names: list[str] = []
    look = vitral.data.scan._look

    def noted(file):
        names.append(file.name)
        return look(file)

    monkeypatch.setattr(vitral.data.scan, "_look", noted)
    return names


@pytest.fixture
def folder(tmp_path, write, monkeypatch):
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "cache"))
    for number in range(12):
        write(f"data/{'ab'[number % 2]}/{number}.png", number, (48, 40) if number % 3 else (20, 16))
    return tmp_path / "data"


def test_a_second_opening_decodes_only_what_changed(folder, write, looked_at):
    first = open_data(folder)
    assert len(looked_at) == 12
    looked_at.clear()
    assert open_data(folder).samples == first.samples
    assert looked_at == []
    write("data/a/0.png", 50)
    write("data/a/new.png", 51)
    (folder / "b/1.png").unlink()
    changed = open_data(folder)
    assert sorted(looked_at) == ["0.png", "new.png"]
    assert len(changed.samples) == 12
    hashes = {sample.path: sample.hash for sample in changed.samples}
    assert hashes["a/0.png"] == hashlib.sha256((folder / "a/0.png").read_bytes()).hexdigest()


def test_what_is_kept_finds_the_same_near_duplicates(folder, picture):
    picture(5).save(folder / "b/5-again.jpg", quality=80)
    first = open_data(folder)
    again = open_data(folder)
    assert (again.samples, again.notes, again.sizes) == (first.samples, first.notes, first.sizes)
    assert any("near-duplicates" in note for note in again.notes)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "other version"])
def test_a_damaged_cache_is_rebuilt(folder, looked_at, damage, monkeypatch):
    first = open_data(folder)
    (cache,) = cache_folder("scans").glob("*.npz")
    content = cache.read_bytes()
    if damage == "other version":
        monkeypatch.setattr(vitral.data.scan, "CACHE_VERSION", "another")
    else:
        cache.write_bytes(
            {"truncated": content[: len(content) // 2], "text": b"nonsense", "empty": b""}[damage]
        )
    looked_at.clear()
    assert open_data(folder).samples == first.samples
    assert len(looked_at) == 12
    looked_at.clear()
    open_data(folder)
    assert looked_at == []


def test_a_cache_that_cannot_be_written_costs_only_time(folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "file"))
    assert len(open_data(folder).samples) == 12


def test_kept_scans_stay_below_their_limit(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(vitral.data.scan, "CACHE_LIMIT", 1)
    open_data(folder)
    shutil.copytree(folder, tmp_path / "second")
    open_data(tmp_path / "second")
    assert len(list(cache_folder("scans").glob("*.npz"))) == 1


def test_progress_counts_every_file_once_and_ends_at_the_total(folder):
    calls: list[tuple[int, int]] = []
    for _ in range(2):  # the second time everything is known already
        calls.clear()
        open_data(folder, progress=lambda done, total: calls.append((done, total)))
        assert calls[-1] == (12, 12)
        assert calls == sorted(set(calls))


def test_a_link_that_leads_nowhere_is_a_bad_file(folder):
    try:
        (folder / "a/link.png").symlink_to(folder / "gone.png")
    except OSError:
        pytest.skip("this system makes no links")
    assert [(bad.path, "no such file" in bad.reason) for bad in open_data(folder).bad_files] == [
        ("a/link.png", True)
    ]


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="needs file modes")
def test_an_unreadable_file_is_listed(folder, write, monkeypatch):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (folder / "a/0.png").chmod(0)
    data = open_data(folder)
    assert [bad.path for bad in data.bad_files] == ["a/0.png"]


@pytest.mark.skipif(os.name == "nt", reason="such names exist on Unix only")
def test_a_name_that_is_no_text_is_a_bad_file(folder, write):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        shutil.copy(folder / "a/2.png", folder / "a" / name)
    except OSError:
        pytest.skip("this file system refuses such names")
    data = open_data(folder)
    assert [bad.path for bad in data.bad_files] == ["a/caf\\udce9.png"]


def test_sizes_and_pixels_are_those_of_the_upright_image(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 90, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, seen upright
    Image.fromarray(pixels).save(folder / "a/turned.png", exif=exif)
    data = open_data(folder)
    assert data.sizes.largest == (90, 30)
    assert data.sizes.smallest == (16, 20)
    assert data.sizes.median == (40, 48)
    turned = next(sample for sample in data.samples if sample.path == "a/turned.png")
    np.testing.assert_array_equal(data.read(turned), np.rot90(pixels, -1))
    assert data.read(turned) is data.read(turned)  # kept: the whole set fits in memory
