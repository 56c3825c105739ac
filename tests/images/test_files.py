"""Which files of a folder does a user expect to be taken for images?"""

import os
import random
from pathlib import Path

import pytest

from vitral.errors import DataError, ImageError
from vitral.images import files, find_images, read_image, walk_images


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder)]


def test_images_are_found_below_in_any_case_and_sorted(tmp_path):
    make(
        tmp_path,
        "b.PNG",
        "a/z.jpg",
        "a/deep/er/x.JPeG",
        "c.webp",
        "a-b/y.tiff",
        "a.bmp",
        "ação.heic",
        "g.avif",
    )
    make(tmp_path, "notes.txt", "labels.csv", "jpg", "model.pth", "Thumbs.db")
    make(tmp_path, ".hidden.jpg", ".git/x.jpg", "a/.thumbnails/y.png", "a/._z.jpg")
    found = find_images(tmp_path)
    assert found == sorted(found)
    assert sorted(names(tmp_path)) == sorted(
        ["b.PNG", "a/z.jpg", "a/deep/er/x.JPeG", "c.webp", "a-b/y.tiff", "a.bmp", "ação.heic", "g.avif"]
    )
    assert find_images(str(tmp_path)) == found


def test_a_hidden_folder_may_itself_be_asked_for(tmp_path):
    make(tmp_path, ".data/x.jpg")
    assert names(tmp_path / ".data") == ["x.jpg"]


def test_linked_folders_are_entered_and_loops_end(tmp_path):
    make(tmp_path, "store/1.jpg", "data/cats/2.jpg")
    _link(tmp_path / "data" / "dogs", tmp_path / "store")
    _link(tmp_path / "data" / "cats" / "up", tmp_path / "data")
    _link(tmp_path / "data" / "self", tmp_path / "data" / "self")
    assert names(tmp_path / "data") == ["cats/2.jpg", "dogs/1.jpg"]


def test_a_link_that_leads_nowhere_is_listed_and_then_unreadable(tmp_path):
    _link(tmp_path / "gone.jpg", tmp_path / "absent.jpg")
    (found,) = find_images(tmp_path)
    with pytest.raises(ImageError, match="no such file"):
        read_image(found)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert find_images(tmp_path) == []


def test_missing_folders_and_files_say_so(tmp_path):
    make(tmp_path, "x.jpg")
    with pytest.raises(DataError, match="there is no folder"):
        find_images(tmp_path / "absent")
    with pytest.raises(DataError, match="is a file"):
        find_images(tmp_path / "x.jpg")


def _link(link: Path, target: Path) -> None:
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("this system lets users make no links")


@pytest.mark.parametrize("at_once", [1, 2, 7, 100])
def test_a_folder_of_more_names_than_are_held_comes_sorted_and_whole(tmp_path, monkeypatch, at_once):
    make(tmp_path, *(f"{number * 7 % 23:02d}.jpg" for number in range(23)), "10/a.jpg", "10/b.jpg", "05.txt")
    monkeypatch.setattr(files, "AT_ONCE", at_once)
    assert find_images(tmp_path) == sorted(tmp_path.rglob("*.jpg"))
    assert [path.name for path in walk_images(tmp_path / "10")] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_in_order_sorts_and_drops_what_comes_twice(at_once):
    found = random.Random(0).choices("abcdefghijklmnop", k=40)
    assert list(files.in_order(lambda: iter(found), at_once)) == sorted(set(found))
    assert list(files.in_order(lambda: iter([]), at_once)) == []


def test_a_walk_goes_on_past_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    make(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    scandir = os.scandir

    def refuse(folder):  # as the system does, but root is refused nothing
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    told = []
    assert [path.name for path in walk_images(tmp_path, told.append)] == ["1.jpg", "3.jpg"]
    (error,) = told
    assert "b cannot be read (Permission denied)" in str(error)
    with pytest.raises(DataError, match="check its permissions"):
        find_images(tmp_path)


def test_arrays_are_images_where_no_photograph_lies_beside_them(tmp_path):
    make(
        tmp_path, "a/1.npy", "a/2.NPY", "b/1.npy", "b/2.tif", "b/3.TIFF", "c/1.npy", "c/1.png", "c/deep/1.npy"
    )
    assert names(tmp_path) == [
        "a/1.npy",
        "a/2.NPY",
        "b/1.npy",
        "b/2.tif",
        "b/3.TIFF",
        "c/1.png",
        "c/deep/1.npy",
    ]
