"""Labels worth a second look, by confident learning.

Source: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70:
the confident joint (equations 1 and 2), its off-diagonal entries taken for label errors (section 3.2, C_confusion),
ranked by how much more probable the other class is.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from vitral.data import label_text
from vitral.errors import VitralError
from vitral.files import written_whole
from vitral.runs.predictions import Predictions


@dataclass(frozen=True)
class DoubtfulLabel:
    """An image whose label may be wrong.

    Attributes:
        path: as splits.csv spells it.
        label: the given class; multi-label, all given ones.
        suggested: the class that the image is confidently counted to; multi-label, the given ones with one more, or
            one less.
        probability_of_label, probability_of_suggested: what a model that had not learned from the image gave to each;
            multi-label, to the yes or no by which the two differ.
        score: the second less the first, -1..1; the larger, the more it is worth a look.
    """

    path: str
    label: str
    suggested: str
    probability_of_label: float
    probability_of_suggested: float
    score: float


COLUMNS = tuple(field.name for field in fields(DoubtfulLabel))


def doubtful_labels(predictions: Predictions) -> tuple[DoubtfulLabel, ...]:
    """The labels of `predictions` that confident learning doubts, the most doubtful first.

    Args:
        predictions: answers of models that had not learned from the image that they answer; labels that are none of
            `class_names` are passed over.
    """
    number = {name: index for index, name in enumerate(predictions.class_names)}
    labels = np.array([number.get(label, -1) for label in predictions.labels])
    suggested = confident_classes(labels, predictions.probabilities)
    found = []
    for index in np.flatnonzero((suggested >= 0) & (labels >= 0) & (suggested != labels)):
        given, other = (
            float(predictions.probabilities[index, label]) for label in (labels[index], suggested[index])
        )
        name = predictions.class_names[suggested[index]]
        found.append(
            DoubtfulLabel(
                predictions.paths[index], predictions.labels[index], name, given, other, other - given
            )
        )
    return tuple(sorted(found, key=lambda one: -one.score))


def doubtful_answers(predictions: Predictions) -> tuple[DoubtfulLabel, ...]:
    """The same for several labels an image: of every class, the yes or no that confident learning doubts.

    Args:
        predictions: as for `doubtful_labels`; an image may be among the doubtful ones for several classes.
    """
    found = []
    has, names = predictions.has_label(), np.array(predictions.class_names, dtype=object)
    for column in range(len(names)):
        yes = predictions.probabilities[:, column]
        given = has[:, column].astype(np.int64)
        answers = np.stack([1 - yes, yes], axis=1)
        suggested = confident_classes(given, answers)
        for index in np.flatnonzero((suggested >= 0) & (suggested != given)):
            other = has[index].copy()
            other[column] = not other[column]
            of_label, of_other = float(answers[index, given[index]]), float(answers[index, suggested[index]])
            texts = (predictions.labels[index], label_text(names[other]))
            found.append(
                DoubtfulLabel(predictions.paths[index], *texts, of_label, of_other, of_other - of_label)
            )
    return tuple(sorted(found, key=lambda one: -one.score))


def confident_classes(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The class that each image is confidently counted to, -1 where there is none: (images,) integers.

    A class counts an image where it gives it at least the probability that it gives on average to the images that
    have its label; of several such classes the most probable one counts it.

    Args:
        labels: (images,) given classes; -1 for none of them.
        probabilities: (images, classes), out of sample.
    """
    classes = probabilities.shape[1]
    thresholds = np.full(classes, np.inf)  # without an image there is no knowing what is probable enough
    for label in range(classes):
        if np.any(labels == label):
            thresholds[label] = probabilities[labels == label, label].mean()
    enough = probabilities >= thresholds
    best = np.where(enough, probabilities, -1.0).argmax(axis=1)
    return np.where(enough.any(axis=1), best, -1)


def write_second_look(path: str | Path, labels: Sequence[DoubtfulLabel]) -> None:
    """Write second_look.csv: the attributes of `DoubtfulLabel` as columns, whole or not at all."""
    with written_whole(path, "w") as file:
        writer = csv.writer(file, lineterminator="\r\n")  # names that hold either of the two are then quoted
        writer.writerow(COLUMNS)
        for one in labels:
            texts, numbers = (one.path, one.label, one.suggested), (one.probability_of_label,)
            numbers += (one.probability_of_suggested, one.score)
            writer.writerow([*texts, *(f"{value:.6f}" for value in numbers)])


def read_second_look(path: str | Path) -> tuple[DoubtfulLabel, ...]:
    """Read what `write_second_look` wrote; VitralError where there is no such file, or it is damaged."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            lines = csv.reader(file, strict=True)
            if tuple(next(lines, [])) != COLUMNS:
                raise ValueError(f"its columns are not {','.join(COLUMNS)}")
            found = []
            for path_, label, suggested, *numbers in lines:
                of_label, of_suggested, score = map(float, numbers)
                found.append(DoubtfulLabel(path_, label, suggested, of_label, of_suggested, score))
            return tuple(found)
    except FileNotFoundError:
        raise VitralError(
            f"{path} does not exist: it is written when all folds have been tested, so finish the run with --resume"
        ) from None
    except (TypeError, ValueError, csv.Error) as error:
        raise VitralError(f"{path} is damaged ({error}): delete it and evaluate the run again") from error
