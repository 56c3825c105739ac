"""A model on disk: config.json and model.safetensors, side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from vitral.errors import ConfigError, UsageError, WeightsError
from vitral.files import write_json, written_whole
from vitral.images import Preprocessing
from vitral.model import VisionTransformer, ViTConfig

CONFIG, TENSORS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A network with what belongs to it."""

    config: ViTConfig
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    tensors: dict[str, torch.Tensor]

    def model(self) -> VisionTransformer:
        """The network itself.

        Raises:
            WeightsError: the tensors are not those of the architecture; the first is named with both shapes.
        """
        with torch.random.fork_rng([]):  # its first, random weights leave no trace
            model = VisionTransformer(self.config)
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        found = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise WeightsError(
                    f"the weights do not fit the architecture in config.json: {name} is {_shape(found.get(name))} "
                    f"instead of {_shape(expected.get(name))}; take config.json and model.safetensors from one run"
                )
        model.load_state_dict(self.tensors)
        return model.eval()


def load_model(
    weights: str | Path, *, num_classes: int | None = None, image_size: int | tuple[int, int] | None = None
) -> VisionTransformer:
    """The network behind WEIGHTS, in evaluation mode.

    Args:
        weights: a run or checkpoint folder of vitral's.
        num_classes: where given and another than the checkpoint's, the head starts anew, at zero.
        image_size: (height, width) or one number; the position embeddings are interpolated to it.

    Raises:
        UsageError: there is nothing of this kind.
        WeightsError: damaged or unfitting files.
    """
    model = read_checkpoint(weights).model()
    if image_size is not None:
        model.resize(image_size)
    if num_classes is not None and num_classes != model.config.num_classes:
        model.replace_head(num_classes)
    return model


def find_checkpoint(weights: str | Path) -> Path:
    """The folder with config.json and model.safetensors that WEIGHTS means.

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


def read_checkpoint(weights: str | Path) -> Checkpoint:
    """Read a run or checkpoint folder of vitral's.

    Raises:
        UsageError: there is none.
        WeightsError: its files are damaged or of a newer format.
    """
    folder = find_checkpoint(weights)
    config, preprocessing, class_names = read_config(folder)
    file = folder / TENSORS
    try:
        tensors = safetensors.torch.load_file(file)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} is no whole safetensors file ({error}): copy it again") from error
    return Checkpoint(config, preprocessing, class_names, tensors)


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
    if len(class_names) != config.num_classes:
        counts = f"{len(class_names)} classes for {config.num_classes} outputs"
        raise WeightsError(f"{file} names {counts}: restore it from the run")
    return config, preprocessing, class_names


def write_config(
    folder: str | Path, config: ViTConfig, preprocessing: Preprocessing, class_names: Sequence[str]
) -> None:
    """Write config.json into `folder`, whole or not at all."""
    content = {
        "format": "vitral",
        "version": 1,
        "architecture": config.to_dict(),
        "preprocessing": preprocessing.to_dict(),
        "class_names": list(class_names),
    }
    write_json(Path(folder) / CONFIG, content)


def write_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write the two files into `folder`, each whole or not at all; tensors are kept in their own precision."""
    folder = Path(folder)
    with written_whole(folder / TENSORS) as file:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
        file.write(safetensors.torch.save(contiguous, metadata={"format": "pt"}))
    write_config(folder, checkpoint.config, checkpoint.preprocessing, checkpoint.class_names)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "one number"
