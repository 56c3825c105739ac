"""Which images int8 is fitted to, and which it is checked on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vitral.data import LabelledImages, open_data
from vitral.errors import DataError, UsageError
from vitral.images import Preprocessing
from vitral.workflow import exporting

SEEN = Preprocessing((8, 8))


@pytest.fixture(scope="module")
def digits() -> LabelledImages:
    """Real digits, the number of each one's side written over its pixels: 1 train, 2 validation, 3 test."""
    data = open_data("digits")
    sides = {"train": 1, "validation": 2, "test": 3}

    def reader(sample):
        return np.full((8, 8, 3), sides[sample.split], np.uint8)

    return replace(data, channels=3, reader=reader, keep=False)


def found(data: LabelledImages, classes: tuple[str, ...] | None = None, tested: frozenset[str] = frozenset()):
    return exporting._calibration(data, SEEN, classes or data.class_names, set(tested))


def of(data: LabelledImages, *splits: str) -> LabelledImages:
    return replace(data, samples=tuple(sample for sample in data.samples if sample.split in splits))


def test_train_gives_the_ranges_and_validation_the_check(digits: LabelledImages) -> None:
    calibration = found(digits)
    assert calibration.split == "validation"
    assert calibration.pixels.shape == (300, 8, 8, 3)
    assert calibration.pixels.dtype == np.uint8
    assert set(np.unique(calibration.pixels)) == {1}
    assert set(np.unique(calibration.checked)) == {2}
    validation = [sample for sample in digits.samples if sample.split == "validation"]
    assert calibration.labels.tolist() == [sample.label for sample in validation]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_of_one_split_no_image_gives_both(digits: LabelledImages, split: str) -> None:
    data = of(digits, split, "test")
    names = iter(range(10_000))
    data = replace(data, reader=lambda sample: np.full((8, 8, 3), next(names) % 256, np.uint8))
    calibration = found(data)
    total = len(data.split(split))
    assert calibration.split == split
    assert len(calibration.pixels) == min(300, total // 2)
    assert len(calibration.pixels) + len(calibration.checked) == total


def test_the_check_is_bounded(digits: LabelledImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "MOST_CHECKED", 20)
    calibration = found(digits)
    assert len(calibration.checked) == 20
    assert len(set(calibration.labels.tolist())) > 5  # not the first ones, which are of one class


def test_test_images_choose_nothing(digits: LabelledImages) -> None:
    with pytest.raises(DataError, match="has 0 images of the network's classes outside test"):
        found(of(digits, "test"))
    tested = frozenset(sample.hash for sample in digits.samples if sample.split != "test")
    with pytest.raises(
        DataError, match="outside test"
    ):  # those that the run is measured on, wherever DATA has them
        found(digits, tested=tested)


def test_classes_are_matched_by_name(digits: LabelledImages) -> None:
    names = tuple(reversed(digits.class_names))
    backwards, forwards = found(digits, names), found(digits)
    np.testing.assert_array_equal(backwards.labels, 9 - forwards.labels)
    some = found(digits, ("7", "unknown", "3"))
    assert set(some.labels.tolist()) == {0, 2}
    with pytest.raises(DataError, match="has 0 images"):
        found(digits, ("cat", "dog"))


def test_what_does_not_go_together_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--calibrate is for --precision int8"):
        exporting.export(tmp_path, tmp_path / "x.xml", calibrate="digits")
    with pytest.raises(UsageError, match="--max-drop 101 is no number of points"):
        exporting.export(tmp_path, tmp_path / "x.xml", precision="int8", calibrate="digits", max_drop=101)
