"""What a run folder says, read once for figures and pages."""

import csv
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vitral.errors import VitralError
from vitral.inference.classifier import certainty
from vitral.runs import RunFolder, read_predictions, share_right

AVERAGE_PRECISION = "mean_average_precision"


@dataclass(frozen=True)
class Chance:
    """What can be had without looking at the images, by one measure.

    Args:
        label: the commonest class, or combination of labels, that is always answered; "" where images are ranked at
            random.
        value: what that gives.
    """

    label: str
    value: float


@dataclass(frozen=True)
class Headline:
    """The figure by which a run is judged: its value, its 95 % interval, and what chance gives.

    `measure` is `accuracy`, or `mean_average_precision` where an image may have several labels.
    """

    measure: str
    value: float
    interval: tuple[float, float]
    chance: Chance

    @property
    def is_weak(self) -> bool:
        """Whether the figure cannot be told from chance."""
        return self.interval[0] <= self.chance.value


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers to the images of one split, one entry an image.

    Attributes:
        paths, labels, predicted: which image, its true label and the answer, as predictions.csv has them.
        confidence: the answer's probability.
        probabilities, came_true: what the model gave as probable, and whether it was so: the answers' confidence and
            whether they are right; multi-label, the probability of each class for each image, and whether it has it.
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray
    came_true: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """(images,) booleans."""
        return self.labels == self.predicted


@dataclass(frozen=True, eq=False)
class RunContent:
    """The files of a run; what an unfinished run has not written yet is None or empty."""

    folder: RunFolder
    facts: dict[str, Any]
    metrics: list[dict[str, Any]]
    evaluation: dict[str, Any] | None
    recipe: dict[str, Any]
    config: dict[str, Any]

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def name(self) -> str:
        """The folder's own name, without the places above it."""
        return self.path.resolve().name

    @property
    def kind(self) -> str | None:
        """What was repeated, "folds" or "seeds"; None for a single training."""
        return self.facts.get("kind")

    @property
    def best_epoch(self) -> int | None:
        """The epoch that the validation images chose; None where nothing was chosen."""
        best = self.facts.get("best") or {}
        return best.get("epoch") if best.get("metric") else None

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels; False before evaluation."""
        return self.evaluation is not None and AVERAGE_PRECISION in self.evaluation

    @property
    def headline(self) -> Headline | None:
        """The figure by which the run is judged; None before evaluation."""
        if self.evaluation is None:
            return None
        # Images without a single label have no average precision.
        ranked = self.evaluation.get(AVERAGE_PRECISION) is not None
        measure = AVERAGE_PRECISION if ranked else "accuracy"
        low, high = self.evaluation[f"{measure}_interval"]
        chance = self.chance(measure)
        assert chance is not None
        return Headline(measure, self.evaluation[measure], (low, high), chance)

    @property
    def curve_measure(self) -> str:
        """What stands beside the loss in the curves: accuracy or mean average precision, whichever epochs tell."""
        ranked = any(key.endswith(AVERAGE_PRECISION) for line in self.metrics for key in line)
        return AVERAGE_PRECISION if ranked else "accuracy"

    def chance(self, measure: str) -> Chance | None:
        """What chance gives in the evaluated split, by accuracy or mean average precision; None before evaluation."""
        evaluation = self.evaluation
        if evaluation is None:
            return None
        if measure == AVERAGE_PRECISION:
            value = evaluation["chance_average_precision"]
            return None if value is None else Chance("", value)
        if self.multi_label:
            return Chance(evaluation["majority_label"], evaluation["majority_accuracy"])
        per_class = evaluation["per_class"]
        label = max(per_class, key=lambda name: per_class[name]["images"])
        return Chance(label, evaluation["majority_accuracy"])

    @cached_property
    def answers(self) -> Answers | None:
        """The answers to the evaluated split; None before evaluation."""
        if self.evaluation is None or not self.folder.predictions.exists():
            return None
        predictions = read_predictions(self.folder.predictions).of_split(self.evaluation["split"])
        paths, probabilities = predictions.paths, predictions.probabilities
        labels, predicted = (
            np.array(texts, dtype=object) for texts in (predictions.labels, predictions.predicted)
        )
        if self.multi_label:
            confidence = certainty(probabilities, predictions.has_predicted())
            truth = predictions.has_label()
            return Answers(paths, labels, predicted, confidence, probabilities.ravel(), truth.ravel())
        confidence = probabilities.max(axis=1, initial=0.0)
        return Answers(paths, labels, predicted, confidence, confidence, labels == predicted)

    @cached_property
    def known_images(self) -> dict[str, tuple[str, str]]:
        """Group and content hash of each image in `splits.csv`, by path."""
        try:
            with self.folder.splits.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
                return {row["path"]: (row["group"], row["hash"]) for row in csv.DictReader(file)}
        except FileNotFoundError:
            return {}

    @cached_property
    def correct(self) -> np.ndarray | None:
        """(images,) 0..1, whether each of `answers` is right; of several seeds the share of those that are."""
        if self.answers is None:
            return None
        if self.kind != "seeds":
            return self.answers.right.astype(np.float64)
        shares = share_right(self.folder)
        return np.array([shares[path] for path in self.answers.paths])


def read_run(path: str | Path) -> RunContent:
    """Read a run folder, finished or not.

    Raises:
        UsageError: the folder holds no run.
        VitralError: a file of it is damaged.
    """
    folder = RunFolder(Path(path))
    facts = folder.read_run()
    parts = folder.parts()
    return RunContent(
        folder=folder,
        facts=facts,
        metrics=folder.read_metrics(),
        evaluation=_read_json(folder.evaluation),
        recipe=_read_toml(folder.recipe),
        config=_read_json((parts[0] if parts else folder).config) or {},
    )


def images_by_split(data: Mapping[str, Any]) -> dict[str, int]:
    """How many images each split has, from what run.json says of DATA."""
    return data.get("images_by_split") or {
        split: sum(by_class.values()) for split, by_class in data["images"].items()
    }


def images_by_fold(data: Mapping[str, Any]) -> list[int]:
    """The same for each fold."""
    return data.get("images_by_fold") or [sum(by_class.values()) for by_class in data["folds"]]


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise VitralError(f"{path} is damaged ({error}): restore the file, or evaluate again") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise VitralError(f"{path} is damaged ({error}): restore the file") from error
