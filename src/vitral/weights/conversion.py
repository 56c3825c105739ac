"""The same network in somebody else's format."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitral.errors import UsageError, WeightsError
from vitral.files import write_json, written_whole
from vitral.images import Preprocessing
from vitral.model import ViTConfig
from vitral.weights.opening import overrides_from, read_checkpoint
from vitral.weights.rules import Tensors
from vitral.weights.store import CONFIG, TENSORS, Checkpoint, write_checkpoint, write_safetensors
from vitral.weights.targets import TARGETS, Refusal
from vitral.weights.targets.common import nearly, unlike

FORMATS = ("vitral", *TARGETS)
SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Args:
        files: that it wrote.
        usage: a line of Python that loads them there; "" for vitral's own.
        approximations: what the format cannot say and says nearly.
        difference: of the logits for that reason: the largest, as a share of the largest logit; None where there are
            no approximations.
    """

    files: tuple[Path, ...]
    usage: str
    approximations: tuple[str, ...]
    difference: float | None


def convert(
    weights: str | Path,
    out: str | Path,
    to: str,
    *,
    approximate: bool = False,
    overwrite: bool = False,
    image_size: int | tuple[int, int] | None = None,
    **said: Any,
) -> Conversion:
    """Write the network behind WEIGHTS in another format.

    Args:
        weights: any WEIGHTS.
        out: a folder; for formats that are one file also that file, `.npz` for JAX, `.safetensors` or `.pth` else.
        to: one of `FORMATS`.
        approximate: write what the format cannot say in the nearest words that it has, and measure what that changes.
        overwrite: replace files that are there.
        image_size: (height, width) or one number, to bring the positions to; None: the weights' own.
        said: about WEIGHTS, see `vitral.weights.Overrides`.

    Raises:
        UsageError: no such format, or files that are there already.
        WeightsError: WEIGHTS are damaged, or the format cannot say them; the text names what.
    """
    if to not in FORMATS:
        raise UsageError(f"there is no format {to!r}: choose one of {', '.join(FORMATS)}")
    checkpoint = _resized(read_checkpoint(weights, overrides_from(said), image_size), image_size)
    out = Path(out)
    if (out / "run.json").exists() or (to == "huggingface" and out.suffix in SUFFIXES):
        what = "a run's own folder" if (out / "run.json").exists() else "a file"
        raise UsageError(f"{out} is {what}: give a folder for the converted network alone")
    if to == "vitral":
        _refuse_existing([out / CONFIG, out / TENSORS], overwrite)
        write_checkpoint(out, checkpoint)
        return Conversion((out / TENSORS, out / CONFIG), "", (), None)
    target = TARGETS[to]
    refused = list(unlike(checkpoint.config, feature_layers=1, neighbours=None))
    plain = checkpoint if refused else target.prepare(checkpoint)
    refused += [*nearly(plain.config, to, merge=0), *target.refusals(plain)]
    refused += _other_values(plain.preprocessing, to)
    nearest = _nearest(plain, refused, weights, to, approximate)
    difference = measured_difference(plain, nearest) if refused else None
    package = target.package(nearest)
    file = out if out.suffix in SUFFIXES else out / target.FILE
    if (file.suffix == ".npz" and to != "jax") or (file.suffix != ".npz" and to == "jax"):
        raise UsageError(f"{out} does not end as {to} files do: give a folder, or a file like {target.FILE}")
    documents = {file.parent / name: content for name, content in package.documents.items()}
    if out == file:
        documents = {} if to != "huggingface" else documents
    _refuse_existing([file, *documents], overwrite)
    write_tensors(file, package.tensors)
    for path, content in documents.items():
        write_json(path, content)
    usage = package.usage.format(path=file if "{path}" in package.usage else out, folder=file.parent)
    return Conversion((file, *documents), usage, tuple(one.what for one in refused), difference)


def _resized(checkpoint: Checkpoint, image_size: int | tuple[int, int] | None) -> Checkpoint:
    """The checkpoint with its positions interpolated to another image size; its other tensors as they are."""
    if image_size is None:
        return checkpoint
    model = checkpoint.model()
    model.resize(image_size)
    changed = {
        name: tensor for name, tensor in model.state_dict().items() if name.startswith("embedding.position.")
    }
    seen = replace(checkpoint.preprocessing, size=model.config.image_size)
    return replace(checkpoint, config=model.config, preprocessing=seen, tensors=checkpoint.tensors | changed)


