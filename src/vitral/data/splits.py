"""Who learns, who chooses, who is measured: splits drawn by content, relatives kept on one side, splits.csv."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from vitral.data.labelled import SPLITS, Sample
from vitral.data.scan import Facts
from vitral.data.sources.listing import Item
from vitral.errors import DataError
from vitral.files import written_whole
from vitral.images import near_duplicates

# The shares of an undivided DATA, as the bounds of a number drawn from [0, 1).
TRAIN_BELOW, VALIDATION_BELOW = 0.70, 0.85
HEADINGS = ("path", "label", "split", "group", "hash")
FOLD = "fold"  # one column more where there are folds


@dataclass(frozen=True)
class Relations:
    """Which images must not stand on two sides of a split: those with equal numbers in any of three arrays.

    Args:
        content: int (images,), equal for images with the same pixels.
        near: int (images,), equal for near-duplicates, and for near-duplicates of these.
        group: int (images,), equal for members of one group.
    """

    content: np.ndarray
    near: np.ndarray
    group: np.ndarray

    def clusters(self) -> list[list[int]]:
        """Images that are related, directly or through others; every image is in one cluster."""
        edges = np.concatenate([_chains(self.content), _chains(self.near), _chains(self.group)])
        clusters: dict[int, list[int]] = {}
        for index, cluster in enumerate(_connected(edges, len(self.content)).tolist()):
            clusters.setdefault(cluster, []).append(index)
        return list(clusters.values())


def relate(items: Sequence[Item], facts: Sequence[Facts]) -> Relations:
    """The relations between images, found by content, signature and group's name."""
    content = _numbered([fact.pixels for fact in facts])
    group = _numbered([item.group or f"\0{index}" for index, item in enumerate(items)])
    signed = [(index, fact.signature) for index, fact in enumerate(facts) if fact.signature is not None]
    pairs = np.empty((0, 2), dtype=np.int64)
    if signed:
        positions = np.array([index for index, _ in signed])
        hashes = np.array([one.hash for _, one in signed], dtype=np.uint64)
        found = near_duplicates(hashes, np.stack([one.thumbnail for _, one in signed]))
        pairs = positions[np.array(found, dtype=np.int64).reshape(-1, 2)]
    return Relations(content, _connected(pairs, len(facts)), group)


def draw_splits(items: Sequence[Item], facts: Sequence[Facts], related: Relations, seed: int) -> list[str]:
    """Divide 70/15/15 into train, validation and test; one split an image.

    Each cluster of relatives goes where a number drawn for it from [0, 1) falls, and that number depends on
    the cluster alone: SHA-256 of the seed and of the group's name, or of the content of the image that
    represents the cluster. So adding or removing images moves none of the others, except where an image
    joins clusters that were apart, or comes to represent one: it is then a near copy of an image that is
    there already, with more pixels or, at as many, more bytes. A group keeps its side however it grows.

    Classes are stratified in expectation only. Exact shares a class and the promise to move nothing
    exclude each other: a count that has to come out right makes one image's side depend on the others.
    Of n images of a class 0.7 n ± sqrt(0.21 n) train.
    """
    splits = [""] * len(items)
    for cluster in related.clusters():
        number = drawn("split", seed, cluster, items, facts)
        split = "train" if number < TRAIN_BELOW else "validation" if number < VALIDATION_BELOW else "test"
        for index in cluster:
            splits[index] = split
    return splits


def take_validation(
    splits: Sequence[str],
    items: Sequence[Item],
    facts: Sequence[Facts],
    related: Relations,
    share: float,
    seed: int,
) -> list[str]:
    """`splits` with about `share` of the training images made validation, by the rule of `draw_splits`."""
    taken = list(splits)
    for cluster in related.clusters():
        training = [index for index in cluster if splits[index] == "train"]
        if training and drawn("validation", seed, training, items, facts) < share:
            for index in training:
                taken[index] = "validation"
    return taken


def leaks(splits: Sequence[str], items: Sequence[Item], related: Relations) -> dict[int, str]:
    """Images that must leave their given split, position -> reason.

    A validation image goes when it is related to a training image, a test image when it is related to a
    training image or to a validation image that stays.
    """
    reasons: dict[int, str] = {}
    seen = {index for index, split in enumerate(splits) if split == "train"}
    for split in ("validation", "test"):
        # Number -> the first image that has it, for each kind of relation.
        contents, nears, groups = (
            {numbers[index]: index for index in sorted(seen, reverse=True)}
            for numbers in (related.content.tolist(), related.near.tolist(), related.group.tolist())
        )
        here = [index for index, name in enumerate(splits) if name == split]
        for index in here:
            if (other := contents.get(int(related.content[index]))) is not None:
                reasons[index] = f"the same image is in {splits[other]}: {items[other].path}"
            elif (other := nears.get(int(related.near[index]))) is not None:
                reasons[index] = f"nearly the same image is in {splits[other]}: {items[other].path}"
            elif (other := groups.get(int(related.group[index]))) is not None:
                reasons[index] = (
                    f"its group {items[index].group!r} is in {splits[other]}: {items[other].path}"
                )
        seen |= {index for index in here if index not in reasons}
    return reasons


