"""Which files of a folder does a user expect to be taken for images?"""

import os
from pathlib import Path

import pytest

from vitral.errors import DataError, ImageError
from vitral.images import find_images, read_image


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
