"""Several labels an image: how a csv says them, and what becomes of them in splits, counts and batches."""

import csv
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

from vitral.data import check_trainable, open_data, read_splits, write_splits
from vitral.data.augment import Augmentation
from vitral.data.loader import TrainingBatches, evaluation_batches
from vitral.errors import DataError
from vitral.images import Preprocessing
from vitral.language import said_in

# What is written, and what it means.
ROWS = {
    "0": ("red|round", {"red", "round"}),
    "1": (" round | red ", {"red", "round"}),
    "2": ("blue", {"blue"}),
    "3": ("", set()),
    "4": ("round|round|blue|", {"round", "blue"}),
    "5": ("açaí|red", {"açaí", "red"}),
}


@pytest.fixture
def images(write) -> None:
    for number in range(6):
        write(f"images/{number}.png", number)


def table(tmp_path: Path, rows: dict[str, str], heading: str = "path,label") -> Path:
    file = tmp_path / "table.csv"
    file.write_text("\n".join([heading, *(f"images/{name}.png,{rest}" for name, rest in rows.items())]))
    return file


def names(data) -> dict[str, set[str]]:
    return {sample.path[7]: {data.class_names[label] for label in sample.labels} for sample in data.samples}


def test_labels_are_parted_stripped_and_joined_whatever_their_order(tmp_path, images) -> None:
    written = {name: text for name, (text, _) in ROWS.items()}
    written["5"] = unicodedata.normalize("NFD", written["5"])
    data = open_data(table(tmp_path, written))
    assert data.multi_label
    assert data.class_names == ("açaí", "blue", "red", "round")
    assert names(data) == {name: meant for name, (_, meant) in ROWS.items()}


def test_a_csv_without_the_sign_has_one_label_an_image(tmp_path, images) -> None:
    data = open_data(table(tmp_path, {"0": "red", "1": "blue"}))
    assert not data.multi_label
    assert {sample.label for sample in data.samples} == {0, 1}
    assert data.targets(data.samples).dtype == np.int64


def test_counts_targets_and_texts_have_every_label(tmp_path, images) -> None:
    rows = {name: f"{text},{'train' if int(name) < 4 else 'test'}" for name, (text, _) in ROWS.items()}
    data = open_data(table(tmp_path, rows, "path,label,split"))
    assert data.counts() == {
        "train": {"açaí": 0, "blue": 1, "red": 2, "round": 2},
        "test": {"açaí": 1, "blue": 1, "red": 1, "round": 1},
    }
    targets = data.targets(data.samples)
    assert targets.dtype == np.float32
    assert targets.tolist() == [
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
        [0, 1, 0, 1],
        [1, 0, 1, 0],
    ]
    assert [data.label_text(sample) for sample in data.samples][2:5] == ["blue", "", "blue|round"]
    with pytest.raises(DataError, match="no training image for class 'açaí'"):
        check_trainable(data)


def test_splits_are_kept_and_found_again_and_a_changed_label_is_noticed(tmp_path, images) -> None:
    written = {name: text for name, (text, _) in ROWS.items()}
    file = table(tmp_path, written)
    data = open_data(file)
    write_splits(tmp_path / "splits.csv", data.samples, data.class_names)
    with (tmp_path / "splits.csv").open(newline="") as lines:
        assert {row["path"]: row["label"] for row in csv.DictReader(lines)}["images/4.png"] == "blue|round"
    again = open_data(file, splits=tmp_path / "splits.csv")
    assert (again.samples, again.digest) == (data.samples, data.digest)
    assert {row.path: row.split for row in read_splits(tmp_path / "splits.csv")} == {
        sample.path: sample.split for sample in data.samples
    }
    assert open_data(table(tmp_path, written | {"0": "round|red"})).digest == data.digest
    changed = table(tmp_path, written | {"0": "red"})
    assert open_data(changed).digest != data.digest
    with pytest.raises(DataError, match=r"1 of the run's images are changed since: images/0\.png"):
        open_data(changed, splits=tmp_path / "splits.csv")


