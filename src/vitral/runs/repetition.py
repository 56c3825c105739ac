"""Several trainings as one result: the folds of a cross-validation, or the same training from several seeds.

With folds every image is answered once, by the run that did not learn from it, and the figures are those of all
answers together. With seeds the same images are answered by every run, and the figures are means over the runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vitral.data import SplitRow, read_splits
from vitral.errors import UsageError, VitralError
from vitral.files import write_json
from vitral.runs.evaluation import evaluate_predictions
from vitral.runs.intervals import group_codes, repeated_interval
from vitral.runs.layout import RunFolder
from vitral.runs.multi_label import average_precision_interval, evaluate_multi_label
from vitral.runs.predictions import Predictions, answered, read_predictions, write_predictions
from vitral.runs.second_look import doubtful_answers, doubtful_labels, write_second_look

Kind = Literal["folds", "seeds"]

# What evaluation.json repeats of each run.
OF_EACH = (
    "images",
    "mean_average_precision",
    "accuracy",
    "accuracy_interval",
    "balanced_accuracy",
    "macro_f1",
    "loss",
)


@dataclass(frozen=True, eq=False)
class PartResult:
    """What one of the trainings left.

    Args:
        name: its folder below the whole, such as fold-1.
        evaluation: its evaluation.json.
        predictions: its answers to the images of the split that the evaluation is about.
    """

    name: str
    evaluation: dict[str, Any]
    predictions: Predictions

    @property
    def right(self) -> np.ndarray:
        """(images,) booleans."""
        return np.array(self.predictions.labels) == np.array(self.predictions.predicted)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return "mean_average_precision" in self.evaluation

    @property
    def thresholds(self) -> list[float]:
        """Of a multi-label run, one a class."""
        return [one["threshold"] for one in self.evaluation["per_class"].values()]


def kind_of(folder: RunFolder) -> Kind | None:
    """What a run repeats, folds or seeds; None for a single training, and where there is no run."""
    return folder.read_run().get("kind") if folder.exists() else None


def put_together(folder: RunFolder) -> dict[str, Any]:
    """Put the finished parts of a run together: evaluation.json, predictions.csv, with folds second_look.csv.

    Returns:
        The content of evaluation.json.

    Raises:
        UsageError: a part has not been finished.
        VitralError: a file of a part is missing or damaged.
    """
    facts, parts = folder.read_run(), read_parts(folder)
    missing = [name for name in facts["parts"] if name not in {part.name for part in parts}]
    if missing:
        raise UsageError(
            f"{folder.path} has {len(parts)} of its {len(facts['parts'])} runs: "
            f"`vitral train --resume {folder.path}` makes {missing[0]} and what comes after it, "
            "or for a probe the same `vitral probe` with --overwrite"
        )
    rows = {row.path: row for row in read_splits(folder.splits)}
    together = _folds(parts, rows) if facts["kind"] == "folds" else _seeds(parts, rows)
    accuracies = [part.evaluation["accuracy"] for part in parts]
    figures = {
        "kind": facts["kind"],
        "runs": [
            {"name": part.name} | {key: part.evaluation[key] for key in OF_EACH if key in part.evaluation}
            for part in parts
        ],
        "accuracy_mean": float(np.mean(accuracies)),
        "accuracy_spread": float(np.std(accuracies, ddof=1)),
    } | together.figures
    if facts["kind"] == "folds":
        find = doubtful_answers if parts[0].multi_label else doubtful_labels
        doubtful = find(together.predictions)
        write_second_look(folder.second_look, doubtful)
        figures["second_look"] = len(doubtful)
    write_predictions(folder.predictions, together.predictions)
    write_json(folder.evaluation, figures)
    return figures


def read_parts(folder: RunFolder) -> list[PartResult]:
    """The finished trainings below a run, in their order.

    Raises:
        VitralError: a file of one of them is missing or damaged.
    """
    found = []
    for part in folder.parts():
        if part.read_run()["state"] != "finished":
            continue
        evaluation = part.read_evaluation()
        predictions = read_predictions(part.predictions).of_split(evaluation["split"])
        found.append(PartResult(part.path.name, evaluation, predictions))
    return found


def share_right(folder: RunFolder) -> dict[str, float]:
    """Of a run from several seeds: the share of them that answer right, by the image's path."""
    right: dict[str, list[bool]] = {}
    for part in read_parts(folder):
        for path, one in zip(part.predictions.paths, part.right.tolist(), strict=True):
            right.setdefault(path, []).append(one)
    return {path: float(np.mean(answers)) for path, answers in right.items()}


@dataclass(frozen=True, eq=False)
class _Together:
    """The figures and the predictions of all parts together."""

    figures: dict[str, Any]
    predictions: Predictions


