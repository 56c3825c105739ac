"""A run as its user meets it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitral.inference import Classifier
from vitral.runs import RunFolder


@dataclass(frozen=True)
class Run:
    """What a training left.

    Args:
        path: the run folder.
        overview: what was known before the first step; empty for a run that was only opened.
    """

    path: Path
    overview: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def metrics(self) -> dict[str, Any]:
        """evaluation.json. Raises VitralError where the run has not come so far."""
        return RunFolder(self.path).read_evaluation()

    @property
    def runs(self) -> "tuple[Run, ...]":
        """The runs of the folds or seeds that stand below this one so far; empty for a single training."""
        return tuple(Run(part.path) for part in RunFolder(self.path).parts())

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """metrics.jsonl, one dict an epoch."""
        return RunFolder(self.path).read_metrics()

    def classifier(
        self, *, backend: str = "auto", device: str = "auto", precision: str = "auto"
    ) -> Classifier:
        """The trained model, ready to predict."""
        return Classifier.load(self.path, backend=backend, device=device, precision=precision)
