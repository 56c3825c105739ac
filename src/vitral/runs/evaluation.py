"""What a split's predictions are worth: accuracy with its interval, and what stands beside it.

Nothing here knows a network: labels and probabilities go in, the figures of `evaluation.json` come out.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np

from vitral.errors import DataError, WeightsError
from vitral.runs.intervals import Interval, effective_images, group_codes, wilson_interval

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class ClassFigures:
    """One class of the model against all the others.

    Attributes:
        precision: of the images called so, the share that are; 0 where none was called so (as scikit-learn).
        recall: of the images that are, the share that were called so; None without an image in the split.
        recall_interval: 95 %, by groups where there are groups; None without an image in the split.
        f1: harmonic mean of the two. None, as precision is, where the split has no image of the class and
            none was called so.
        images: how many images of the class the split has.
    """

    precision: float | None
    recall: float | None
    recall_interval: Interval | None
    f1: float | None
    images: int


@dataclass(frozen=True)
class Evaluation:
    """How well one model answers one split; shares are 0..1.

    Images of a class that the model does not know are part of every figure, as the mistakes that they are,
    except where no figure exists for them: `loss` (no probability was given to the truth), `per_class` and
    `confusion_matrix` (the model's classes only), which leave them out.

    Attributes:
        split: "train", "validation" or "test".
        images: how many images every figure stands on, those of unknown classes included.
        classes: the model's class names, in the order of the probabilities and of the confusion matrix.
        accuracy: share of the images whose most probable class is the true one.
        accuracy_interval: 95 %, Wilson's; where images share groups, by the number of independent images
            that their groups are worth.
        balanced_accuracy: mean recall over the classes that the split has, unknown ones included (recall 0).
        macro_f1: mean F1 over the classes that the split has or that were predicted, unknown ones included.
        auroc: area under the curve of each class against the rest, mean over the classes for which the split
            has both; None if there is no such class.
        majority_accuracy: what always answering the commonest of the model's classes in this split gives.
        accuracy_top5: share of the images whose true class is among the five most probable; None with five
            classes or fewer.
        loss: mean negative natural logarithm of the true class's probability; None if no image has one.
        calibration_error: expected calibration error of the most probable class, in 15 bins of equal width
            (Guo et al. 2017, equation 3).
        per_class: the figures of each of the model's classes, by name.
        confusion_matrix: number of images; rows are the true class, columns the predicted one.
        missing_classes: the model's classes of which the split has no image.
        unknown_classes: number of images by true class, for classes that the model does not know.
        groups: how many groups the intervals stand on; None where every image stands for itself.
    """

    split: str
    images: int
    classes: tuple[str, ...]
    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float
    macro_f1: float
    auroc: float | None
    majority_accuracy: float
    accuracy_top5: float | None
    loss: float | None
    calibration_error: float
    per_class: dict[str, ClassFigures]
    confusion_matrix: tuple[tuple[int, ...], ...]
    missing_classes: tuple[str, ...]
    unknown_classes: dict[str, int]
    groups: int | None

    def to_dict(self, *, device: str, backend: str, precision: str) -> dict[str, Any]:
        """The content of `evaluation.json`, ready for JSON; the arguments say what computed the answers."""
        return plain(self) | {"device": device, "backend": backend, "precision": precision}


def evaluate_predictions(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    *,
    split: str,
    groups: Sequence[str] | None = None,
    unknown: Sequence[str] = (),
) -> Evaluation:
    """Measure predictions against the truth.

    Args:
        labels: (images,) integers, the true class's position in `class_names`; -1 for a class that the model
            does not know.
        probabilities: (images, classes), 0..1. The largest is the prediction, the first of equals.
        class_names: the model's classes, each name once.
        split: which split the images are of.
        groups: the name of the group (patient, product, scene) of each image; an empty name is a group of
            its own. None where images are independent.
        unknown: the true class names of the images labelled -1, in the order in which they stand in `labels`.

    Raises:
        DataError: there is no image.
        WeightsError: a probability is not a finite number.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    _check(labels, probabilities, class_names, split, groups, unknown)
    predicted = probabilities.argmax(axis=1)
    correct = predicted == labels
    known = labels >= 0
    codes = group_codes(groups)
    counts = np.bincount(labels[known], minlength=len(class_names))
    per_class, balanced_accuracy, macro_f1 = _class_figures(labels, predicted, class_names, unknown, codes)
    return Evaluation(
        split=split,
        images=len(labels),
        classes=tuple(class_names),
        accuracy=float(correct.mean()),
        accuracy_interval=accuracy_interval(correct, codes),
        balanced_accuracy=balanced_accuracy,
        macro_f1=macro_f1,
        auroc=_auroc(labels, probabilities),
        majority_accuracy=float(counts.max() / len(labels)),
        accuracy_top5=_top5(labels, probabilities),
        loss=_loss(labels[known], probabilities[known]),
        calibration_error=calibration_error(probabilities.max(axis=1), correct),
        per_class=per_class,
        confusion_matrix=_confusion_matrix(labels[known], predicted[known], len(class_names)),
        missing_classes=tuple(name for name, count in zip(class_names, counts, strict=True) if count == 0),
        unknown_classes=dict(sorted(Counter(unknown).items())),
        groups=len(np.unique(codes)) if codes is not None else None,
    )


def _class_figures(
    labels: np.ndarray,
    predicted: np.ndarray,
    class_names: Sequence[str],
    unknown: Sequence[str],
    groups: np.ndarray | None,
) -> tuple[dict[str, ClassFigures], float, float]:
    """The figures by class, the balanced accuracy and the macro F1."""
    from sklearn.metrics import precision_recall_fscore_support

    # Unknown classes become classes of their own after the model's, never predicted and so always wrong.
    unknown_names, unknown_codes = np.unique(np.asarray(unknown, dtype=object), return_inverse=True)
    true = labels.copy()
    true[labels < 0] = len(class_names) + unknown_codes
    every = np.arange(len(class_names) + len(unknown_names))
    precision, recall, f1, images = (
        np.asarray(figure)
        for figure in precision_recall_fscore_support(
            true,
            predicted,
            labels=every,
            zero_division=0,  # pyright: ignore[reportArgumentType]  (its type is read off the default, "warn")
        )
    )
    present = images > 0
    seen = present | np.isin(every, predicted)
    per_class = {}
    for index, name in enumerate(class_names):
        of_class = labels == index
        per_class[name] = ClassFigures(
            precision=float(precision[index]) if seen[index] else None,
            recall=float(recall[index]) if present[index] else None,
            recall_interval=accuracy_interval(
                predicted[of_class] == index, None if groups is None else groups[of_class]
            )
            if present[index]
            else None,
            f1=float(f1[index]) if seen[index] else None,
            images=int(images[index]),
        )
    return per_class, float(recall[present].mean()), float(f1[seen].mean())


def _auroc(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Each class against the rest, mean over those that can be measured."""
    from sklearn.metrics import roc_auc_score

    areas = [
        roc_auc_score(labels == index, probabilities[:, index])
        for index in np.unique(labels[labels >= 0])
        if np.any(labels != index)
    ]
    return float(np.mean(areas)) if areas else None


def _top5(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    if probabilities.shape[1] <= 5:
        return None
    # A stable sort, so that among equals the first class wins here as it does in `accuracy`.
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    return float((best == labels[:, None]).any(axis=1).mean())


def _loss(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    if len(labels) == 0:
        return None
    of_truth = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    # Networks answer in float32 at best: a probability below its smallest number means "as good as none".
    return float(np.abs(np.log(np.maximum(of_truth, np.finfo(np.float32).tiny))).mean())


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean distance of confidence from accuracy over the bins, weighted by their number of answers."""
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.searchsorted(edges[1:-1], confidence)  # a bin holds its upper edge, as in the paper
    gap = np.bincount(bins, weights=confidence - correct.astype(np.float64))
    return float(np.abs(gap).sum() / len(confidence))


def _confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[tuple[int, ...], ...]:
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return tuple(map(tuple, counts.reshape(classes, classes).tolist()))


def accuracy_interval(correct: np.ndarray, groups: np.ndarray | None) -> Interval:
    """Of the share of right answers, by groups (integers) where there are groups."""
    return wilson_interval(float(correct.mean()), effective_images(correct, groups))


def plain(value: Any) -> Any:
    """Tuples as lists and dataclasses as dicts, all the way down."""
    if is_dataclass(value):
        return {name: plain(field) for name, field in vars(value).items()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def _check(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    split: str,
    groups: Sequence[str] | None,
    unknown: Sequence[str],
) -> None:
    check_answers(len(labels), probabilities, class_names, split, groups)
    if labels.min() < -1 or labels.max() >= len(class_names):
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}, classes to {len(class_names) - 1}"
        )
    if len(unknown) != np.count_nonzero(labels == -1) or set(unknown) & set(class_names):
        raise ValueError("`unknown` must name the class of each image labelled -1, none of them the model's")


def check_answers(
    images: int,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    split: str,
    groups: Sequence[str] | None,
) -> None:
    """Make sure that probabilities belong to so many images and to the classes.

    Raises:
        DataError: there is no image.
        WeightsError: a probability is not a finite number.
    """
    if images == 0:
        raise DataError(f"the {split} split has no image to evaluate: choose another split or other data")
    if probabilities.shape != (images, len(class_names)):
        raise ValueError(
            f"probabilities are {probabilities.shape} for {images} labels and {len(class_names)} classes"
        )
    if len(set(class_names)) != len(class_names):
        raise ValueError("a class name stands twice among the model's classes")
    if groups is not None and len(groups) != images:
        raise ValueError(f"{len(groups)} groups for {images} labels")
    if not np.isfinite(probabilities).all():
        raise WeightsError(
            "the model answers with numbers that are not finite: "
            "compute in --precision fp32, or train again with a lower --learning-rate"
        )
