"""predictions.csv: what a run answered for each image that it did not learn from."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitral.data import label_names, label_text
from vitral.errors import VitralError
from vitral.files import written_whole

# The columns after these are the classes, by position: a class may itself be called "path".
COLUMNS = ("path", "label", "split", "predicted")


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row an image.

    Attributes:
        class_names: the model's classes, in the order of `probabilities`.
        paths: the images, as `splits.csv` spells them.
        labels: the true classes, by name; may be one that the model does not know. Multi-label, `a|b`.
        splits: "train", "validation" or "test".
        predicted: the predicted classes, by name; multi-label, `a|b`.
        probabilities: (images, classes), 0..1; the file keeps every digit, for figures computed from it.
    """

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    predicted: tuple[str, ...]
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        images = {len(self.paths), len(self.labels), len(self.splits), len(self.predicted)}
        if images != {len(self.paths)} or self.probabilities.shape != (
            len(self.paths),
            len(self.class_names),
        ):
            raise ValueError("paths, labels, splits, predicted and probabilities do not belong together")

    def of_split(self, split: str) -> "Predictions":
        """The rows of one split."""
        chosen = [index for index, one in enumerate(self.splits) if one == split]
        paths, labels, splits, predicted = (
            tuple(column[index] for index in chosen)
            for column in (self.paths, self.labels, self.splits, self.predicted)
        )
        return Predictions(self.class_names, paths, labels, splits, predicted, self.probabilities[chosen])

    def has_label(self) -> np.ndarray:
        """(images, classes) booleans: which of the classes each image has."""
        return self._of(self.labels)

    def has_predicted(self) -> np.ndarray:
        """(images, classes) booleans: which of the classes each image was answered with."""
        return self._of(self.predicted)

    def _of(self, texts: Sequence[str]) -> np.ndarray:
        # A class of its own may hold a |, where weights of other origin name it so.
        named = [{text} if text in self.class_names else set(label_names(text)) for text in texts]
        found = [[name in names for name in self.class_names] for names in named]
        return np.array(found, dtype=bool).reshape(len(texts), len(self.class_names))


def answered(
    class_names: Sequence[str], probabilities: np.ndarray, thresholds: Sequence[float] | None = None
) -> tuple[str, ...]:
    """What each image is answered with: the most probable class; multi-label, `a|b` of those at their thresholds.

    Args:
        class_names: one a column.
        probabilities: (images, classes).
        thresholds: of a multi-label classifier, one a class.
    """
    if thresholds is None:
        best: list[int] = probabilities.argmax(axis=1).tolist()
        return tuple(class_names[index] for index in best)
    names = np.array(class_names, dtype=object)
    return tuple(label_text(names[reached]) for reached in probabilities >= np.asarray(thresholds))


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write `predictions` to `path` as UTF-8 csv (RFC 4180), whole or not at all."""
    with written_whole(path) as file:
        # File names need not be UTF-8 on Linux: their bytes go through as they are, and come back so.
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        # The default line end "\r\n" makes the writer quote names that hold either of the two.
        writer = csv.writer(text)
        writer.writerow([*COLUMNS, *predictions.class_names])
        for *names, probabilities in zip(
            predictions.paths,
            predictions.labels,
            predictions.splits,
            predictions.predicted,
            predictions.probabilities,
            strict=True,
        ):
            writer.writerow([*names, *map(str, probabilities)])
        text.flush()
        text.detach()


def read_predictions(path: str | Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises:
        VitralError: there is no such file, or it is not of this form; the text names the line.
    """
    path = Path(path)
    try:
        # A byte order mark, which Excel leaves, is no part of the first heading.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return _parse(csv.reader(file, strict=True), path)
    except FileNotFoundError as error:
        raise VitralError(
            f"{path} does not exist: it is written when training ends, so finish the run with --resume"
        ) from error


def _parse(reader, path: Path) -> Predictions:  # reader: what csv.reader returns has no public name
    columns: tuple[list[str], ...] = ([], [], [], [])
    probabilities = []
    try:
        header = next(reader, [])
        if tuple(header[: len(COLUMNS)]) != COLUMNS:
            raise ValueError(f"the first columns must be {','.join(COLUMNS)}")
        for row in reader:
            if len(row) != len(header):
                raise ValueError(f"{len(row)} fields instead of {len(header)}")
            for column, value in zip(columns, row, strict=False):
                column.append(value)
            probabilities.append(np.array(row[len(COLUMNS) :], dtype=np.float64))
    except (ValueError, csv.Error) as error:
        raise VitralError(
            f"{path} is damaged in line {max(1, reader.line_num)} ({error}): restore the file, or train again"
        ) from error
    paths, labels, splits, predicted = map(tuple, columns)
    class_names = tuple(header[len(COLUMNS) :])
    values = np.array(probabilities).reshape(len(paths), len(class_names))
    return Predictions(class_names, paths, labels, splits, predicted, values)
