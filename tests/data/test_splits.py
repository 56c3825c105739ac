"""Splits that are honest: nothing moves, relatives stay together, what was learnt from is not measured on."""

import os
import random
import re
import shutil
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from vitral.data import open_data, read_splits, without_seen, write_splits
from vitral.errors import DataError, UsageError


def sides(data) -> dict[str, str]:
    return {sample.path: sample.split for sample in data.samples}


def test_shares_are_70_15_15_in_every_class():
    """1,797 independent draws: each class's share of train within four standard deviations of 0.7."""
    data = open_data("digits")
    counts = data.counts()
    for name in data.class_names:
        images = sum(counts[split][name] for split in counts)
        for split, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
            assert abs(counts[split][name] - share * images) < 4 * (share * (1 - share) * images) ** 0.5
    total = len(data.samples)
    assert abs(sum(counts["train"].values()) / total - 0.7) < 0.03


def test_another_seed_draws_other_splits_and_the_same_seed_the_same():
    first, again, other = (open_data("digits", split_seed=seed) for seed in (0, 0, 1))
    assert sides(first) == sides(again)
    differing = sum(a != b for a, b in zip(sides(first).values(), sides(again).values(), strict=True))
    assert differing == 0
    changed = sum(sides(first)[path] != split for path, split in sides(other).items())
    # Two independent draws differ with probability 1 - 0.7² - 0.15² - 0.15² = 0.465.
    assert 0.4 < changed / len(other.samples) < 0.53


@pytest.mark.parametrize("order", range(4))
def test_adding_photographs_moves_no_other(tmp_path, write, order):
    """Whatever is added, in whatever order, under whatever name: everybody keeps their side."""
    pool = [write(f"pool/{'abc'[number % 3]}/{number}.png", number) for number in range(90)]
    random.Random(order).shuffle(pool)
    growing = tmp_path / "growing"
    seen: dict[str, str] = {}
    # The first six hold each class, the rest comes in uneven portions.
    pool.sort(key=lambda file: file.parent.name)
    pool = [file for trio in zip(pool[:30], pool[30:60], pool[60:], strict=True) for file in trio]
    for start, end in ((0, 6), (6, 7), (7, 20), (20, 21), (21, 60), (60, 90)):
        for file in pool[start:end]:
            target = growing / file.parent.name / f"{order}-{file.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target)
        now = sides(open_data(growing))
        assert len(now) == end
        assert {path: now[path] for path in seen} == seen
        seen = now
    assert set(seen.values()) == {"train", "validation", "test"}


def test_a_side_belongs_to_the_content_not_to_the_name(tmp_path, write):
    for number in range(40):
        file = write(f"first/{'ab'[number % 2]}/{number}.png", number)
        renamed = tmp_path / "second" / file.parent.name / "below" / f"{number * 37 % 41}.PNG"
        renamed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, renamed)
    first, second = (open_data(tmp_path / name) for name in ("first", "second"))
    assert {s.hash: s.split for s in first.samples} == {s.hash: s.split for s in second.samples}
    assert first.digest == second.digest


def test_adding_copies_moves_no_other_and_copies_join_their_original(tmp_path, write):
    originals = [
        write(f"{'ab'[number % 2]}/{number}.jpg", number, (96, 80), quality=90) for number in range(40)
    ]
    before = sides(open_data(tmp_path))
    for file in originals:
        image = Image.open(file)
        image.resize((64, 53)).save(file.with_name(f"{file.stem}-small.jpg"))
        image.save(file.with_name(f"{file.stem}-again.jpg"), quality=75)
        image.save(file.with_name(f"{file.stem}-lossless.png"))
        shutil.copy(file, file.with_name(f"{file.stem}-copy.jpg"))
    after = sides(open_data(tmp_path))
    assert len(after) == 5 * len(before)
    assert {path: after[path] for path in before} == before
    for path, side in after.items():
        assert side == before[re.sub(r"-\w+\.\w+$", ".jpg", path)]


def test_the_same_pixels_are_one_image_below_the_size_of_signatures(tmp_path):
    """8 × 8 pixels are too few to call two images alike, but equal is equal in any format."""
    for number in range(60):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        Image.fromarray(pixels).save(folder / f"{number}.bmp")
    after = sides(open_data(tmp_path))
    assert all(after[path] == after[path.replace("bmp", "png")] for path in after)
    assert len(set(after.values())) == 3


