"""Folds: all images divided into equal parts, each of which is tested once by a run that learns from the others."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import fsum

from vitral.data.labelled import SPLITS, LabelledImages
from vitral.data.scan import Facts
from vitral.data.sources.listing import Item
from vitral.data.splits import Relations, drawn
from vitral.errors import DataError, UsageError


def fold(data: LabelledImages, number: int) -> LabelledImages:
    """The images of one run of a cross-validation: fold `number` (from 1) is its test split.

    The other images are on the sides that `data` has them on, so train, or validation where a part of them chooses.

    Args:
        data: opened with `folds`, or by the splits.csv of such a run.
        number: which fold is tested.
    """
    count = count_folds(data)
    if not 1 <= number <= count:
        raise ValueError(f"there is no fold {number} of {count}")
    samples = [
        replace(sample, split="test" if sample.fold == number else sample.split, fold=None)
        for sample in data.samples
    ]
    return replace(
        data,
        samples=tuple(sorted(samples, key=lambda sample: SPLITS.index(sample.split))),
        splits_given=True,
    )


def count_folds(data: LabelledImages) -> int:
    """How many folds DATA was opened with; 0 without folds."""
    return max((sample.fold or 0 for sample in data.samples), default=0)


def draw_folds(
    items: Sequence[Item], facts: Sequence[Facts], related: Relations, count: int, seed: int
) -> list[int]:
    """Divide all images into `count` folds, numbered from 1; one number an image.

    Relatives (near-duplicates, members of a group) share a fold. Classes are stratified exactly: relatives first,
    the largest cluster before the smaller ones, each goes to the fold that so far has the smallest share of its
    classes; then the images that stand alone, class by class in the order of numbers drawn for them, fill up what
    is missing. So without relatives the folds differ by at most one image in every class, and in all. An image of
    several classes counts in each of them, and then the folds are only nearly as equal.

    The numbers are drawn as for `draw_splits`, from the seed and the cluster's content or group alone, and equal
    folds are told apart by their sizes and positions: neither the files' names nor their order matter. Unlike splits,
    folds promise exact shares and not that nothing moves: adding an image may move others.

    Raises:
        UsageError: fewer than two folds.
        DataError: fewer clusters than folds, or a class that has all its images in one fold.
    """
    if count < 2:
        raise UsageError(
            f"--folds {count} leaves nothing to learn from or to test: ask for 2 or more, such as 5"
        )
    clusters = related.clusters()
    if len(clusters) < count:
        raise DataError(
            f"{len(items):,} images make {len(clusters)} sets without relatives between them, fewer than {count} "
            f"folds: ask for --folds {len(clusters)} or fewer, or add images"
        )
    labels = [_classes(item) for item in items]
    totals = Counter(label for names in labels for label in names)
    filled: list[Counter[str]] = [Counter() for _ in range(count)]
    numbers = [0] * len(items)
    for cluster in _largest_first("folds", seed, clusters, items, facts):
        added = Counter(label for index in cluster for label in labels[index])

        def growth(number: int, added: Counter[str] = added) -> tuple[float, int]:
            # The sum of squared shares, which is least where folds are alike, grows by twice this and a constant.
            shares = (filled[number][label] * images / totals[label] ** 2 for label, images in added.items())
            return fsum(shares), filled[number].total()

        chosen = min(range(count), key=growth)
        filled[chosen] += added
        for index in cluster:
            numbers[index] = chosen + 1
    for label in sorted(totals.keys() - {""}):
        where = [number for number, one in enumerate(filled, start=1) if one[label]]
        if len(where) == 1:
            raise DataError(
                f"all images of class {label!r} are in fold {where[0]}, because they are few or related (by group, "
                "or near-duplicates): add others, or take the class out"
            )
    return numbers


def draw_validation(
    items: Sequence[Item],
    facts: Sequence[Facts],
    related: Relations,
    folds: Sequence[int],
    share: float,
    seed: int,
) -> list[str]:
    """The split of every image in the runs that do not test it: about `share` of every class and fold is validation.

    Relatives stay together, and what is drawn depends on the same as in `draw_folds`.

    Raises:
        DataError: in some run no image would be left to choose on.
    """
    # What each class and each fold (a number) should have had by now, less what it has.
    lacking: defaultdict[str | int, float] = defaultdict(float)
    splits = ["train"] * len(items)
    for cluster in _largest_first("validation", seed, related.clusters(), items, facts):
        added: Counter[str | int] = Counter(label for index in cluster for label in _classes(items[index]))
        added[folds[cluster[0]]] = len(cluster)
        for one, images in added.items():
            lacking[one] += share * images
        # Whether the sum of squares of what is lacking gets smaller by it.
        if sum(images * (2 * lacking[one] - images) for one, images in added.items()) > 0:
            for one, images in added.items():
                lacking[one] -= images
            for index in cluster:
                splits[index] = "validation"
    where = {number for number, split in zip(folds, splits, strict=True) if split == "validation"}
    if len(where) < 2:
        raise DataError(
            f"--validation {share:g} of {len(items):,} images is too little to choose on in every fold: say more"
        )
    return splits


def _classes(item: Item) -> tuple[str, ...]:
    """The classes that an image counts in; "" for one of none, of which every fold shall have its share, too."""
    return item.names if "|" in item.label else (item.label,)


def _largest_first(
    purpose: str, seed: int, clusters: Sequence[list[int]], items: Sequence[Item], facts: Sequence[Facts]
) -> list[list[int]]:
    """Clusters from the largest to the smallest, single images class by class, equal ones in a drawn order."""
    return sorted(
        clusters,
        key=lambda cluster: (
            -len(cluster),
            items[cluster[0]].label if len(cluster) == 1 else "",
            drawn(purpose, seed, cluster, items, facts),
        ),
    )
