"""The features that a probe of DATA learns from and answers by, of each split, completed as one course."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitral.data import LabelledImages
from vitral.runs.intervals import group_codes
from vitral.transfer import Backbone, Extraction, Pooling, ProbeRecipe

# Of the mirrored training images, beside the names of the splits.
MIRRORED = "mirrored"


def extractions_of(
    backbone: Backbone,
    data: LabelledImages,
    splits: Sequence[str],
    choice: Sequence[Pooling],
    recipe: ProbeRecipe,
) -> dict[str, Extraction]:
    """The features of some splits, with what the cache has of them; of mirrored training images where these count.

    Args:
        backbone: the network.
        data: the images.
        splits: each with an image.
        choice: the poolings that will be asked for.
        recipe: its flip counts.
    """
    layers = sorted({layer for pooling in choice for layer in pooling.layers})
    parts = {split: Extraction(backbone, data, data.split(split), layers) for split in splits}
    if recipe.flip == "horizontal":
        parts[MIRRORED] = Extraction(backbone, data, data.split("train"), layers, mirrored=True)
    return parts


def complete(parts: Mapping[str, Extraction], progress: Callable[[int, int, int], None] | None) -> None:
    """Compute all that is missing.

    Args:
        parts: from `extractions_of`.
        progress: called with the number of images done, of all, and of those done that no cache had.

    Raises:
        ImageError: a file has gone bad since DATA was opened.
    """
    extractions = list(parts.values())
    total = sum(len(part.samples) for part in extractions)
    known = total - sum(len(part.missing) for part in extractions)
    for number, part in enumerate(extractions):
        later = sum(len(one.missing) for one in extractions[number + 1 :])

        def done_of_part(done: int, of: int, later: int = later) -> None:
            there = total - later - (of - done)
            if progress is not None:
                progress(there, total, there - known)

        part.run(progress=done_of_part)


@dataclass(frozen=True)
class Lessons:
    """What a probe learns from: a row for each view of a training image.

    Args:
        features: float32 `(rows, width)` of each pooling.
        labels: whole numbers `(rows,)`.
        groups: whole numbers `(rows,)`: rows of equal number are left out together, members of a group and views of an
            image; None: each row alone.
        views: of an image: 2 with the mirrored one.
    """

    features: Mapping[Pooling, np.ndarray]
    labels: np.ndarray
    groups: np.ndarray | None
    views: int


def lessons(parts: Mapping[str, Extraction], data: LabelledImages, choice: Sequence[Pooling]) -> Lessons:
    """The training images, and below them the mirrored ones where these count; `parts` are complete."""
    seen = [parts[name] for name in ("train", MIRRORED) if name in parts]
    samples, views = data.split("train"), len(seen)
    groups = group_codes([sample.group for sample in samples]) if data.has_groups else None
    if groups is None and views > 1:
        groups = np.arange(len(samples))
    return Lessons(
        {pooling: np.concatenate([part.pooled(pooling) for part in seen]) for pooling in choice},
        np.tile(labels_of(data, "train"), views),
        None if groups is None else np.tile(groups, views),
        views,
    )


def labels_of(data: LabelledImages, split: str) -> np.ndarray:
    """The one label of each image of a split."""
    return np.array([sample.label for sample in data.split(split)])
