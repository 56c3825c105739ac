"""Labelled images that a model is measured on, and what its answers to them are worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vitral.data import SPLITS, LabelledImages, Sample, without_seen
from vitral.data.scan import Progress
from vitral.errors import DataError, UsageError
from vitral.language import Sentence, count_of
from vitral.runs import (
    Evaluation,
    MultiLabelEvaluation,
    RunFolder,
    evaluate_multi_label,
    evaluate_predictions,
)
from vitral.workflow.options import open_own_data, read_options
from vitral.workflow.starting import seen_by

BATCH = 64


@dataclass(frozen=True)
class Task:
    """The images to be measured on.

    Args:
        data: what they are part of.
        samples: the images.
        split: which split they are of.
        batch: how many are answered at once.
        notes: what a person should know about them, one sentence each.
    """

    data: LabelledImages
    samples: tuple[Sample, ...]
    split: str
    batch: int
    notes: tuple[str, ...] = ()

    @property
    def groups(self) -> list[str] | None:
        """The group of each image, where there are groups."""
        return [sample.group for sample in self.samples] if self.data.has_groups else None

    def check_kind(self, multi_label: bool) -> None:
        """DataError where the images may have several labels, and the model answers with one."""
        if self.data.multi_label and not multi_label:
            raise DataError(
                f"the images of {self.data.spec} may have several labels, and the model answers with one: "
                "train one on such data, or name DATA with one label an image"
            )

    def truth(self) -> list[list[str]]:
        """The labels of each image, by name."""
        return [[self.data.class_names[label] for label in sample.labels] for sample in self.samples]


def own_images(folder: RunFolder, splits: Sequence[str], progress: Progress | None = None) -> Task:
    """The first of these splits of the run's own data that has images.

    Raises:
        UsageError: a model without a run's files, or the data are not where they were.
        DataError: there is no such split.
    """
    if not folder.exists():
        raise UsageError(f"{folder.path} is a model without a run's files: name the DATA to measure it on")
    options, recipe = read_options(folder)
    data = open_own_data(folder, options, progress)
    split = next((name for name in splits if data.split(name)), None)
    if split is None:
        there = [name for name in SPLITS if data.split(name)]
        choice = " or ".join(f"--split {name}" for name in there)
        raise DataError(f"{folder.path} has no {splits[0]} split: choose {choice}, or name other DATA")
    # The same batches as when training ended give the same figures to the last digit.
    return Task(data, data.split(split), split, max(BATCH, recipe.batch_size))


def other_images(folder: RunFolder, data: LabelledImages, splits: Sequence[str]) -> Task:
    """The first of these splits of other data that has images, without what the run has seen.

    Data without splits are taken whole, as the last of these.

    Raises:
        DataError: there is no such split, or the run has seen all of it.
    """
    notes: list[str] = []
    split = splits[-1]
    if data.splits_given:
        notes += data.notes
        found = next((name for name in splits if data.split(name)), None)
        if found is None:
            there = " and ".join(name for name in SPLITS if data.split(name))
            raise DataError(f"{data.spec} has no {split} split, only {there}: choose another --split")
        split = found
    else:
        data = replace(data, samples=tuple(replace(sample, split=split) for sample in data.samples), notes=())
        notes.append(
            Sentence(
                f"{data.spec} has no splits: all of its {len(data.samples):,} images are measured",
                f"{data.spec} não traz divisão: todas as "
                f"{count_of(len(data.samples), 'imagem|imagens', 'pt')} são medidas",
            )
        )
    if data.bad_files:
        first = data.bad_files[0]
        notes.append(
            Sentence(
                f"{count_of(len(data.bad_files), 'file')} cannot be used, first {first.path}: {first.reason}",
                f"{count_of(len(data.bad_files), 'arquivo|arquivos', 'pt')} sem uso; o primeiro, {first.path}: "
                f"{first.reason}",
            )
        )
    if split == "test":
        before = len(data.notes)
        data = without_seen(data, seen_by(folder.path))
        notes += data.notes[before:]
        if not data.split(split):
            raise DataError(
                f"{folder.path} trained or chose on every one of these images: measure it on images it has not seen"
            )
    return Task(data, data.split(split), split, BATCH, tuple(notes))


def evaluate_answers(
    task: Task,
    answers: np.ndarray,
    class_names: Sequence[str],
    thresholds: Sequence[float] | None = None,
) -> Evaluation | MultiLabelEvaluation:
    """What a model's answers are worth, its classes matched with those of the images by name.

    Args:
        task: the images.
        answers: its probabilities, `(images, classes)`.
        class_names: the model's.
        thresholds: of a multi-label model, one a class.
    """
    truth = task.truth()
    number = {name: label for label, name in enumerate(class_names)}
    if thresholds is not None:
        return evaluate_multi_label(
            np.array([[name in names for name in number] for names in truth]),
            answers,
            class_names,
            thresholds,
            split=task.split,
            groups=task.groups,
            unknown=[[name for name in names if name not in number] for names in truth],
        )
    return evaluate_predictions(
        np.array([number.get(name, -1) for (name,) in truth]),
        answers,
        class_names,
        split=task.split,
        groups=task.groups,
        unknown=[name for (name,) in truth if name not in number],
    )