def test_batches_have_a_row_of_targets_an_image(tmp_path, images) -> None:
    rows = {name: f"{text},train" for name, (text, _) in ROWS.items()}
    data = open_data(table(tmp_path, rows, "path,label,split"))
    seen = Preprocessing(size=(8, 8))
    batches = list(evaluation_batches(data, data.samples, seen, 4))
    assert [batch.labels.shape for batch in batches] == [(4, 4), (2, 4)]
    assert torch.equal(
        torch.cat([batch.labels for batch in batches]), torch.tensor(data.targets(data.samples))
    )
    shuffled = list(TrainingBatches(data, seen, Augmentation(), 4, epochs=1, seed=0).stream())
    assert torch.cat([batch.labels for batch in shuffled]).sum(dim=0).tolist() == [1, 2, 3, 3]
    part = list(TrainingBatches(data, seen, Augmentation(), 4, 1, 0, shard=(3, 4)).stream())
    assert [batch.labels.shape for batch in part] == [(1, 4), (0, 4)]


def test_an_image_listed_twice_with_the_same_labels_counts_once(tmp_path, images) -> None:
    file = table(tmp_path, {"0": "a|b", "1": "b"})
    file.write_text(file.read_text() + "\nimages/0.png,b|a")
    data = open_data(file)
    assert len(data.samples) == 2
    assert len(data.left_out) == 1
    file.write_text(file.read_text() + "\nimages/0.png,c")
    with pytest.raises(DataError, match=r"as a\|b and in line 5 as c: .*one line as a\|b"):
        open_data(file)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"0": "a|b", "lost": "c"}, "no usable image in class 'c'"),
        ({"0": "a|", "1": "a", "2": ""}, "one class only, 'a'"),
        ({"0": "|", "1": ""}, "no image has a label"),
        ({"0": "a", "1": "b", "2": ""}, r"line 4: the label is empty.*labels such as a\|b"),
    ],
)
def test_tables_without_classes_to_tell_apart_are_refused(tmp_path, images, rows, message) -> None:
    with pytest.raises(DataError, match=message):
        open_data(table(tmp_path, rows))


def test_a_class_that_every_training_image_has_is_said(tmp_path, images) -> None:
    rows = {"0": "a|b,train", "1": "a,train", "2": "b,test", "3": "a,test"}
    notes = open_data(table(tmp_path, rows, "path,label,split")).notes
    assert any("every training image is of class 'a'" in note for note in notes)
    assert any("toda imagem de treino é de classe 'a'" in said_in("pt", note) for note in notes)
    rows["1"] = "b,train"
    notes = open_data(table(tmp_path, rows, "path,label,split")).notes
    assert not any("every training" in note for note in notes if "'a'" in note)


def test_a_class_without_an_image_in_a_split_is_said(tmp_path, images) -> None:
    rows = {"0": "a|b,train", "1": "c,train", "2": "b|a,test", "3": ",test"}
    notes = open_data(table(tmp_path, rows, "path,label,split")).notes
    assert "no test image of class 'c'" in notes


def test_folds_share_every_class_and_the_images_of_none(tmp_path, write) -> None:
    random = np.random.default_rng(0)
    rows = {}
    for number in range(60):
        write(f"images/{number}.png", number, (36, 32))
        labels = [name for name, share in (("a", 0.6), ("b", 0.3), ("c", 0.2)) if random.random() < share]
        rows[str(number)] = "|".join(labels)
    rows["0"] = "a|b|c"  # a combination that may be the only one of its kind
    data = open_data(table(tmp_path, rows), folds=5)
    targets = data.targets(data.samples)
    folds = np.array([sample.fold for sample in data.samples])
    assert np.bincount(folds)[1:].tolist() == pytest.approx([12] * 5, abs=2)
    for column in targets.T:
        counts = [column[folds == number].sum() for number in range(1, 6)]
        assert max(counts) - min(counts) <= 2
    none = [(~targets[folds == number].any(axis=1)).sum() for number in range(1, 6)]
    assert max(none) - min(none) <= 2
    assert max(none) > 0
