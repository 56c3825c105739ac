"""Folds that are honest: every image tested once, relatives on one side, classes alike, fixed beforehand."""

import csv
import os
import random
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from vitral.data import LabelledImages, count_folds, fold, open_data, read_splits, write_splits
from vitral.data.folds import draw_folds
from vitral.data.scan import Facts
from vitral.data.sources import Item
from vitral.data.splits import relate
from vitral.errors import DataError, UsageError


def numbers(data: LabelledImages) -> dict[str, int | None]:
    """The fold of each content."""
    return {sample.hash: sample.fold for sample in data.samples}


def spread(counts: list[int]) -> int:
    return max(counts) - min(counts)


def made_up(labels: list[str], groups: list[str]) -> tuple[list[Item], list[Facts]]:
    """As many images that all look different, without files."""
    items = [
        Item(f"{index}.png", label, None, group)
        for index, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]
    facts = [
        Facts(f"{index:064x}", f"{index:064x}", 8, 8, 3, None, 64, False, None) for index in range(len(items))
    ]
    return items, facts


@pytest.fixture
def photos(tmp_path: Path, write) -> Path:
    """Forty-seven pictures of three classes."""
    for number in range(47):
        write(f"photos/{'aaabbc'[number % 6]}/{number}.png", number)
    return tmp_path / "photos"


@pytest.mark.parametrize("count", [2, 5, 10])
def test_every_image_is_tested_once_and_never_learned_from_then(count: int) -> None:
    data = open_data("digits", folds=count)
    assert count_folds(data) == count
    tested: Counter[str] = Counter()
    for number in range(1, count + 1):
        one = fold(data, number)
        test = {sample.path for sample in one.split("test")}
        assert test == {sample.path for sample in data.samples if sample.fold == number}
        assert {sample.path for sample in one.split("train")} == {s.path for s in data.samples} - test
        assert not one.split("validation")
        assert one.splits_given
        assert [s.split for s in one.samples] == ["train"] * (1797 - len(test)) + ["test"] * len(test)
        np.testing.assert_array_equal(one.read(one.samples[0]), data.read(one.samples[0]))
        tested.update(test)
    assert len(tested) == 1797
    assert set(tested.values()) == {1}


@pytest.mark.parametrize("count", [2, 3, 5, 7, 10])
def test_without_relatives_folds_differ_by_at_most_one_image_in_each_class_and_in_all(count: int) -> None:
    data = open_data("digits", folds=count)
    sizes = Counter(sample.fold for sample in data.samples)
    assert spread(list(sizes.values())) <= 1
    for label in range(10):
        of_class = Counter(sample.fold for sample in data.samples if sample.label == label)
        assert spread([of_class[number] for number in range(1, count + 1)]) <= 1


def test_folds_belong_to_contents_not_to_names_order_or_splits(tmp_path: Path, photos: Path) -> None:
    plain = open_data(photos, folds=4)
    other = tmp_path / "other"
    files = sorted(photos.rglob("*.png"))
    random.Random(3).shuffle(files)
    for index, file in enumerate(files):
        split = ("Train", "teste", "val")[index % 3]
        target = other / split / file.parent.name / f"{index}.PNG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    moved = open_data(other, folds=4)
    assert len(moved.samples) == 47
    assert numbers(moved) == numbers(plain)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        rows.writerows([path, path.parent.name] for path in reversed(files))
    assert numbers(open_data(tmp_path / "table.csv", folds=4)) == numbers(plain)
    assert "splits (train and validation and test) are joined" in " ".join(moved.notes)
    assert "joined" not in " ".join(plain.notes)


def test_another_split_seed_draws_other_folds() -> None:
    first, other = (numbers(open_data("digits", folds=5, split_seed=seed)) for seed in (0, 1))
    same = sum(first[content] == other[content] for content in first)
    assert 0.15 < same / len(first) < 0.25  # one in five by chance


