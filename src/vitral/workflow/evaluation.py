"""`evaluate`: what a model is worth on a split of its own data, or of other data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from vitral.data import SPLITS, LabelledImages, Sample, open_data, without_seen
from vitral.data.loader import evaluation_batches
from vitral.data.scan import Progress
from vitral.errors import DataError, UsageError
from vitral.files import write_json
from vitral.inference import Classifier, probabilities
from vitral.language import Sentence, count_of
from vitral.runs import (
    Evaluation,
    MultiLabelEvaluation,
    Predictions,
    RunFolder,
    answered,
    evaluate_multi_label,
    evaluate_predictions,
    kind_of,
    put_together,
    write_predictions,
)
from vitral.workflow.options import columns_of, open_own_data, read_options
from vitral.workflow.starting import as_network_takes, seen_by

BATCH = 64


def evaluate(
    run: str | PathLike[str],
    data: str | PathLike[str] | None = None,
    *,
    split: str = "test",
    device: str = "auto",
    precision: str = "auto",
    columns: str | Mapping[str, str] | None = None,
    data_root: str | PathLike[str] | None = None,
    group_by: str | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    **said: Any,
) -> dict[str, Any]:
    """Measure a model against labelled images.

    Classes are matched by name; images of classes that the model does not know count as wrong. Test images that the
    run trained or chose on are left out. A run that stopped before its own evaluation gets evaluation.json and
    predictions.csv by this. The figures of a run with folds or seeds are put together from those of its parts.

    Args:
        run: a run folder, or WEIGHTS with a classifier.
        data: DATA; the run's own, with the run's own splits, unless said. DATA without splits is measured whole.
        split: "train", "validation" or "test".
        device, precision: as for `train`.
        columns, data_root, group_by: as for `train`; of `data`.
        progress: called with the number of images looked at so far and in all.
        warn: told what a person should know about the figures, one sentence each.
        said: about weights of other origin, see `Classifier.load`.

    Returns:
        The content of evaluation.json for this, and under "notes" what `warn` was told.

    Raises:
        UsageError: no such run, or data are needed.
        DataError: the split has no image, or its images may have several labels and the model answers with one.
    """
    if split not in SPLITS:
        raise UsageError(f"there is no split {split!r}: choose one of {', '.join(SPLITS)}")
    folder = RunFolder(Path(run))
    if kind_of(folder):
        return _of_parts(folder, data, split) | {"notes": []}
    classifier = Classifier.load(fspath(run), device=device, precision=precision, **said)
    if data is None:
        task = _own(folder, split, progress)
    else:
        opened = open_data(
            fspath(data),
            columns=columns_of(columns),
            data_root=data_root,
            group_by=group_by,
            bands=classifier.preprocessing.bands,
            progress=progress,
        )
        task = _other(folder, opened, split)
    evaluation, answers = _measure(classifier, task)
    notes = [*task.notes, *_kind_notes(classifier, task.data), *_class_notes(evaluation)]
    if warn is not None:
        for note in notes:
            warn(note)
    figures = evaluation.to_dict(
        device=str(classifier.compute.device), backend=classifier.backend, precision=classifier.precision
    )
    if data is None and not folder.evaluation.exists():
        write_json(folder.evaluation, figures)
        write_predictions(folder.predictions, _predictions(classifier, task, answers))
    return figures | {"notes": notes}


def _of_parts(folder: RunFolder, data: object, split: str) -> dict[str, Any]:
    """What the runs below this one found on the split that each of them was measured on."""
    names = folder.read_run()["parts"]
    if data is not None:
        raise UsageError(
            f"{folder.path} holds {len(names)} runs and no model of its own: name the one to measure on {data}, "
            f"such as {folder.path / names[0]}"
        )
    figures = put_together(folder)
    if split != figures["split"]:
        raise UsageError(
            f"the runs in {folder.path} were measured on {figures['split']}: leave --split out, or name one of them, "
            f"such as {folder.path / names[0]}"
        )
    return figures


@dataclass(frozen=True)
class _Task:
    """The images to be measured."""

    data: LabelledImages
    samples: tuple[Sample, ...]
    split: str
    batch: int
    notes: tuple[str, ...] = ()


def _own(folder: RunFolder, split: str, progress: Progress | None) -> _Task:
    """A split of the run's own data."""
    if not folder.exists():
        raise UsageError(f"{folder.path} is a model without a run's files: name the DATA to measure it on")
    options, recipe = read_options(folder)
    data = open_own_data(folder, options, progress)
    samples = data.split(split)
    if not samples:
        there = [name for name in SPLITS if data.split(name)]
        choice = " or ".join(f"--split {name}" for name in there)
        raise DataError(f"{folder.path} has no {split} split: choose {choice}, or name other DATA")
    # The same batches as when training ended give the same figures to the last digit.
    return _Task(data, samples, split, max(BATCH, recipe.batch_size))


