"""A run as its user meets it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitral.errors import VitralError
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
        try:
            return json.loads(RunFolder(self.path).evaluation.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise VitralError(
                f"{self.path} has no evaluation.json: finish the run with `vitral train --resume {self.path}`, "
                f"or measure what there is with `vitral evaluate {self.path}`"
            ) from error

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """metrics.jsonl, one dict an epoch."""
        return RunFolder(self.path).read_metrics()

    def classifier(self, *, device: str = "auto", precision: str = "auto") -> Classifier:
        """The trained model, ready to predict."""
        return Classifier.load(self.path, device=device, precision=precision)
