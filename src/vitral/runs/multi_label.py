"""What a split's predictions are worth where an image may have several labels, or none: a yes or no for every class.

Nothing here knows a network: labels and probabilities go in, the figures of `evaluation.json` come out.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitral.data import label_text
from vitral.runs.evaluation import accuracy_interval, calibration_error, check_answers, plain
from vitral.runs.intervals import Interval, group_codes, resampled_interval
from vitral.runs.thresholds import UNCHOSEN

# So often images are drawn again for an interval: of few images, and of many, where fewer tell as much.
REPLICATES, REPLICATES_OF_MANY, MANY = 400, 100, 1_000_000


@dataclass(frozen=True)
class LabelFigures:
    """One class of the model: has an image it or not?

    Attributes:
        average_precision: mean precision over the recalls, from the most probable image down (scikit-learn's, not
            interpolated); None without an image in the split.
        precision, recall, recall_interval, f1: as in `ClassFigures`, of the answers at `threshold`.
        threshold: the probability from which on the class is answered.
        images: how many images of the class the split has.
    """

    average_precision: float | None
    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    threshold: float
    images: int


@dataclass(frozen=True)
class MultiLabelEvaluation:
    """How well one model names all labels of the images of one split; shares are 0..1.

    Labels that the model does not know are mistakes in every figure of its answers (`accuracy`, `label_accuracy`,
    `macro_f1`, `micro_f1`) and no part of those of its probabilities.

    Attributes:
        split: "train", "validation" or "test".
        images: how many images every figure stands on.
        classes: the model's class names.
        mean_average_precision: mean of the classes' average precision, over those that the split has an image of;
            None if there is no such class.
        mean_average_precision_interval: 95 %, from images drawn again, by groups where there are groups.
        chance_average_precision: what ranking at random gives: the mean share of images that have the class, over the
            same classes.
        accuracy: share of the images whose labels are exactly those answered, none missing and none too many.
        accuracy_interval: 95 %, as in `Evaluation`.
        exact_match: the same as `accuracy`, by its name in the field (also "subset accuracy").
        majority_accuracy, majority_label: the exact match of always answering the commonest combination of labels, and
            that combination, as `a|b`.
        label_accuracy: share of the yes and no answers that are right; one less the Hamming loss.
        macro_f1: mean F1 over the classes that the split has or that were answered, unknown ones included; None if
            there is no such class.
        micro_f1: F1 of all labels of all images together; None as for `macro_f1`.
        auroc: mean area under the curve over the classes that some images have and some have not; None if there is no
            such class.
        loss: mean binary cross-entropy of the model's classes, probabilities nearer to 0 or 1 than float32 tells apart
            taken as that near.
        calibration_error: expected calibration error of all probabilities, in 15 bins of equal width.
        per_class: the figures of each of the model's classes, by name.
        missing_classes: the model's classes of which the split has no image.
        unknown_classes: number of images by label, for labels that the model does not know.
        groups: how many groups the intervals stand on; None where every image stands for itself.
    """

    split: str
    images: int
    classes: tuple[str, ...]
    mean_average_precision: float | None
    mean_average_precision_interval: Interval | None
    chance_average_precision: float | None
    accuracy: float
    accuracy_interval: Interval
    exact_match: float
    majority_accuracy: float
    majority_label: str
    label_accuracy: float
    macro_f1: float | None
    micro_f1: float | None
    auroc: float | None
    loss: float
    calibration_error: float
    per_class: dict[str, LabelFigures]
    missing_classes: tuple[str, ...]
    unknown_classes: dict[str, int]
    groups: int | None

    def to_dict(self, *, device: str, backend: str, precision: str) -> dict[str, Any]:
        """The content of `evaluation.json`, ready for JSON; the arguments say what computed the answers."""
        return plain(self) | {"device": device, "backend": backend, "precision": precision}


def evaluate_multi_label(
    targets: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    thresholds: Sequence[float],
    *,
    split: str,
    groups: Sequence[str] | None = None,
    unknown: Sequence[Sequence[str]] | None = None,
    answers: np.ndarray | None = None,
) -> MultiLabelEvaluation:
    """Measure predictions against the truth.

    Args:
        targets: (images, classes), 1 where the image has the class, else 0.
        probabilities: (images, classes), 0..1.
        class_names: the model's classes, each name once.
        thresholds: one a class; a class is answered whose probability is not below it.
        split: which split the images are of.
        groups: as for `evaluate_predictions`.
        unknown: for each image those of its labels that the model does not know; None where it knows all.
        answers: (images, classes) booleans, where not all images were answered by the same thresholds.

    Raises:
        DataError: there is no image.
        WeightsError: a probability is not a finite number.
    """
    truth, probabilities = np.asarray(targets) > 0, np.asarray(probabilities, dtype=np.float64)
    check_answers(len(truth), probabilities, class_names, split, groups)
    strange = unknown if unknown is not None else [()] * len(truth)
    if (
        truth.shape != probabilities.shape
        or len(strange) != len(truth)
        or len(thresholds) != len(class_names)
    ):
        raise ValueError("targets, probabilities, thresholds and unknown labels do not belong together")
    if answers is None:
        answers = probabilities >= np.asarray(thresholds)
    codes = group_codes(groups)
    # Unknown labels become classes of their own after the model's, never answered and so always wrong.
    names = sorted({name for of_image in strange for name in of_image})
    beyond = np.array([[name in of_image for name in names] for of_image in strange], dtype=bool)
    beyond = beyond.reshape(len(truth), len(names))
    all_truth = np.hstack([truth, beyond])
    all_answers = np.hstack([answers, np.zeros_like(beyond)])
    right = (all_truth == all_answers).all(axis=1)
    majority_label, majority_accuracy = _commonest(truth, beyond, class_names)
    counts = truth.sum(axis=0)
    precisions = average_precisions(truth, probabilities)
    return MultiLabelEvaluation(
        split=split,
        images=len(truth),
        classes=tuple(class_names),
        mean_average_precision=_mean(precisions),
        mean_average_precision_interval=average_precision_interval(
            _mean(precisions), truth, [probabilities], codes
        ),
        chance_average_precision=_mean([count / len(truth) for count in counts if count]),
        accuracy=float(right.mean()),
        accuracy_interval=accuracy_interval(right, codes),
        exact_match=float(right.mean()),
        majority_accuracy=majority_accuracy,
        majority_label=majority_label,
        label_accuracy=float((all_truth == all_answers).mean()),
        macro_f1=macro_f1(all_truth, all_answers),
        micro_f1=_micro_f1(all_truth, all_answers),
        auroc=auroc(truth, probabilities),
        loss=mean_loss(truth, probabilities),
        calibration_error=calibration_error(probabilities.ravel(), truth.ravel()),
        per_class=_per_class(truth, answers, class_names, thresholds, precisions, codes),
        missing_classes=tuple(name for name, count in zip(class_names, counts, strict=True) if count == 0),
        unknown_classes=dict(sorted(Counter(name for of_image in strange for name in of_image).items())),
        groups=len(np.unique(codes)) if codes is not None else None,
    )


def measure(name: str, targets: np.ndarray, probabilities: np.ndarray) -> float | None:
    """One figure of an epoch, by its name in `MultiLabelEvaluation`, with all thresholds at 0.5.

    Args:
        name: one of `MEASURES`.
        targets, probabilities: (images, classes).
    """
    return MEASURES[name](targets > 0, probabilities)


def average_precisions(truth: np.ndarray, probabilities: np.ndarray) -> list[float | None]:
    """The average precision of each class; None for those that no image has."""
    from sklearn.metrics import average_precision_score

    return [
        float(average_precision_score(has, scores)) if has.any() else None
        for has, scores in zip(truth.T, probabilities.T, strict=True)
    ]


def auroc(truth: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Mean over the classes that some images have and some have not."""
    from sklearn.metrics import roc_auc_score

    return _mean(
        [
            float(roc_auc_score(has, scores))
            for has, scores in zip(truth.T, probabilities.T, strict=True)
            if has.any() and not has.all()
        ]
    )


