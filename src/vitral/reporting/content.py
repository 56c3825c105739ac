"""What a run folder says, read once for figures and pages."""

import json
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vitral.errors import VitralError
from vitral.runs import RunFolder, read_predictions, share_right


@dataclass(frozen=True)
class Majority:
    """What always answering the commonest class of the evaluated images gives."""

    label: str
    accuracy: float


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers to the images of one split, one entry an image; `confidence` is the answer's probability."""

    paths: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray

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
    def majority(self) -> Majority | None:
        """The baseline of the evaluated split; None before evaluation."""
        if self.evaluation is None:
            return None
        per_class = self.evaluation["per_class"]
        label = max(per_class, key=lambda name: per_class[name]["images"])
        return Majority(label, self.evaluation["majority_accuracy"])

    @property
    def is_weak(self) -> bool:
        """Whether the accuracy cannot be told from always answering the commonest class."""
        evaluation = self.evaluation
        return (
            evaluation is not None and evaluation["accuracy_interval"][0] <= evaluation["majority_accuracy"]
        )

    @cached_property
    def answers(self) -> Answers | None:
        """The answers to the evaluated split; None before evaluation."""
        if self.evaluation is None or not self.folder.predictions.exists():
            return None
        predictions = read_predictions(self.folder.predictions)
        chosen = np.flatnonzero(np.array(predictions.splits) == self.evaluation["split"])
        return Answers(
            tuple(predictions.paths[index] for index in chosen),
            np.array(predictions.labels, dtype=object)[chosen],
            np.array(predictions.predicted, dtype=object)[chosen],
            predictions.probabilities[chosen].max(axis=1, initial=0.0),
        )

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
    return RunContent(
        folder=folder,
        facts=folder.read_run(),
        metrics=folder.read_metrics(),
        evaluation=_read_json(folder.evaluation),
        recipe=_read_toml(folder.recipe),
        config=_read_json(folder.config) or {},
    )


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
