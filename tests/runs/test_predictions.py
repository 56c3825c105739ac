"""Does predictions.csv give back what was written, whatever classes and files are called?"""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from vitral.errors import VitralError
from vitral.runs import Predictions, read_predictions, write_predictions

AWKWARD = (
    "path",
    "label",
    "a,b",
    'the "best"',
    "two\nlines",
    "old\rMac",
    "dos\r\n",
    "",
    " ",
    "maçã",
    "0.5",
    ";",
)


def predictions_of(class_names, paths):
    random = np.random.default_rng(0)
    labels = random.choice(len(class_names), len(paths))
    return Predictions(
        class_names=tuple(class_names),
        paths=tuple(paths),
        labels=tuple(class_names[index] for index in labels),
        splits=("test",) * len(paths),
        predicted=(class_names[0],) * len(paths),
        probabilities=random.dirichlet(np.ones(len(class_names)), len(paths)),
    )


def assert_same(read, written):
    assert (read.class_names, read.paths, read.labels) == (written.class_names, written.paths, written.labels)
    assert (read.splits, read.predicted) == (written.splits, written.predicted)
    assert read.probabilities.shape == written.probabilities.shape
    np.testing.assert_array_equal(
        read.probabilities.astype(written.probabilities.dtype), written.probabilities
    )


def test_awkward_names_survive(tmp_path):
    written = predictions_of(AWKWARD, AWKWARD)
    write_predictions(tmp_path / "predictions.csv", written)
    assert_same(read_predictions(tmp_path / "predictions.csv"), written)


def test_a_networks_answers_come_back_to_the_last_digit(tmp_path):
    logits = np.random.default_rng(1).normal(0, 12, (500, 4))
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    assert probabilities.min() < 1e-12
    images = tuple(map(str, range(500)))
    answers = Predictions(("a", "b", "c", "d"), images, images, ("test",) * 500, images, probabilities)
    write_predictions(tmp_path / "predictions.csv", answers)
    assert_same(read_predictions(tmp_path / "predictions.csv"), answers)


TEXT = some.text(some.characters(codec="utf-8"), max_size=8)


@given(names=some.lists(TEXT, min_size=1, max_size=6, unique=True), paths=some.lists(TEXT, max_size=5))
def test_any_names_survive(tmp_path_factory, names, paths):
    file = tmp_path_factory.mktemp("any") / "predictions.csv"
    written = predictions_of(names, paths)
    write_predictions(file, written)
    assert_same(read_predictions(file), written)


def test_a_file_name_that_is_not_utf8_survives(tmp_path):
    name = b"a\xe7\xe3o.jpg".decode("utf-8", "surrogateescape")  # as Python gives it on Linux
    written = predictions_of(["a", "b"], [name])
    write_predictions(tmp_path / "predictions.csv", written)
    assert_same(read_predictions(tmp_path / "predictions.csv"), written)


def test_other_programs_read_the_columns_of_the_contract(tmp_path):
    written = Predictions(
        class_names=("pizza", "steak"),
        paths=("test/pizza/1.jpg",),
        labels=("sushi",),  # a class that the model does not know
        splits=("test",),
        predicted=("pizza",),
        probabilities=np.array([[0.75, 0.25]], dtype=np.float32),
    )
    write_predictions(tmp_path / "predictions.csv", written)
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {
                "path": "test/pizza/1.jpg",
                "label": "sushi",
                "split": "test",
                "predicted": "pizza",
                "pizza": "0.75",
                "steak": "0.25",
            }
        ]


def test_a_file_saved_again_by_a_spreadsheet_is_read(tmp_path):
    file = tmp_path / "predictions.csv"
    file.write_text("path,label,split,predicted,a\nx.jpg,a,test,a,1\n", "utf-8-sig")
    assert read_predictions(file).paths == ("x.jpg",)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", 1),
        ("image,label,split,predicted,a\n", 1),
        ("path,label,split,predicted,a\nx,a,test,a,0.5\ny,a,test,a\n", 3),
        ("path,label,split,predicted,a\nx,a,test,a,half\n", 2),
        ('path,label,split,predicted,a\nx,a,test,a,0.5\n"y,a,test,a,0.5\n', 3),
    ],
)
def test_damage_is_said_with_its_line(tmp_path, content, line):
    file = tmp_path / "predictions.csv"
    file.write_text(content, "utf-8")
    with pytest.raises(VitralError, match=rf"predictions\.csv is damaged in line {line} "):
        read_predictions(file)


def test_an_absent_file_is_an_error_with_its_name(tmp_path):
    with pytest.raises(VitralError, match=r"predictions\.csv does not exist"):
        read_predictions(tmp_path / "predictions.csv")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "predictions.csv"
    write_predictions(file, predictions_of(["a", "b"], ["one.jpg"]))
    before = file.read_bytes()
    lone_surrogate = "\ud800.jpg"  # no file has this name; nothing can write it
    with pytest.raises(UnicodeEncodeError):
        write_predictions(file, predictions_of(["a", "b"], ["two.jpg", lone_surrogate]))
    assert file.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["predictions.csv"]


def test_columns_of_different_length_are_no_predictions():
    with pytest.raises(ValueError, match="belong together"):
        Predictions(("a",), ("x.jpg",), ("a",), ("test",), ("a",), np.ones((2, 1)))
