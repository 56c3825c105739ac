"""`evaluate`: what a model is worth on a split of its own data, or of other data."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from vitral.data import SPLITS, LabelledImages, open_data
from vitral.data.loader import evaluation_batches
from vitral.data.scan import Progress
from vitral.errors import UsageError
from vitral.files import write_json
from vitral.inference import Classifier
from vitral.language import Sentence, count_of
from vitral.runs import (
    Evaluation,
    MultiLabelEvaluation,
    Predictions,
    RunFolder,
    answered,
    kind_of,
    put_together,
    write_predictions,
)
from vitral.workflow.measuring import Task, evaluate_answers, other_images, own_images
from vitral.workflow.options import columns_of
from vitral.workflow.starting import as_network_takes


def evaluate(
    run: str | PathLike[str],
    data: str | PathLike[str] | None = None,
    *,
    split: str = "test",
    backend: str = "auto",
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
        backend, device, precision: as for `Classifier.load`.
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
    classifier = Classifier.load(fspath(run), backend=backend, device=device, precision=precision, **said)
    if data is None:
        task = own_images(folder, (split,), progress)
    else:
        opened = open_data(
            fspath(data),
            columns=columns_of(columns),
            data_root=data_root,
            group_by=group_by,
            bands=classifier.preprocessing.bands,
            progress=progress,
        )
        task = other_images(folder, opened, (split,))
    evaluation, answers = _measure(classifier, task)
    notes = [*task.notes, *_kind_notes(classifier, task.data), *_class_notes(evaluation)]
    if warn is not None:
        for note in notes:
            warn(note)
    figures = evaluation.to_dict(
        device=classifier.device, backend=classifier.backend, precision=classifier.precision
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


def _measure(classifier: Classifier, task: Task) -> tuple[Evaluation | MultiLabelEvaluation, np.ndarray]:
    """The figures, and the probabilities `(images, classes)` behind them."""
    task.check_kind(classifier.multi_label)
    data = as_network_takes(task.data, classifier.preprocessing)
    batches = evaluation_batches(data, task.samples, classifier.preprocessing, task.batch)
    answers = np.concatenate(
        [classifier.probabilities(batch.images.permute(0, 2, 3, 1).numpy()) for batch in batches]
    )
    return evaluate_answers(task, answers, classifier.class_names, classifier.thresholds), answers


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


def _predictions(classifier: Classifier, task: Task, answers: np.ndarray) -> Predictions:
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