def test_what_given_splits_leave_out_as_leaked_takes_part(tmp_path: Path, write) -> None:
    for number in range(20):
        write(f"photos/train/{'ab'[number % 2]}/{number}.png", number)
        write(f"photos/test/{'ab'[number % 2]}/{number}.png", number if number < 8 else 100 + number)
    divided, joined = open_data(tmp_path / "photos"), open_data(tmp_path / "photos", folds=4)
    assert len(divided.samples) == 40 - 8
    assert len(joined.samples) == 40
    assert not joined.left_out
    by_content = defaultdict(set)
    for sample in joined.samples:
        by_content[sample.hash].add(sample.fold)
    assert all(len(folds) == 1 for folds in by_content.values())


def test_near_duplicates_and_groups_share_a_fold(tmp_path: Path, write, picture) -> None:
    for number in range(40):
        write(f"photos/{'ab'[number % 2]}/{number}.jpg", number, (96, 80), quality=90)
    for number in range(0, 40, 5):
        copy = tmp_path / "photos" / "ab"[number % 2] / f"small{number}.jpg"
        picture(number, (96, 80)).resize((72, 60)).save(copy, quality=60)
    data = open_data(tmp_path / "photos", folds=4, group_by=r"(\d)\.jpg")  # the last digit: ten groups
    folds = {Path(sample.path).stem.removeprefix("small"): set() for sample in data.samples}
    groups = defaultdict(set)
    for sample in data.samples:
        folds[Path(sample.path).stem.removeprefix("small")].add(sample.fold)
        groups[sample.group].add(sample.fold)
    assert len(groups) == 10
    assert all(len(found) == 1 for found in [*folds.values(), *groups.values()])
    assert "in 10 groups, each kept on one side" in " ".join(data.notes)
    copies = open_data(tmp_path / "photos", folds=4)
    together = {Path(sample.path).stem: sample.fold for sample in copies.samples}
    assert all(together[f"small{number}"] == together[str(number)] for number in range(0, 40, 5))


@pytest.mark.parametrize("seed", range(6))
def test_with_groups_classes_are_as_even_as_scikit_learns(seed: int) -> None:
    """Patients of one to twelve images, mostly of one class: the worst deviation of a class's share over the folds."""
    draw = np.random.default_rng(seed)
    labels, groups = [], []
    for patient in range(120):
        usual = draw.choice(["a", "b", "c"], p=[0.7, 0.25, 0.05])
        for _ in range(draw.integers(1, 13)):
            labels.append(str(usual if draw.random() < 0.85 else draw.choice(["a", "b", "c"])))
            groups.append(f"patient {patient}")
    items, facts = made_up(labels, groups)
    found = np.array(draw_folds(items, facts, relate(items, facts), 5, seed))
    theirs = np.zeros(len(labels), dtype=int)
    division = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(division.split(np.zeros((len(labels), 1)), labels, groups), start=1):
        theirs[test] = number

    def unevenness(folds: np.ndarray) -> float:
        """The standard deviation over the folds of a class's share, mean over the classes (as theirs minimises)."""
        classes = np.array(labels)
        shares = [[np.mean(folds[classes == name] == number) for number in range(1, 6)] for name in "abc"]
        return float(np.std(shares, axis=1).mean())

    for patient in set(groups):
        assert len(set(found[np.array(groups) == patient])) == 1
    assert unevenness(found) <= unevenness(theirs) + 0.005


def test_a_part_of_the_rest_chooses_where_asked(photos: Path) -> None:
    data = open_data(photos, folds=4, validation=0.3)
    for number in range(1, 5):
        one = fold(data, number)
        assert one.split("train")
        assert one.split("validation")
        assert one.split("test")
        for sample in one.split("validation"):
            assert sample.path in {chosen.path for chosen in data.split("validation")}
            assert sample.path not in {tested.path for tested in one.split("test")}
    assert numbers(data) == numbers(open_data(photos, folds=4))
    with pytest.raises(UsageError, match="no share"):
        open_data(photos, folds=4, validation=1.5)
    with pytest.raises(DataError, match=r"--validation 0\.01 of 47 images is too little"):
        open_data(photos, folds=4, validation=0.01)