def test_groups_of_a_csv_never_straddle(tmp_path, write):
    rows = ["path,label,group"]
    for number in range(120):
        write(f"{number}.png", number)
        rows.append(f"{number}.png,{'ab'[number % 2]},patient {number // 6}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    data = open_data(tmp_path / "table.csv")
    by_group = defaultdict(set)
    for sample in data.samples:
        by_group[sample.group].add(sample.split)
    assert len(by_group) == 20
    assert all(len(splits) == 1 for splits in by_group.values())
    assert Counter(next(iter(s)) for s in by_group.values()).keys() == {"train", "validation", "test"}


def test_a_growing_group_keeps_its_side(tmp_path, write):
    rows = [f"{number}.png,{'ab'[number % 2]},p{number % 15}" for number in range(90)]
    for number in range(90):
        write(f"{number}.png", number)
    found = []
    for count in (30, 60, 90):
        (tmp_path / "table.csv").write_text("\n".join(["path,label,group", *rows[:count]]))
        found.append({s.group: s.split for s in open_data(tmp_path / "table.csv").samples})
    assert found[0] == found[1] == found[2]


def test_group_by_folder_and_by_expression(tmp_path, write):
    for number in range(24):
        write(f"{'ab'[number % 2]}/scene{number // 4}/{number}.png", number)
    write("a/alone1.png", 100)
    write("a/alone2.png", 101)
    by_folder = open_data(tmp_path, group_by="folder")
    assert {s.path: s.group for s in by_folder.samples} == {
        s.path: "" if "alone" in s.path else s.path.split("/")[1] for s in by_folder.samples
    }
    for rule in ("folder", r"scene(\d+)", r"scene\d+"):
        data = open_data(tmp_path, group_by=rule)
        by_scene = defaultdict(set)
        for sample in data.samples:
            by_scene[sample.path.split("/")[1]].add(sample.split)
        assert all(len(splits) == 1 for splits in by_scene.values())
    assert {s.group for s in open_data(tmp_path, group_by=r"scene(\d+)").samples} == {*"012345", ""}
    with pytest.raises(UsageError, match="no valid regular expression"):
        open_data(tmp_path, group_by="scene(")
    with pytest.raises(UsageError, match="matches none"):
        open_data(tmp_path, group_by="patient")
    with pytest.raises(UsageError, match="lie in folders"):
        open_data("digits", group_by="folder")


def test_test_images_that_are_also_in_train_are_left_out_and_counted(tmp_path, write):
    for number in range(8):
        write(f"train/{'ab'[number % 2]}/{number}.png", number)
        write(f"test/{'ab'[number % 2]}/{number + 50}.png", number + 50)
    shutil.copy(tmp_path / "train/a/0.png", tmp_path / "test/a/copy.png")
    write("test/b/compressed.jpg", 1, quality=85)
    data = open_data(tmp_path)
    assert len(data.split("test")) == 8
    assert {(left.path, left.reason) for left in data.left_out} == {
        ("test/a/copy.png", "the same image is in train: train/a/0.png"),
        ("test/b/compressed.jpg", "nearly the same image is in train: train/b/1.png"),
    }
    assert "1 test image left out: the same image is also in train or validation" in data.notes
    assert "1 test image left out: a near-duplicate is in train or validation" in data.notes


def test_what_chose_is_not_measured_and_what_taught_does_not_choose(tmp_path, write):
    for split, first in (("train", 0), ("validation", 10), ("test", 20)):
        for number in range(first, first + 4):
            write(f"{split}/{'ab'[number % 2]}/{number}.png", number)
    write("validation/a/taught.png", 0)
    write("test/a/chose.png", 10)
    write("test/a/taught too.png", 2)
    data = open_data(tmp_path)
    assert {left.path for left in data.left_out} == {
        "validation/a/taught.png",
        "test/a/chose.png",
        "test/a/taught too.png",
    }
    assert {split: sum(c.values()) for split, c in data.counts().items()} == {
        "train": 4,
        "validation": 4,
        "test": 4,
    }


def test_a_group_that_is_in_train_is_left_out_of_test(tmp_path, write):
    for number in range(6):
        write(f"{number}.png", number)
    rows = ["0,a,train,p", "1,b,train,q", "2,a,test,p", "3,b,test,r", "4,a,test,", "5,b,test,"]
    (tmp_path / "t.csv").write_text("path,label,split,group\n" + "\n".join(rows))
    data = open_data(tmp_path / "t.csv")
    assert [(left.path, left.reason) for left in data.left_out] == [("2", "its group 'p' is in train: 0")]
    assert "1 test image left out: a member of their group is in train or validation" in data.notes


def test_the_same_image_under_two_labels_is_said(tmp_path, write):
    for number in range(10):
        write(f"{'ab'[number % 2]}/{number}.png", number)
    write("b/again.png", 0)
    data = open_data(tmp_path)
    assert any("1 image under different labels" in note and "a/0.png (a)" in note for note in data.notes)
    assert sides(data)["a/0.png"] == sides(data)["b/again.png"]


def test_validation_takes_a_share_of_train_and_leaves_test_alone(tmp_path, write):
    for number in range(120):
        write(f"train/{'ab'[number % 2]}/{number}.png", number, (36, 32))
    for number in range(500, 510):
        write(f"test/{'ab'[number % 2]}/{number}.png", number, (36, 32))
    plain, chosen = open_data(tmp_path), open_data(tmp_path, validation=0.15)
    assert set(plain.counts()) == {"train", "test"}
    assert {s.path for s in plain.split("test")} == {s.path for s in chosen.split("test")}
    taken = {s.path for s in chosen.split("validation")}
    assert taken | {s.path for s in chosen.split("train")} == {s.path for s in plain.split("train")}
    assert abs(len(taken) - 18) < 4 * (120 * 0.15 * 0.85) ** 0.5
    # A larger share takes more of the same images, and a new photograph moves none.
    assert taken < {s.path for s in open_data(tmp_path, validation=0.4).split("validation")}
    write("train/a/new.png", 999, (36, 32))
    assert {s.path for s in open_data(tmp_path, validation=0.15).split("validation")} - {
        "train/a/new.png"
    } == taken


def test_validation_is_refused_where_there_is_one_or_none_is_needed(tmp_path, write):
    for number, split in enumerate(("train", "train", "val", "val")):
        write(f"{split}/{'ab'[number % 2]}/{number}.png", number)
    with pytest.raises(UsageError, match="DATA has train and validation"):
        open_data(tmp_path, validation=0.15)
    with pytest.raises(UsageError, match="divided 70/15/15"):
        open_data("digits", validation=0.15)
    for share in (0, 1, 15):
        with pytest.raises(UsageError, match="between 0 and 1"):
            open_data("digits", validation=share)


def test_splits_csv_brings_the_same_splits_back(tmp_path, write):
    for number in range(40):
        write(f"data/{'ab'[number % 2]}/{number}, é.png", number)
    data = open_data(tmp_path / "data", split_seed=3)
    table = tmp_path / "splits.csv"
    write_splits(table, data.samples, data.class_names)
    assert table.read_text(encoding="utf-8").splitlines()[0] == "path,label,split,group,hash"
    again = open_data(tmp_path / "data", splits=table)
    assert again.samples == data.samples
    assert again.digest == data.digest

    # A photograph that came later takes no part, and that is said.
    write("data/a/later.png", 100)
    later = open_data(tmp_path / "data", splits=table)
    assert later.samples == data.samples
    assert [left.path for left in later.left_out] == ["a/later.png"]
    assert any("1 image left out" in note for note in later.notes)

    write("data/a/0, é.png", 101)
    with pytest.raises(DataError, match=r"1 of the run's images are changed since: a/0, é\.png"):
        open_data(tmp_path / "data", splits=table)
    (tmp_path / "data/a/0, é.png").unlink()
    with pytest.raises(
        DataError, match=r"1 of the run's images are no longer there or readable: a/0, é\.png"
    ):
        open_data(tmp_path / "data", splits=table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("path,label\n", "no splits.csv"),
        ("", "no splits.csv"),
        ("path,label,split,group,hash\na,b\n", "damaged"),
        ("path,label,split,group,hash\na,b,dev,,0\n", "damaged"),
    ],
)
def test_a_splits_csv_that_is_none_says_so(tmp_path, content, message):
    if content is not None:
        (tmp_path / "splits.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_splits(tmp_path / "splits.csv")


def test_images_a_run_has_seen_leave_the_test_split_aloud():
    data = open_data("digits")
    seen = {sample.hash for sample in data.split("test")[:5]} | {
        sample.hash for sample in data.split("train")
    }
    remaining = without_seen(data, seen)
    assert len(remaining.split("test")) == len(data.split("test")) - 5
    assert remaining.split("train") == data.split("train")
    assert len(remaining.left_out) == 5
    assert any("5 test images left out" in note for note in remaining.notes)
    assert without_seen(data, set()) is data
