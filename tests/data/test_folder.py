"""Folders of class folders: which image is of which class and split, and what cannot be used."""

import unicodedata
from pathlib import Path

import pytest

from vitral.data import check_trainable, open_data
from vitral.errors import DataError, UsageError


def labels(data) -> dict[str, tuple[str, str]]:
    return {sample.path: (data.class_names[sample.label], sample.split) for sample in data.samples}


def test_class_folders_at_any_depth_hidden_and_other_files_ignored(tmp_path, write):
    write("cats/1.png", 1)
    write("cats/kittens/2.JPG", 2)
    write("dogs/3.webp", 3)
    write("dogs/.hidden.png", 4)
    write(".thumbnails/5.png", 5)
    (tmp_path / "dogs/notes.txt").write_text("no image")
    data = open_data(tmp_path)
    assert data.class_names == ("cats", "dogs")
    assert {path: label for path, (label, _) in labels(data).items()} == {
        "cats/1.png": "cats",
        "cats/kittens/2.JPG": "cats",
        "dogs/3.webp": "dogs",
    }
    assert data.bad_files == ()
    assert data.name == tmp_path.name


@pytest.mark.parametrize(
    "names",
    [
        {"train": "train", "test": "test"},
        {"train": "Treino", "test": "TESTE"},
        {"train": "train", "validation": "val"},
        {"train": "TRAIN", "validation": "valid", "test": "Test"},
        {"train": "treino", "validation": "validacao", "test": "teste"},
        {"train": "treino", "validation": unicodedata.normalize("NFC", "Validação")},
        {"train": "treino", "validation": unicodedata.normalize("NFD", "validação"), "test": "teste"},
        {"validation": "validation", "test": "test"},
    ],
)
def test_split_folders_in_either_language_and_any_case(tmp_path, write, names):
    number = 0
    for folder in names.values():
        for label in ("a", "b"):
            number += 1
            write(f"{folder}/{label}/{number}.png", number)
    data = open_data(tmp_path)
    assert data.counts() == {split: {"a": 1, "b": 1} for split in names}
    assert data.splits_given


def test_accented_class_names_compare_in_nfc_across_splits(tmp_path, write):
    write(f"train/{unicodedata.normalize('NFD', 'maçã')}/1.png", 1)
    write("train/pera/2.png", 2)
    write(f"test/{unicodedata.normalize('NFC', 'maçã')}/3.png", 3)
    data = open_data(tmp_path)
    assert data.class_names == (unicodedata.normalize("NFC", "maçã"), "pera")
    assert data.counts()["test"] == {"maçã": 1, "pera": 0}


def test_two_class_folders_of_one_name_are_named_apart(tmp_path, write):
    write(f"{unicodedata.normalize('NFD', 'maçã')}/1.png", 1)
    if (tmp_path / unicodedata.normalize("NFC", "maçã")).exists():
        pytest.skip("this file system holds both spellings for one")
    write(f"{unicodedata.normalize('NFC', 'maçã')}/2.png", 2)
    write("pera/3.png", 3)
    with pytest.raises(DataError, match=r"'ma\\xe7\\xe3'") as caught:
        open_data(tmp_path)
    assert r"'mac\u0327a\u0303'" in str(caught.value)


def test_a_class_called_train_is_a_class(tmp_path, write):
    for number, label in enumerate(("bus", "car", "train")):
        write(f"{label}/{number}.png", number)
    assert open_data(tmp_path).class_names == ("bus", "car", "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["1.png", "2.png"], "no class folders"),
        (["train/a/1.png", "train/b/2.png"], "train folder only"),
        (["train/a/1.png", "train/b/2.png", "test/3.png"], "test has no class folders"),
        (
            ["train/a/1.png", "train/b/2.png", "val/a/3.png", "validation/a/4.png"],
            "val and validation both mean",
        ),
        (["train/a/1.png", "train/b/2.png", "test/a/3.png", "extra/4.png"], "images in extra"),
        (["cats/1.png", "cats/2.png"], "one class only, 'cats'"),
        (["a|b/1.png", "c/2.png"], r"'a\|b' .* reserved for multi-label"),
    ],
)
def test_folders_that_cannot_be_used_say_why(tmp_path, write, files, message):
    for number, file in enumerate(files):
        write(file, number)
    with pytest.raises(DataError, match=message):
        open_data(tmp_path)


def test_images_outside_class_folders_are_counted_aloud(tmp_path, write):
    for number, file in enumerate(["a/1.png", "b/2.png", "3.png"]):
        write(file, number)
    data = open_data(tmp_path)
    assert len(data.samples) == 2
    assert "1 image in no class folder: not used" in data.notes