@pytest.mark.parametrize("share", [0.1, 0.15, 0.2, 0.5])
def test_the_part_that_chooses_has_its_share_of_every_class_and_fold(share: float) -> None:
    data = open_data("digits", folds=5, validation=share)
    for key in (lambda sample: sample.label, lambda sample: sample.fold):
        images = Counter(key(sample) for sample in data.samples)
        chosen = Counter(key(sample) for sample in data.split("validation"))
        assert all(abs(chosen[one] - share * images[one]) <= 2 for one in images)


def test_the_part_that_chooses_takes_groups_whole(photos: Path) -> None:
    data = open_data(photos, folds=3, validation=0.3, group_by=r"(\d)\.png")
    for number in (1, 2, 3):
        sides = defaultdict(set)
        for sample in fold(data, number).samples:
            sides[sample.group].add(sample.split)
        assert len(sides) == 10
        assert all(len(found) == 1 for found in sides.values())


def test_splits_csv_brings_the_same_folds_back_and_new_images_take_no_part(
    tmp_path: Path, photos: Path, write
) -> None:
    data = open_data(photos, folds=4, validation=0.3)
    write_splits(tmp_path / "splits.csv", data.samples, data.class_names)
    rows = read_splits(tmp_path / "splits.csv")
    assert {row.hash: row.fold for row in rows} == numbers(data)
    write("photos/a/new.png", 999)
    again = open_data(photos, splits=tmp_path / "splits.csv")
    assert again.samples == data.samples
    assert [left.path for left in again.left_out] == ["a/new.png"]
    for number in range(1, 5):
        assert fold(again, number).samples == fold(data, number).samples
    # The runs of single folds are ordinary ones.
    write_splits(tmp_path / "one.csv", fold(data, 2).samples, data.class_names)
    assert (tmp_path / "one.csv").read_text().startswith("path,label,split,group,hash\n")
    assert open_data(photos, splits=tmp_path / "one.csv").samples == fold(data, 2).samples


@pytest.mark.parametrize(
    "damage", [("hash,fold", "hash,part"), (",1\n", ",one\n"), (",2\n", "\n")], ids=["heading", "text", "gap"]
)
def test_a_damaged_fold_column_is_an_error(tmp_path: Path, photos: Path, damage: tuple[str, str]) -> None:
    data = open_data(photos, folds=4)
    write_splits(tmp_path / "splits.csv", data.samples, data.class_names)
    text = (tmp_path / "splits.csv").read_text()
    assert damage[0] in text
    (tmp_path / "splits.csv").write_text(text.replace(*damage))
    with pytest.raises(DataError, match=r"splits\.csv"):
        open_data(photos, splits=tmp_path / "splits.csv")


def test_too_few_folds_or_images_are_refused(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(UsageError, match="--folds 1 leaves nothing"):
        open_data(photos, folds=1)
    with pytest.raises(
        DataError, match="47 images make 47 sets without relatives between them, fewer than 48"
    ):
        open_data(photos, folds=48)
    assert {len(fold(open_data(photos, folds=47), number).split("test")) for number in (1, 30, 47)} == {1}
    for file in sorted((photos / "c").glob("*.png"))[1:]:
        os.rename(file, photos / "a" / f"c{file.name}")
    with pytest.raises(DataError, match=r"all images of class 'c' are in fold \d, because they are few"):
        open_data(photos, folds=3)


def test_the_notes_say_how_the_folds_came_about(photos: Path) -> None:
    (note,) = open_data(photos, folds=5, split_seed=3).notes
    assert (
        note == "5 folds over all 47 images, by content with split seed 3: 9 to 10 images each, tested once"
    )
    assert note.portuguese.startswith("5 dobras com todas as 47 imagens")  # pyright: ignore