def write_tensors(file: Path, tensors: Tensors) -> None:
    """Write tensors in the format that the file's ending names, whole or not at all."""
    if file.suffix == ".safetensors":
        write_safetensors(file, tensors)
        return
    with written_whole(file) as stream:
        if file.suffix == ".npz":
            arrays: dict[str, Any] = {name: _array(tensor) for name, tensor in tensors.items()}
            np.savez(stream, **arrays)
        else:
            buffer = io.BytesIO()
            torch.save({name: tensor.clone() for name, tensor in tensors.items()}, buffer)
            stream.write(buffer.getbuffer())


@torch.inference_mode()
def measured_difference(one: Checkpoint, other: Checkpoint, images: int = 8) -> float:
    """The largest difference between the outputs of two checkpoints, as a share of the largest output.

    On `images` pictures of noise that is smooth as photographs are, half as wide again as high, the same each time;
    each checkpoint prepares them its own way.
    """
    generator, channels = torch.Generator().manual_seed(0), one.config.channels
    height, width = one.config.image_size[0], one.config.image_size[0] * 3 // 2
    coarse = torch.randn(images, channels, 8, 12, generator=generator)
    fine = torch.randn(images, channels, height, width, generator=generator)
    pictures = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear") + 0.2 * fine
    if not one.preprocessing.bands:
        pixels = (127.5 + 60 * pictures).clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        first, second = (
            checkpoint.model()(
                torch.from_numpy(np.stack([checkpoint.preprocessing(image) for image in pixels]))
            )
            for checkpoint in (one, other)
        )
    else:
        pictures = pictures[..., : one.config.image_size[1]]
        first, second = one.model()(pictures), other.model()(pictures)
    return float((first - second).abs().max() / first.abs().max().clamp_min(torch.finfo(first.dtype).tiny))


def _array(tensor: torch.Tensor) -> np.ndarray:
    """As numpy keeps it; bfloat16, which it does not know, as the bytes that JAX's own files have."""
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view("V2")
    return tensor.numpy()


def _nearest(
    checkpoint: Checkpoint, refused: list[Refusal], weights: str | Path, to: str, approximate: bool
) -> Checkpoint:
    """The checkpoint with what the format cannot say in its nearest words."""
    hopeless = [one.what for one in refused if one.changes is None]
    if hopeless:
        raise WeightsError(
            f"{to} cannot say what {weights} is: {'; '.join(hopeless)}; `--to vitral` says everything"
        )
    if refused and not approximate:
        what = "; ".join(one.what for one in refused)
        raise WeightsError(
            f"{to} cannot say what {weights} is: {what}; its outputs would differ: --approximate converts it "
            "nevertheless and measures by how much"
        )
    changes = {name: value for one in refused for name, value in (one.changes or {}).items()}
    architecture = {name: value for name, value in changes.items() if name in ViTConfig.__dataclass_fields__}
    seen = {name: value for name, value in changes.items() if name in Preprocessing.__dataclass_fields__}
    return replace(
        checkpoint,
        config=checkpoint.config.replace(**architecture),
        preprocessing=replace(checkpoint.preprocessing, **seen),
    )


def _other_values(preprocessing: Preprocessing, to: str) -> Iterator[Refusal]:
    """Formats of other houses are for pictures whose values end at 255."""
    if preprocessing.dtype is not None:
        low, high = preprocessing.range
        said = (
            f"images of {preprocessing.dtype} from {low:g} to {high:g}, which {to} is to be given from 0 to 1"
        )
        pictures = {"dtype": None, "range": (0.0, 255.0), "display_bands": None}
        yield Refusal(said, pictures)


def _refuse_existing(files: list[Path], overwrite: bool) -> None:
    there = [file for file in files if file.exists()]
    if there and not overwrite:
        raise UsageError(f"{there[0]} is there already: choose another place, or add --overwrite")
