"""Features of images through a frozen network: computed once, kept, and put together as a head would see them."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from itertools import islice
from statistics import median
from time import perf_counter
from typing import ClassVar

import numpy as np
import PIL
import torch
from torch import Tensor

from vitral.data import LabelledImages, Sample
from vitral.data.scan import Progress
from vitral.device import Compute, keep_memory
from vitral.errors import VitralError
from vitral.images import Preprocessing
from vitral.inference.backends import Backend, Choice
from vitral.inference.networks import open_network
from vitral.inference.stream import in_threads
from vitral.language import Sentence
from vitral.model import VisionTransformer
from vitral.model.merging import spread
from vitral.runs.machine import usable_cores
from vitral.transfer.cache import FeatureCache
from vitral.transfer.pooling import PARTS, Pooling, parts_of

# Images computed at once.
BATCH = 32
# A new number for whatever changes the features of the same network: kept ones are then computed anew.
VERSION = 1
# Packages whose versions change the features in int8.
ROUNDS_BY = ("openvino", "nncf")
# Not part of what makes the features.
_HEADS = ("head.", "distillation_head.", "representation.")


BY_TORCH = Choice("torch", Sentence("it is in torch already", "já está no torch"))


@dataclass(frozen=True)
class LayerFeatures:
    """All that a head could see of some layers, see `vitral.inference.forward.Answers`: `(batch, width)`.

    Args:
        layers: from 0 on, rising. Their vectors stand side by side, those of one layer in the order of `parts_of`.
    """

    layers: tuple[int, ...]
    name: ClassVar[str] = "features"

    def __call__(self, model: VisionTransformer, tokens: Tensor) -> Tensor:
        config, vectors = model.config, []
        through = islice(model.forward_layers(tokens), max(self.layers) + 1)
        for layer, (z, merged, _) in enumerate(through):
            if layer in self.layers:
                features = spread(z if config.norm_after_pool else model.norm(z), merged)
                vectors += [model.pool(features, part) for part in parts_of(config, layer)]
        return torch.cat(vectors, dim=1).float()


@dataclass
class Backbone:
    """A network that stays as it is, and what runs it. `make_backbone` makes one.

    Args:
        model: the network; it is for the backend alone.
        preprocessing: what images go through on their way to it.
        choice, compute: which backend runs it, where and in which precision. Whether it can shows when the first
            features are computed: where it cannot, the choice is torch from then on.
        key: of the cache; whatever changes the features changes it.
    """

    model: VisionTransformer
    preprocessing: Preprocessing
    choice: Choice
    compute: Compute
    key: str
    _networks: dict[tuple[int, ...], Backend] = field(default_factory=dict, repr=False)

    def network(self, layers: Sequence[int]) -> Backend:
        """What computes the `LayerFeatures` of these layers; it is made ready when it is first asked for.

        Raises:
            UsageError: the backend, or int8, was asked for by name, and the network cannot be run so.
        """
        answers = LayerFeatures(tuple(layers))
        if answers.layers not in self._networks:
            made_of = {"features": self.key, "layers": repr(answers.layers)}
            network = open_network(
                self.model, self.preprocessing, answers, self.choice, self.compute, made_of
            )
            if network.name == "torch" and network.device == "cpu":
                keep_memory()
            if network.name != self.choice.backend:
                self.choice = Choice(network.name, network.reason)
            self._networks[answers.layers] = network
        return self._networks[answers.layers]


def make_backbone(
    model: VisionTransformer, preprocessing: Preprocessing, compute: Compute, choice: Choice = BY_TORCH
) -> Backbone:
    """Put a network in fp32 to work, and name its features.

    The key holds the precision and not the backend: in fp32 every backend is checked against torch before it is used,
    and features of one are as good as those of another; int8 is a precision of its own, of one backend, and is what
    that and what rounds the weights make of it.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(_HEADS):
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    config = model.config.replace(
        num_classes=0, representation_size=None, neighbours=None, examples=None, feature_layers=1
    )
    facts = {
        "version": VERSION,
        "weights": digest.hexdigest(),
        "architecture": config.to_dict(),
        "preprocessing": preprocessing.to_dict(),
        "precision": compute.precision,
        **({name: _version(name) for name in ROUNDS_BY} if compute.precision == "int8" else {}),
        "pillow": PIL.__version__,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Backbone(model.eval(), preprocessing, choice, compute, key)


def _version(package: str) -> str:
    """Of a package, without importing it; "" where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


class Extraction:
    """The features of some images, taken from the cache where it has them, else computed by `run`, which fills it.

    Args:
        backbone: the network.
        data, samples: the images.
        layers: from 0 on.
        mirrored: whether the images are mirrored, left and right.
    """

    def __init__(
        self,
        backbone: Backbone,
        data: LabelledImages,
        samples: Sequence[Sample],
        layers: Sequence[int],
        *,
        mirrored: bool = False,
    ) -> None:
        self.backbone, self.data, self.samples, self.mirrored = backbone, data, samples, mirrored
        self.config = backbone.model.config
        self.cache = FeatureCache(backbone.key)
        self.values: dict[int, np.ndarray] = {}
        self.times: list[float] = []  # seconds an image, of each batch that was computed
        known = np.ones(len(samples), bool)
        for layer in sorted(set(layers)):
            self.values[layer], found = self.cache.read(
                self._name(layer), [sample.hash for sample in samples], self._width(layer)
            )
            known &= found
        self.missing: list[int] = np.flatnonzero(~known).tolist()

    @property
    def seconds_per_image(self) -> float | None:
        """By the batches computed so far, without the first one, which warms up; None before there is any."""
        return median(self.times[1:] or self.times) if self.times else None

    def run(self, limit: int | None = None, progress: Progress | None = None) -> None:
        """Compute what is missing, at most `limit` images of it; an interruption loses the batch at work.

        Args:
            progress: called with the number of images done, those from the cache included, and all.

        Raises:
            ImageError: a file has gone bad since DATA was opened; the text names it.
            UsageError: the backend that was asked for by name, or int8, cannot run the network.
            VitralError: not enough memory.
        """
        rows = self.missing[:limit]
        total = len(self.samples)
        with ExitStack() as stack:
            writers = {
                layer: stack.enter_context(self.cache.writer(self._name(layer), self._width(layer)))
                for layer in self.values
            }
            started = perf_counter()
            for batch, images in self._images_ahead(rows):
                for layer, values in self._forward(images).items():
                    self.values[layer][batch] = values
                    writers[layer].add([self.samples[row].hash for row in batch], values)
                self.missing = self.missing[len(batch) :]
                self.times.append((perf_counter() - started) / len(batch))
                started = perf_counter()
                if progress is not None:
                    progress(total - len(self.missing), total)
        if rows:
            self.cache.prune()

    def pooled(self, pooling: Pooling) -> np.ndarray:
        """What the head would see of the images: float32 `(images, width)`."""
        assert not self.missing
        columns = []
        for part in PARTS[pooling.pool]:
            for layer in pooling.layers:
                start = parts_of(self.config, layer).index(part) * self.config.dim
                columns.append(self.values[layer][:, start : start + self.config.dim])
        return np.concatenate(columns, axis=1)

    def _name(self, layer: int) -> str:
        return f"layer-{layer}-mirrored" if self.mirrored else f"layer-{layer}"

    def _width(self, layer: int) -> int:
        return len(parts_of(self.config, layer)) * self.config.dim

    def _images_ahead(self, rows: list[int]) -> Iterator[tuple[list[int], np.ndarray]]:
        """Batches of rows with their images `(batch, height, width, channels)`, read while others are computed."""
        workers = usable_cores()
        fitted = in_threads(self._fitted, rows, workers, ahead=2 * BATCH + workers)
        for start in range(0, len(rows), BATCH):
            yield rows[start : start + BATCH], np.stack(list(islice(fitted, BATCH)))

    def _fitted(self, row: int) -> np.ndarray:
        image = self.backbone.preprocessing.fit_image(self.data.read(self.samples[row]))
        return image[:, ::-1] if self.mirrored else image

    def _forward(self, images: np.ndarray) -> dict[int, np.ndarray]:
        """float32 `(batch, width)` of each layer."""
        layers = list(self.values)
        try:
            features = self.backbone.network(layers)(images)
        except torch.OutOfMemoryError as error:
            size = " x ".join(map(str, self.config.image_size))
            raise VitralError(
                f"{len(images)} images of {size} px do not fit into the memory of {self.backbone.compute.device}: "
                "lower --image-size, or take --device cpu"
            ) from error
        ends = np.cumsum([self._width(layer) for layer in layers])[:-1]
        return dict(zip(layers, np.split(features, ends, axis=1), strict=True))