def test_a_class_folder_without_images_is_named(tmp_path, write):
    write("a/1.png", 1)
    write("b/2.png", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no usable image in class 'empty'"):
        open_data(tmp_path)


def test_a_class_folder_with_bad_images_only_is_named(tmp_path, write):
    write("a/1.png", 1)
    write("b/2.png", 2)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/3.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"no usable image in class 'broken' .*broken/3\.png: the file is empty"
    ):
        open_data(tmp_path)


def bad_files(folder: Path) -> dict[str, bytes]:
    whole = (folder / "a/0.jpg").read_bytes()
    return {
        "a/empty.jpg": b"",
        "a/text.png": b"this is no image",
        "a/truncated.jpg": whole[: len(whole) // 2],
    }


def test_bad_files_are_listed_with_their_reason_and_the_rest_goes_on(tmp_path, write):
    for number in range(30):
        write(f"{'ab'[number % 2]}/{number}.jpg", number)
    expected = bad_files(tmp_path)
    for path, content in expected.items():
        (tmp_path / path).write_bytes(content)
    data = open_data(tmp_path)
    assert len(data.samples) == 30
    assert {bad.path for bad in data.bad_files} == set(expected)
    reasons = {bad.path: bad.reason for bad in data.bad_files}
    assert "empty" in reasons["a/empty.jpg"]
    assert "truncated" in reasons["a/truncated.jpg"]


def test_strict_stops_at_a_bad_file(tmp_path, write):
    for number in range(30):
        write(f"{'ab'[number % 2]}/{number}.png", number)
    (tmp_path / "b/empty.png").write_bytes(b"")
    assert len(open_data(tmp_path).bad_files) == 1
    with pytest.raises(DataError, match=r"b/empty\.png: the file is empty"):
        open_data(tmp_path, strict=True)


@pytest.mark.parametrize(("good", "stops"), [(18, False), (17, True)])
def test_more_than_a_tenth_of_bad_files_stops(tmp_path, write, good, stops):
    for number in range(good):
        write(f"{'ab'[number % 2]}/{number}.png", number)
    for number in range(2):  # 2 of 20 is a tenth, 2 of 19 is more
        (tmp_path / f"a/bad{number}.png").write_bytes(b"")
    if stops:
        with pytest.raises(DataError, match=r"2 of 19 files are bad.*a/bad0\.png"):
            open_data(tmp_path)
    else:
        assert len(open_data(tmp_path).bad_files) == 2


def test_training_needs_an_image_of_every_class(tmp_path, write):
    for number, file in enumerate(["train/a/1.png", "train/b/2.png", "test/a/3.png", "test/c/4.png"]):
        write(file, number)
    data = open_data(tmp_path)
    assert data.class_names == ("a", "b", "c")
    with pytest.raises(DataError, match="no training image for class 'c'"):
        check_trainable(data)


def test_training_needs_a_training_split(tmp_path, write):
    for number, file in enumerate(["val/a/1.png", "val/b/2.png", "test/a/3.png"]):
        write(file, number)
    with pytest.raises(DataError, match="no training images"):
        check_trainable(open_data(tmp_path))


def test_unknown_data_lists_what_data_may_be(tmp_path):
    for spec in ("", "nothing-of-this-name", str(tmp_path / "missing")):
        with pytest.raises(UsageError, match=r"folder of class folders.*digits.*torchvision:NAME"):
            open_data(spec)
    for spec in ("hf:owner/name", "shards-{000000..000099}.tar"):
        with pytest.raises(UsageError, match="not supported yet"):
            open_data(spec)
    (tmp_path / "notes.txt").write_text("path,label\n")
    with pytest.raises(UsageError, match=r"no \.csv"):
        open_data(tmp_path / "notes.txt")


def test_an_existing_folder_wins_over_a_name(tmp_path, write, monkeypatch):
    for number, file in enumerate(["digits/a/1.png", "digits/b/2.png"]):
        write(file, number)
    monkeypatch.chdir(tmp_path)
    data = open_data("digits")
    assert data.class_names == ("a", "b")
    assert data.channels == 3


def test_options_of_another_form_are_refused(tmp_path, write):
    write("a/1.png", 1)
    write("b/2.png", 2)
    with pytest.raises(UsageError, match="--columns"):
        open_data(tmp_path, columns={"path": "file"})
    with pytest.raises(UsageError, match="--data-root"):
        open_data(tmp_path, data_root=tmp_path)


@pytest.mark.parametrize(
    ("name", "train", "test"), [("food-vision-mini", 225, 75), ("food-vision-10", 2500, 500)]
)
def test_the_tutorials_own_splits_stay_as_they_are(shared, name, train, test):
    data = open_data(shared / "data" / name)
    assert {split: sum(counts.values()) for split, counts in data.counts().items()} == {
        "train": train,
        "test": test,
    }
    assert data.left_out == ()
    assert data.bad_files == ()
    assert data.sizes.smallest == data.sizes.largest == (64, 64)