def _other(folder: RunFolder, data: LabelledImages, split: str) -> _Task:
    """A split of other data, without what the run has seen."""
    notes: list[str] = []
    if data.splits_given:
        notes += data.notes
        if not data.split(split):
            there = " and ".join(name for name in SPLITS if data.split(name))
            raise DataError(f"{data.spec} has no {split} split, only {there}: choose another --split")
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
    return _Task(data, data.split(split), split, BATCH, tuple(notes))


def _measure(classifier: Classifier, task: _Task) -> tuple[Evaluation | MultiLabelEvaluation, np.ndarray]:
    """The figures, and the probabilities `(images, classes)` behind them."""
    if task.data.multi_label and not classifier.multi_label:
        raise DataError(
            f"the images of {task.data.spec} may have several labels, and the model answers with one: "
            "train one on such data, or name DATA with one label an image"
        )
    data = as_network_takes(task.data, classifier.preprocessing)
    batches = evaluation_batches(data, task.samples, classifier.preprocessing, task.batch)
    answers = probabilities(
        classifier.model,
        batches,
        classifier.preprocessing,
        classifier.compute,
        classifier.multi_label,
    )
    groups = [sample.group for sample in task.samples] if data.has_groups else None
    truth = [[data.class_names[label] for label in sample.labels] for sample in task.samples]
    number = {name: label for label, name in enumerate(classifier.class_names)}
    if classifier.thresholds is not None:
        targets = np.array([[name in names for name in number] for names in truth])
        evaluation = evaluate_multi_label(
            targets,
            answers,
            classifier.class_names,
            classifier.thresholds,
            split=task.split,
            groups=groups,
            unknown=[[name for name in names if name not in number] for names in truth],
        )
        return evaluation, answers
    evaluation = evaluate_predictions(
        np.array([number.get(name, -1) for (name,) in truth]),
        answers,
        classifier.class_names,
        split=task.split,
        groups=groups,
        unknown=[name for (name,) in truth if name not in number],
    )
    return evaluation, answers


def _kind_notes(classifier: Classifier, data: LabelledImages) -> list[str]:
    if not classifier.multi_label or data.multi_label:
        return []
    return [
        Sentence(
            f"{data.spec} has one label an image and the model answers yes or no to each: what a label does not say "
            "counts as no",
            f"{data.spec} traz um rótulo por imagem e o modelo responde sim ou não a cada um: o que o rótulo não diz "
            "conta como não",
        )
    ]


def _class_notes(evaluation: Evaluation | MultiLabelEvaluation) -> list[str]:
    notes = []
    if evaluation.unknown_classes:
        count = sum(evaluation.unknown_classes.values())
        names = _named(list(evaluation.unknown_classes))
        notes.append(
            Sentence(
                f"{count:,} labels are of classes that the model does not know and count as wrong: {names}",
                f"{count_of(count, 'rótulo|rótulos', 'pt')} de classes que o modelo não conhece contam como erro: "
                f"{_named(list(evaluation.unknown_classes), 'e mais {}')}",
            )
            if isinstance(evaluation, MultiLabelEvaluation)
            else Sentence(
                f"{count:,} images are of classes that the model does not know and count as wrong: {names}",
                f"{count_of(count, 'imagem|imagens', 'pt')} de classes que o modelo não conhece contam como erro: "
                f"{_named(list(evaluation.unknown_classes), 'e mais {}')}",
            )
        )
    if evaluation.missing_classes:
        notes.append(
            Sentence(
                f"no image of {_named(evaluation.missing_classes)}, which the model knows",
                f"nenhuma imagem de {_named(evaluation.missing_classes, 'e mais {}')}, que o modelo conhece",
            )
        )
    return notes


def _predictions(classifier: Classifier, task: _Task, answers: np.ndarray) -> Predictions:
    names = classifier.class_names
    return Predictions(
        class_names=names,
        paths=tuple(sample.path for sample in task.samples),
        labels=tuple(map(task.data.label_text, task.samples)),
        splits=tuple(sample.split for sample in task.samples),
        predicted=answered(names, answers, classifier.thresholds),
        probabilities=answers,
    )


def _named(names: Sequence[str], and_more: str = "and {} more") -> str:
    more = f" {and_more.format(len(names) - 10)}" if len(names) > 10 else ""
    return ", ".join(map(repr, names[:10])) + more