@dataclass(frozen=True)
class SplitRow:
    """One line of splits.csv; label is the class's name, fold is None where there are no folds."""

    path: str
    label: str
    split: str
    group: str
    hash: str
    fold: int | None = None


def write_splits(path: str | PathLike[str], samples: Sequence[Sample], class_names: Sequence[str]) -> None:
    """Write splits.csv: path, label, split, group, hash, one line a sample; with folds the fold, too."""
    folds = any(sample.fold for sample in samples)
    with written_whole(Path(path), "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*HEADINGS, FOLD) if folds else HEADINGS)
        for sample in samples:
            cells = (sample.path, class_names[sample.label], sample.split, sample.group, sample.hash)
            writer.writerow((*cells, sample.fold) if folds else cells)


def read_splits(path: str | PathLike[str]) -> tuple[SplitRow, ...]:
    """The lines of a splits.csv. Raises DataError where it is missing or not one."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            headings = next(lines, [])
            if tuple(headings) not in (HEADINGS, (*HEADINGS, FOLD)):
                raise DataError(f"{path} is no splits.csv: its headings are not {','.join(HEADINGS)}")
            rows = tuple(_row(cells, len(headings)) for cells in lines)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): name the splits.csv of a run") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} is damaged ({error}): restore it, or train anew") from None
    wrong = next((row for row in rows if row.split not in SPLITS), None)
    if wrong:
        raise DataError(
            f"{path} is damaged ({wrong.path} has the split {wrong.split!r}): restore it, or train anew"
        )
    return rows


def _row(cells: Sequence[str], count: int) -> SplitRow:
    if len(cells) != count:
        raise ValueError(f"{len(cells)} fields instead of {count}")
    path, label, split, group, content, *fold = cells
    return SplitRow(path, label, split, group, content, int(fold[0]) if fold else None)


def splits_from(table: Mapping[str, SplitRow], items: Sequence[Item], facts: Sequence[Facts]) -> list[str]:
    """The splits of a table, "" for images that it does not name.

    Raises DataError naming the images that the table has and DATA has no longer, or has changed.
    """
    found = {item.path: (item.label, fact.hash) for item, fact in zip(items, facts, strict=True)}
    missing = [path for path in table if path not in found]
    changed = [path for path, row in table.items() if path in found and found[path] != (row.label, row.hash)]
    for paths, problem in ((missing, "no longer there or readable"), (changed, "changed since")):
        if paths:
            more = f" and {len(paths) - 3:,} more" if len(paths) > 3 else ""
            raise DataError(
                f"{len(paths):,} of the run's images are {problem}: {', '.join(paths[:3])}{more}: "
                "restore them, or train anew"
            )
    return [table[item.path].split if item.path in table else "" for item in items]


def drawn(
    purpose: str, seed: int, cluster: Sequence[int], items: Sequence[Item], facts: Sequence[Facts]
) -> float:
    """The cluster's number in [0, 1), uniform over seeds and contents, different for every purpose."""
    groups = [items[index].group for index in cluster if items[index].group]
    key = (
        f"group {min(groups)}"
        if groups
        else f"image {_representative([facts[index] for index in cluster]).hash}"
    )
    digest = hashlib.sha256(f"{purpose} {seed} {key}".encode()).digest()
    return (
        int.from_bytes(digest[:8]) >> 11
    ) / 2**53  # as many bits as a float holds, so that 1.0 never comes


def _representative(facts: Sequence[Facts]) -> Facts:
    """The likeliest original, so that adding copies of it changes nothing.

    Copies are smaller, or are saved again with more compression. A lossless copy of a compressed file has
    the same pixels in more bytes, so of files with the same pixels a compressed one comes first.
    """
    originals: dict[str, Facts] = {}
    for fact in sorted(facts, key=lambda fact: (not fact.lossy, -fact.bytes, fact.hash)):
        originals.setdefault(fact.pixels, fact)
    return min(originals.values(), key=lambda fact: (-fact.height * fact.width, -fact.bytes, fact.hash))


def _numbered(keys: Sequence[str]) -> np.ndarray:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _chains(numbers: np.ndarray) -> np.ndarray:
    """Pairs (pairs, 2) of positions that link all equal numbers, each to the next."""
    order = np.argsort(numbers, kind="stable")
    same = numbers[order[1:]] == numbers[order[:-1]]
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def _connected(pairs: np.ndarray, count: int) -> np.ndarray:
    """Int (count,): equal numbers for positions that `pairs` (pairs, 2) connect."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), dtype=bool)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]
