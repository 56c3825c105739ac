"""What belongs to a network besides its numbers, as it travels inside a file that is deployed. No torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from vitral import __version__
from vitral.errors import ConfigError, WeightsError, one_line
from vitral.images import Preprocessing

KEY = "vitral"
"""Under this name a file's metadata hold it: metadata_props of ONNX, rt_info of OpenVINO, extra_files of torch."""


@dataclass(frozen=True)
class Description:
    """What a deployed network takes and answers.

    Args:
        class_names: one an output; () for a network that gives vectors.
        preprocessing: what images go through on their way to it.
        precision: what it computes in: fp32, bf16, fp16 or int8.
        thresholds: of a multi-label classifier, one a class.
        architecture: `ViTConfig.to_dict()`, for whoever wants to know.
        preprocessing_inside: whether the graph takes one picture of any size, and resizes it itself.
        measured: what an export found of itself, such as "difference", the largest of a probability from the fp32
            network in torch.
    """

    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    precision: str
    thresholds: tuple[float, ...] | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)
    preprocessing_inside: bool = False
    measured: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON."""
        content = {
            "format": "vitral",
            "version": 1,
            "vitral": __version__,
            "class_names": list(self.class_names),
            "preprocessing": self.preprocessing.to_dict(),
            "precision": self.precision,
            "thresholds": None if self.thresholds is None else list(self.thresholds),
            "architecture": dict(self.architecture),
            "preprocessing_inside": self.preprocessing_inside,
            "measured": dict(self.measured),
        }
        return json.dumps(content, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, place: str) -> Self:
        """The inverse; `place` is named in errors.

        Raises:
            WeightsError: it is damaged, of a newer format, or not vitral's.
        """
        try:
            content = json.loads(text)
            if content["format"] != "vitral":
                raise ValueError("it is not vitral's")
            if content["version"] != 1:
                raise WeightsError(
                    f"{place} is of version {content['version']!r}, this vitral reads 1: upgrade vitral"
                )
            class_names = tuple(map(str, content["class_names"]))
            thresholds = content["thresholds"]
            if thresholds is not None:
                thresholds = tuple(map(float, thresholds))
                if len(thresholds) != len(class_names):
                    raise ValueError("it has not one threshold a class")
            return cls(
                class_names,
                Preprocessing.from_dict(content["preprocessing"]),
                str(content["precision"]),
                thresholds,
                dict(content["architecture"]),
                bool(content.get("preprocessing_inside", False)),
                dict(content.get("measured", {})),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
            raise WeightsError(
                f"{place} does not say what it takes and answers ({one_line(error)}): export it again with vitral"
            ) from error
