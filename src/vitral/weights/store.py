"""A model on disk: config.json and model.safetensors, side by side."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from vitral.errors import ConfigError, UsageError, WeightsError
from vitral.files import write_json, written_together
from vitral.images import Preprocessing
from vitral.model import VisionTransformer, ViTConfig, model_without_weights
from vitral.weights.index import hash_of
from vitral.weights.rules import Form, shape
from vitral.weights.source import CONFIG, TENSORS, Source
from vitral.weights.tensors import read_tensors


@dataclass(frozen=True)
class Origin:
    """Where weights came from, before vitral.

    Args:
        family: one of `vitral.weights.families.FAMILIES`.
        form: how their file was laid out.
        assumed: fields that nothing in their files settled, and why they were taken to be so.
    """

    family: str
    form: Form = field(default_factory=dict)
    assumed: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For config.json."""
        return {"family": self.family, "form": self.form, "assumed": dict(self.assumed)}


@dataclass(frozen=True)
class Checkpoint:
    """A network with what belongs to it.

    Args:
        config, preprocessing, tensors: its architecture, what its images go through, and its weights.
        class_names: one for each output; () where the outputs are no classes.
        thresholds: one a class, the probability from which on an image has it, where an image may have several classes;
            None where it has exactly one.
        origin: of weights that somebody else's code trained.
        file: where the tensors were read.
    """

    config: ViTConfig
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    tensors: dict[str, torch.Tensor]
    origin: Origin | None = None
    file: Path | None = None
    thresholds: tuple[float, ...] | None = None

    def hash(self) -> str | None:
        """SHA-256 of the file with the tensors, or over those of all files that an index names; None without a file."""
        return None if self.file is None else hash_of(self.file)

    def model(self) -> VisionTransformer:
        """The network itself, in fp32 and in evaluation mode, around these very tensors where they are fp32.

        Raises:
            WeightsError: the tensors are not those of the architecture; the first is named with both shapes.
        """
        if self.config.layers > len(self.tensors):  # before a network of this size is made
            raise WeightsError(
                f"the weights do not fit the architecture in config.json: {len(self.tensors)} tensors are not those of "
                f"{self.config.layers} layers; take config.json and model.safetensors from one run"
            )
        model = model_without_weights(self.config)
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        found = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise WeightsError(
                    f"the weights do not fit the architecture in config.json: {name} is {shape(found.get(name))} "
                    f"instead of {shape(expected.get(name))}; take config.json and model.safetensors from one run"
                )
        model.load_state_dict({name: tensor.float() for name, tensor in self.tensors.items()}, assign=True)
        return model.eval()


def find_checkpoint(weights: str | Path) -> Path:
    """The folder with config.json and model.safetensors that a RUN or a checkpoint of vitral's means.

    Raises:
        UsageError: there is none.
    """
    folder = Path(weights)
    if folder.name == TENSORS and folder.is_file():
        folder = folder.parent
    if not folder.exists():
        raise UsageError(
            f"there are no weights at {weights}: give a run's folder, with {CONFIG} and {TENSORS}"
        )
    for name in (CONFIG, TENSORS):
        if not (folder / name).is_file():
            raise UsageError(f"{folder} holds no {name}: give the folder of a run or of vitral's checkpoint")
    return folder


def read_own(source: Source) -> Checkpoint:
    """Read a run or checkpoint folder of vitral's.

    Raises:
        WeightsError: its files are damaged or of a newer format.
    """
    config, preprocessing, class_names = read_config(source.tensors.parent)
    thresholds = _thresholds(source.config.get("thresholds"), class_names, source.tensors.parent / CONFIG)
    tensors, _ = read_tensors(source.tensors)
    content = source.config.get("origin")
    origin = None
    if isinstance(content, Mapping) and isinstance(content.get("family"), str):
        origin = Origin(
            content["family"], dict(content.get("form") or {}), dict(content.get("assumed") or {})
        )
    return Checkpoint(config, preprocessing, class_names, tensors, origin, source.tensors, thresholds)


def _thresholds(content: Any, class_names: Sequence[str], file: Path) -> tuple[float, ...] | None:
    """Those of a config.json, where the class names stand beside them; None where it has none."""
    if content is None:
        return None
    if not isinstance(content, Mapping) or set(content) != set(class_names):
        raise WeightsError(f"{file} has not one threshold a class: restore it from the run")
    values = [content[name] for name in class_names]
    if not all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in values):
        raise WeightsError(f"{file} has thresholds that are not between 0 and 1: restore it from the run")
    return tuple(map(float, values))


def read_config(folder: str | Path) -> tuple[ViTConfig, Preprocessing, tuple[str, ...]]:
    """Architecture, preprocessing and class names from a folder's config.json, which may stand there alone.

    Raises:
        WeightsError: the file is missing, damaged or of a newer format.
    """
    file = Path(folder) / CONFIG
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read ({error}): restore it from the run") from error
    if not isinstance(content, dict) or content.get("format") != "vitral":
        raise WeightsError(f'{file} is not vitral\'s ("format": "vitral" is missing): give a run\'s folder')
    if content.get("version") != 1:
        version = content.get("version")
        raise WeightsError(f"{file} is of version {version!r}, this vitral reads 1: upgrade vitral")
    try:
        config = ViTConfig.from_dict(content["architecture"])
        preprocessing = Preprocessing.from_dict(content["preprocessing"])
        class_names = tuple(map(str, content["class_names"]))
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise WeightsError(f"{file} is damaged ({error}): restore it from the run") from error
    if class_names and len(class_names) != config.num_classes:
        counts = f"{len(class_names)} classes for {config.num_classes} outputs"
        raise WeightsError(f"{file} names {counts}: restore it from the run")
    return config, preprocessing, class_names


def write_config(
    folder: str | Path,
    config: ViTConfig,
    preprocessing: Preprocessing,
    class_names: Sequence[str],
    origin: Origin | None = None,
    thresholds: Sequence[float] | None = None,
) -> None:
    """Write config.json into `folder`, whole or not at all."""
    content = {
        "format": "vitral",
        "version": 1,
        "architecture": config.to_dict(),
        "preprocessing": preprocessing.to_dict(),
        "class_names": list(class_names),
    }
    if thresholds is not None:
        content["thresholds"] = dict(zip(class_names, thresholds, strict=True))
    if origin is not None:
        content["origin"] = origin.to_dict()
    write_json(Path(folder) / CONFIG, content)


def write_safetensors(file: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors into one file, whole or not at all, without a second copy of them in memory."""
    file = Path(file)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_together(file) as part:
        try:
            safetensors.torch.save_file(contiguous, part / file.name, metadata={"format": "pt"})
        except SafetensorError as error:  # a full disk, too
            if number := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1])), str(file)) from error
            raise


def write_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write the two files into `folder`, each whole or not at all; tensors are kept in their own precision."""
    folder = Path(folder)
    write_safetensors(folder / TENSORS, checkpoint.tensors)
    write_config(
        folder,
        checkpoint.config,
        checkpoint.preprocessing,
        checkpoint.class_names,
        checkpoint.origin,
        checkpoint.thresholds,
    )