def mean_loss(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean binary cross-entropy over images and classes."""
    # Networks answer in float32, in which no number is nearer to 1.
    smallest = float(np.finfo(np.float32).eps)
    of_truth = np.where(truth, probabilities, 1 - probabilities.astype(np.float64))
    return float(-np.log(of_truth.clip(smallest, 1 - smallest)).mean())


def macro_f1(truth: np.ndarray, answers: np.ndarray) -> float | None:
    """Mean F1 over the classes that an image has or that were answered; None where there is none."""
    seen = (truth | answers).any(axis=0)
    return float(_f1(truth, answers)[seen].mean()) if seen.any() else None


# What an epoch can be measured by, from (images, classes) booleans and probabilities.
MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], float | None]] = {
    "mean_average_precision": lambda truth, scores: _mean(average_precisions(truth, scores)),
    "accuracy": lambda truth, scores: float((truth == (scores >= UNCHOSEN)).all(axis=1).mean()),
    "macro_f1": lambda truth, scores: macro_f1(truth, scores >= UNCHOSEN),
    "auroc": auroc,
    "loss": mean_loss,
}


def _f1(truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """F1 of each class; 0 where it is neither there nor answered."""
    return 2 * (truth & answers).sum(axis=0) / np.maximum(1, truth.sum(axis=0) + answers.sum(axis=0))


def _micro_f1(truth: np.ndarray, answers: np.ndarray) -> float | None:
    return macro_f1(truth.reshape(-1, 1), answers.reshape(-1, 1))


def _commonest(truth: np.ndarray, beyond: np.ndarray, class_names: Sequence[str]) -> tuple[str, float]:
    """The commonest combination of labels that the model could answer, and the share of images that have it."""
    possible = truth[~beyond.any(axis=1)]
    if len(possible) == 0:
        return "", 0.0
    combinations, counts = np.unique(possible, axis=0, return_counts=True)
    best = int(counts.argmax())
    names = (name for name, has in zip(class_names, combinations[best], strict=True) if has)
    return label_text(names), float(counts[best] / len(truth))


def _per_class(
    truth: np.ndarray,
    answers: np.ndarray,
    class_names: Sequence[str],
    thresholds: Sequence[float],
    precisions: Sequence[float | None],
    groups: np.ndarray | None,
) -> dict[str, LabelFigures]:
    figures = {}
    f1 = _f1(truth, answers)
    for index, name in enumerate(class_names):
        has, answered = truth[:, index], answers[:, index]
        found = answered[has]
        seen = bool(has.any() or answered.any())
        figures[name] = LabelFigures(
            average_precision=precisions[index],
            precision=float(found.sum() / max(1, answered.sum())) if seen else None,
            recall=float(found.mean()) if len(found) else None,
            recall_interval=accuracy_interval(found, None if groups is None else groups[has])
            if len(found)
            else None,
            f1=float(f1[index]) if seen else None,
            threshold=float(thresholds[index]),
            images=len(found),
        )
    return figures


def average_precision_interval(
    value: float | None, truth: np.ndarray, runs: Sequence[np.ndarray], groups: np.ndarray | None
) -> Interval | None:
    """Of the mean average precision, or of its mean over several runs that answered the same images.

    Args:
        value: the figure.
        truth: (images, classes) booleans.
        runs: the probabilities of each, (images, classes).
        groups: (images,) integers; None where every image stands for itself.
    """
    if value is None:
        return None
    return resampled_interval(
        value, redrawn_precision(truth, runs), len(truth), groups, replicates_for(len(runs) * truth.size)
    )


def redrawn_precision(truth: np.ndarray, runs: Sequence[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The mean average precision for many weightings of the images at once, or its mean over several runs.

    Args:
        truth: (images, classes) booleans.
        runs: the probabilities of each, (images, classes).

    Returns:
        A function that takes weights (weightings, images) and gives (weightings,), NaN where there is none.
    """
    measurable = [index for index in range(truth.shape[1]) if truth[:, index].any()]

    def statistic(weights: np.ndarray) -> np.ndarray:
        by_class = np.stack(
            [
                weighted_average_precision(truth[:, index], probabilities[:, index], weights)
                for probabilities in runs
                for index in measurable
            ]
        )
        # A class that a draw left without an image is no part of that draw's mean.
        there = np.isfinite(by_class)
        classes = there.sum(axis=0)
        total = np.where(there, by_class, 0).sum(axis=0)
        return np.where(classes > 0, total / np.maximum(1, classes), np.nan)

    return statistic


def replicates_for(answers: int) -> int:
    """How often images are drawn again, for so many answers of yes or no."""
    return REPLICATES if answers <= MANY else REPLICATES_OF_MANY


def weighted_average_precision(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The average precision of one class for many weightings of the images at once.

    Args:
        truth: (images,) booleans.
        scores: (images,) of any kind.
        weights: (weightings, images), 0 or more.

    Returns:
        (weightings,); NaN where no image of the class has a weight.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of images with equal scores
    weights = weights[:, order]
    ranked = weights.cumsum(axis=1)[:, ends]
    found = (weights * truth[order]).cumsum(axis=1)[:, ends]
    precision = found / np.maximum(ranked, np.finfo(float).tiny)
    gained = np.diff(found, axis=1, prepend=0)
    total = found[:, -1]
    return np.where(total > 0, (precision * gained).sum(axis=1) / np.where(total > 0, total, 1), np.nan)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None  # of ones exactly one
