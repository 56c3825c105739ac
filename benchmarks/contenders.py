"""The contestants of `inference.py`, what all of them do, and what one of them is when it is ready."""

import importlib.util
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

# library: the packages that its contestants need
LIBRARIES = {
    "vitral": ("vitral",),
    "timm": ("timm",),
    "transformers": ("transformers",),
    "torchvision": ("torchvision",),
    "vit-pytorch": ("vit_pytorch", "torchvision"),
    "onnxruntime": ("onnxruntime", "onnx", "onnxscript", "timm"),
    "openvino": ("openvino", "timm"),
}
# The share of the resized photograph's shorter side that is cut out: timm's of these networks.
CROP_SHARE = 0.9


class LeftOut(Exception):
    """A contestant cannot take part here, which is no error: the text says why."""


@dataclass(frozen=True)
class Contestant:
    """A library, and how it is asked to run the network.

    Args:
        name: as the table calls it.
        library: a key of `LIBRARIES`.
        options: of vitral keywords of `Classifier.load`; of the others their precision, and whether compiled.
        devices: where it can compute.
    """

    name: str
    library: str
    options: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu",)

    @property
    def missing(self) -> str | None:
        """The first package that it needs and that is not installed."""
        needed = LIBRARIES[self.library]
        if self.library == "openvino" and self.options["precision"] == "int8":
            needed = (*needed, "nncf")
        return next((name for name in needed if importlib.util.find_spec(name) is None), None)

    @property
    def same_weights(self) -> bool:
        """Whether its library can say this network: vit-pytorch has no biases where queries, keys and values come."""
        return self.library != "vit-pytorch"


def _all() -> list[Contestant]:
    both, gpu = ("cpu", "cuda"), ("cuda",)
    torch, openvino = {"backend": "torch"}, {"backend": "openvino"}
    fp32, bf16, int8 = ({"precision": name} for name in ("fp32", "bf16", "int8"))
    return [
        Contestant("vitral", "vitral", {}, both),
        Contestant("vitral-torch-fp32", "vitral", torch | fp32, both),
        Contestant("vitral-torch-bf16-eager", "vitral", torch | bf16 | {"graphs": False}, gpu),
        Contestant("vitral-torch-bf16", "vitral", torch | bf16, both),
        Contestant("vitral-torch-bf16-compiled", "vitral", torch | bf16 | {"compile": True}, both),
        Contestant("vitral-openvino-fp32", "vitral", openvino | fp32),
        Contestant("vitral-openvino-bf16", "vitral", openvino | bf16),
        Contestant("vitral-openvino-int8", "vitral", openvino | int8),
        Contestant("vitral-openvino-int8-calibrated", "vitral", {"exported": True}),
        Contestant("vitral-openvino-int8-merge8", "vitral", openvino | int8 | {"merge": 8}),
        Contestant("vitral-openvino-int8-merge14", "vitral", openvino | int8 | {"merge": 14}),
        Contestant("vitral-onnx-fp32", "vitral", {"backend": "onnx"} | fp32),
        Contestant("timm", "timm", fp32, both),
        Contestant("timm-bf16", "timm", bf16, both),
        Contestant("timm-bf16-compiled", "timm", bf16 | {"compile": True}, gpu),
        Contestant("transformers", "transformers", fp32, both),
        Contestant("transformers-bf16", "transformers", bf16, gpu),
        Contestant("torchvision", "torchvision", fp32, both),
        Contestant("torchvision-bf16", "torchvision", bf16, gpu),
        Contestant("vit-pytorch", "vit-pytorch", fp32, both),
        Contestant("onnxruntime-fp32", "onnxruntime", fp32),
        Contestant("openvino-fp32", "openvino", fp32),
        Contestant("openvino-default", "openvino", {"precision": "default"}),
        Contestant("openvino-int8", "openvino", int8),
    ]


CONTESTANTS = {each.name: each for each in _all()}


@dataclass(frozen=True)
class Task:
    """What all contestants do.

    Args:
        folder: where the network lies in every format.
        model: its name.
        architecture: image_size, patch_size, layers, heads, dim, mlp_dim, num_classes: whole numbers.
        device: cpu or cuda.
        threads: that compute, one a core.
        batch_sizes: of the throughput.
        photos: photographs, each once.
        count: how many files are to be named from disk: the photographs, again and again.
    """

    folder: Path
    model: str
    architecture: Mapping[str, int]
    device: str
    threads: int
    batch_sizes: tuple[int, ...]
    photos: tuple[str, ...]
    count: int

    @property
    def files(self) -> tuple[str, ...]:
        """The files to be named, in their order."""
        return tuple(itertools.islice(itertools.cycle(self.photos), self.count))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"folder": str(self.folder)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        tuples = {name: tuple(content[name]) for name in ("batch_sizes", "photos")}
        return cls(**{**content, **tuples, "folder": Path(content["folder"])})


@dataclass(frozen=True)
class Network:
    """A contestant, ready.

    Args:
        precision: what it computes in.
        feed: uint8 `(batch, height, width, 3)` to what it takes, where it takes it from.
        answer: of that, `(batch, classes)`.
        numbers: the same as an array in main memory, computed to the end.
        label: the class of each file, from disk.
        probabilities: whether it answers those, rather than logits.
    """

    precision: str
    feed: Callable[[np.ndarray], Any]
    answer: Callable[[Any], Any]
    numbers: Callable[[Any], np.ndarray]
    label: Callable[[Sequence[str]], list[str]]
    probabilities: bool = False