def _folds(parts: Sequence[PartResult], rows: dict[str, SplitRow]) -> _Together:
    """Every image once, in the order of splits.csv."""
    position = {path: index for index, path in enumerate(rows)}
    answers = [
        (position[path], label, predicted, probabilities)
        for part in parts
        for path, label, predicted, probabilities in zip(
            part.predictions.paths,
            part.predictions.labels,
            part.predictions.predicted,
            part.predictions.probabilities,
            strict=True,
        )
    ]
    answers.sort(key=lambda answer: answer[0])
    paths = list(rows)
    names = parts[0].predictions.class_names
    predictions = Predictions(
        class_names=names,
        paths=tuple(paths[index] for index, *_ in answers),
        labels=tuple(label for _, label, *_ in answers),
        splits=("test",) * len(answers),
        predicted=tuple(predicted for *_, predicted, _ in answers),
        probabilities=np.stack([probabilities for *_, probabilities in answers]),
    )
    groups = _groups(predictions, rows)
    if parts[0].multi_label:
        evaluation = evaluate_multi_label(
            predictions.has_label(),
            predictions.probabilities,
            names,
            np.mean([part.thresholds for part in parts], axis=0).tolist(),
            split="test",
            groups=groups,
            answers=predictions.has_predicted(),
        )
        return _Together(evaluation.to_dict(**_computed(parts)), predictions)
    number = {name: index for index, name in enumerate(names)}
    evaluation = evaluate_predictions(
        np.array([number[label] for label in predictions.labels]),
        predictions.probabilities,
        names,
        split="test",
        groups=groups,
    )
    return _Together(evaluation.to_dict(**_computed(parts)), predictions)


def _seeds(parts: Sequence[PartResult], rows: dict[str, SplitRow]) -> _Together:
    """Every figure as the mean over the runs, and the mean of their probabilities for every image."""
    first = parts[0]
    for part in parts:
        if part.predictions.paths != first.predictions.paths:
            raise VitralError(
                f"{part.name} and {first.name} answered different images: train anew, or restore their files"
            )
    figures = _mean([part.evaluation for part in parts])
    groups = group_codes(_groups(first.predictions, rows))
    right = np.stack([part.right for part in parts], axis=1)
    figures["accuracy_interval"] = list(repeated_interval(right, groups))
    labels, has = np.array(first.predictions.labels), first.predictions.has_label()
    found = np.stack([part.predictions.has_predicted() for part in parts], axis=2)  # (images, classes, runs)
    for mine, found_by, of_class in zip(
        has.T, found.swapaxes(0, 1), figures["per_class"].values(), strict=True
    ):
        if mine.any():
            interval = repeated_interval(found_by[mine], None if groups is None else groups[mine])
            of_class["recall_interval"] = list(interval)
    names = first.predictions.class_names
    answers = [part.predictions.probabilities for part in parts]
    probabilities = np.mean(answers, axis=0)
    thresholds = None
    if first.multi_label:
        thresholds = np.mean([part.thresholds for part in parts], axis=0).tolist()
        interval = average_precision_interval(figures["mean_average_precision"], has, answers, groups)
        figures["mean_average_precision_interval"] = interval and list(interval)
    else:
        matrices = [np.array(part.evaluation["confusion_matrix"]) for part in parts]
        figures["confusion_matrix"] = np.sum(matrices, axis=0).tolist()
    predicted = answered(names, probabilities, thresholds)
    figures["ensemble_accuracy"] = float((np.array(predicted) == labels).mean())
    predictions = Predictions(
        class_names=names,
        paths=first.predictions.paths,
        labels=first.predictions.labels,
        splits=first.predictions.splits,
        predicted=predicted,
        probabilities=probabilities,
    )
    return _Together(figures | _computed(parts), predictions)


def _mean(values: Sequence[Any]) -> Any:
    """Fractional numbers as their mean, where a run has one; everything else is the same in all runs."""
    first = values[0]
    if isinstance(first, dict):
        return {key: _mean([value[key] for value in values]) for key in first}
    numbers = [value for value in values if isinstance(value, float)]
    return float(np.mean(numbers)) if numbers else first


def _groups(predictions: Predictions, rows: dict[str, SplitRow]) -> list[str] | None:
    groups = [rows[path].group for path in predictions.paths]
    return groups if any(groups) else None


def _computed(parts: Sequence[PartResult]) -> dict[str, str]:
    """What computed the answers, every device or precision that took part."""
    return {
        key: ", ".join(dict.fromkeys(part.evaluation[key] for part in parts))
        for key in ("device", "backend", "precision")
    }
