"""WEIGHTS to files on this machine."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitral.errors import UsageError, WeightsError

CONFIG, PROCESSOR, TENSORS = "config.json", "preprocessor_config.json", "model.safetensors"
# What a folder's tensors may be called, in the order of preference.
NAMES = (TENSORS, "model.safetensors.index.json", "pytorch_model.bin", "model.npz", "model.pth")
SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Source:
    """The files behind WEIGHTS.

    Args:
        weights: as the user wrote it.
        tensors: the file with the tensors, or the index of several.
        config: the content of the config.json that belongs to it, {} where there is none.
        processor: of its preprocessor_config.json.
    """

    weights: str
    tensors: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether these are vitral's."""
        return self.config.get("format") == "vitral"


def is_weights(text: str) -> bool:
    """Whether a word is WEIGHTS rather than the name of an architecture: a path that is there, or a hub's name."""
    return Path(text).exists() or text.partition(":")[0] in ("hf", "timm", "torchvision")


def find_source(weights: str | Path) -> Source:
    """The files that WEIGHTS mean.

    Raises:
        UsageError: there is nothing of this kind.
        WeightsError: a file beside the tensors is damaged.
    """
    path = Path(weights)
    if path.is_dir():
        return _in_folder(str(weights), path)
    if path.is_file():
        if path.name in NAMES:  # then what stands beside it belongs to it
            return Source(str(weights), path, _json(path.parent / CONFIG), _json(path.parent / PROCESSOR))
        return Source(str(weights), path)
    raise UsageError(f"there are no weights at {weights}: give a run's folder, a checkpoint's folder or a file")


def _in_folder(weights: str, folder: Path) -> Source:
    tensors = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if tensors is None:
        others = [file for file in sorted(folder.iterdir()) if file.suffix in SUFFIXES and file.is_file()]
        if len(others) != 1:
            found = "several files of weights: give one of them" if others else f"no {TENSORS} and no other weights"
            raise UsageError(f"{folder} holds {found}")
        (tensors,) = others
    return Source(weights, tensors, _json(folder / CONFIG), _json(folder / PROCESSOR))


def _json(file: Path) -> dict[str, Any]:
    """The object in a JSON file, {} where there is none.

    Raises:
        WeightsError: the file is damaged.
    """
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read ({error}): fetch it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{file} is no JSON object: fetch it again")
    return content
