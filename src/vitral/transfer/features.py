"""Features of images through a frozen network: computed once, kept, and put together as a head would see them."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from statistics import median
from time import perf_counter

import numpy as np
import PIL
import torch
from torch import Tensor

from vitral.data import LabelledImages, Sample
from vitral.data.scan import Progress
from vitral.device import Compute, keep_memory
from vitral.errors import VitralError
from vitral.images import Preprocessing
from vitral.inference import Normalise
from vitral.inference.stream import in_threads
from vitral.model import VisionTransformer
from vitral.runs.machine import usable_cores
from vitral.transfer.cache import FeatureCache
from vitral.transfer.pooling import PARTS, Pooling, parts_of

# Images computed at once.
BATCH = 32
# A new number for whatever changes the features of the same network: kept ones are then computed anew.
VERSION = 1
# Not part of what makes the features.
_HEADS = ("head.", "distillation_head.", "representation.")


@dataclass(frozen=True)
class Backbone:
    """A network that stays as it is, on its device and in its precision. `make_backbone` makes one.

    Args:
        key: of the cache; whatever changes the features changes it.
    """

    model: VisionTransformer
    preprocessing: Preprocessing
    compute: Compute
    key: str


def make_backbone(model: VisionTransformer, preprocessing: Preprocessing, compute: Compute) -> Backbone:
    """Put a network in fp32 to work on a device, and name its features."""
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
        "backend": "torch",
        "precision": compute.precision,
        "pillow": PIL.__version__,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    if compute.device.type == "cpu":
        keep_memory()
    return Backbone(model.to(compute.device, compute.dtype).eval(), preprocessing, compute, key)


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

    def _images_ahead(self, rows: list[int]) -> Iterator[tuple[list[int], Tensor]]:
        """Batches of rows with their images `(batch, channels, height, width)`, read while others are computed."""
        workers = usable_cores()
        fitted = in_threads(self._fitted, rows, workers, ahead=2 * BATCH + workers)
        for start in range(0, len(rows), BATCH):
            images = torch.from_numpy(np.stack(list(islice(fitted, BATCH))))
            yield rows[start : start + BATCH], images.permute(0, 3, 1, 2)

    def _fitted(self, row: int) -> np.ndarray:
        return self.backbone.preprocessing.fit_image(self.data.read(self.samples[row]))

    @torch.inference_mode()
    def _forward(self, images: Tensor) -> dict[int, np.ndarray]:
        """float32 `(batch, width)` of each layer."""
        model, config = self.backbone.model, self.config
        after_pool = config.norm_after_pool
        try:
            x = Normalise(self.backbone.preprocessing, self.backbone.compute)(images)
            x = x.flip(-1) if self.mirrored else x
            outputs = model.forward_intermediates(x, self.values, norm=not after_pool)
            found = {}
            for layer, (special, patches) in zip(self.values, outputs, strict=True):
                patches = patches.flatten(2).transpose(1, 2)  # (batch, patches, dim)
                vectors = []
                for part in parts_of(config, layer):
                    if part == "token":
                        vector = special[:, 0]
                    elif part == "average":
                        vector = patches.mean(dim=1)
                    elif part == "distilled":
                        vector = special[:, :2].mean(dim=1)
                    else:
                        assert model.attention_pooling is not None
                        vector = model.attention_pooling(patches)
                    vectors.append(model.norm(vector) if after_pool else vector)
                found[layer] = torch.cat(vectors, dim=1).float().cpu().numpy()
            return found
        except torch.OutOfMemoryError as error:
            size = " x ".join(map(str, config.image_size))
            raise VitralError(
                f"{len(images)} images of {size} px do not fit into the memory of {self.backbone.compute.device}: "
                "lower --image-size, or take --device cpu"
            ) from error
