"""Images to vectors: what a network makes of an image before its head."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch

from vitral.device import Compute, choose
from vitral.errors import ImageError
from vitral.images import Preprocessing
from vitral.inference.forward import Normalise
from vitral.model import VisionTransformer
from vitral.weights import Checkpoint, overrides_from, read_checkpoint

BATCH = 32

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Embedder:
    """A network that turns an image into a vector; it needs no classifier. `Embedder.load` makes one.

    The vector is y of equation 4, what a head would see: `VisionTransformer.pool` of the tokens after the final norm,
    as it is, of no particular length.

    Args:
        model, preprocessing, compute: the network, what its images go through, where it computes.
        pool: "token", "average" or "token_average", instead of the network's own; None: its own.
    """

    model: VisionTransformer
    preprocessing: Preprocessing
    compute: Compute
    pool: str | None = None
    backend: str = "torch"

    @classmethod
    def load(
        cls,
        weights: str | Path,
        *,
        pool: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        image_size: int | tuple[int, int] | None = None,
        **said: Any,
    ) -> Self:
        """Load any WEIGHTS, with a classifier or without.

        Args:
            weights: whatever `vitral.load_model` takes.
            pool: see the class.
            device, precision, image_size, said: as for `Classifier.load`.

        Raises:
            UsageError: there are no such weights or device, or no such precision.
            WeightsError: damaged files.
            ConfigError: the network has no such pooling.
        """
        checkpoint = read_checkpoint(weights, overrides_from(said), image_size)
        return cls.of(checkpoint, pool=pool, device=device, precision=precision, image_size=image_size)

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        *,
        pool: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        image_size: int | tuple[int, int] | None = None,
    ) -> Self:
        """The same of a checkpoint that has been read."""
        if pool is not None:  # refuses what does not go with the network
            checkpoint.config.replace(pool=pool, representation_size=None)
        return cls(*placed(checkpoint, device, precision, image_size), pool)

    @property
    def precision(self) -> str:
        """What the network computes in: fp32, bf16 or fp16."""
        return self.compute.precision

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self.model.config.feature_dim * (2 if self.pooling == "token_average" else 1)

    @property
    def pooling(self) -> str:
        """How the vector comes from the tokens, see `VisionTransformer.pool`."""
        return self.pool or self.model.config.pool

    def embed(self, images: Any) -> np.ndarray:
        """The vectors of images.

        Args:
            images: a path, bytes, a PIL image, a numpy array `(height, width, channels)`, a torch tensor
                `(channels, height, width)`, or a list of these.

        Returns:
            float32 `(dim,)`, or for a list `(images, dim)`.

        Raises:
            ImageError: an image cannot be read; the text names it.
        """
        if not isinstance(images, list):
            return self.embed([images])[0]
        vectors = np.empty((len(images), self.dim), np.float32)
        for place, answer in enumerate(self.embed_each(images)):
            if isinstance(answer, ImageError):
                image = images[place]
                named = f"{image}: " if isinstance(image, (str, Path)) else ""
                raise ImageError(f"{named}{answer}") from answer
            vectors[place] = answer
        return vectors

    def embed_each(self, images: Iterable[Any], workers: int = 1) -> Iterator[np.ndarray | ImageError]:
        """The same image by image, in their order; what cannot be read is answered by its error.

        Memory stays small however many images there are: `images` is asked for a few batches ahead and no more.

        Args:
            images: what `embed` takes, one after the other.
            workers: threads that read and fit images while the network computes.
        """
        fitted = in_threads(self._pixels, images, workers, ahead=2 * BATCH + workers)
        while batch := list(islice(fitted, BATCH)):
            good = [pixels for pixels in batch if not isinstance(pixels, ImageError)]
            vectors = iter(self.vectors(np.stack(good)) if good else ())
            for pixels in batch:
                yield pixels if isinstance(pixels, ImageError) else next(vectors)

    @torch.inference_mode()
    def vectors(self, pixels: np.ndarray) -> np.ndarray:
        """What `Preprocessing.fit_image` gives, `(batch, height, width, channels)`, to float32 `(batch, dim)`."""
        images = torch.from_numpy(pixels)
        if self.compute.device.type == "cuda":
            images = images.pin_memory()
        seen = Normalise(self.preprocessing, self.compute)(images.permute(0, 3, 1, 2))
        return self.model.pool(self.model.forward_features(seen), self.pool).float().cpu().numpy()

    def _pixels(self, image: Any) -> np.ndarray | ImageError:
        try:
            return self.preprocessing.fit_image(self.preprocessing.read(image))
        except ImageError as error:
            return error


def placed(
    checkpoint: Checkpoint, device: str, precision: str, image_size: int | tuple[int, int] | None
) -> tuple[VisionTransformer, Preprocessing, Compute]:
    """A checkpoint's network where and how it shall compute, with the preprocessing for its image size."""
    compute = choose(device, precision)
    model = checkpoint.model()
    if image_size is not None:
        model.resize(image_size)
    preprocessing = replace(checkpoint.preprocessing, size=model.config.image_size)
    return model.to(compute.device, compute.dtype), preprocessing, compute


def in_threads(
    work: Callable[[Item], Answer], items: Iterable[Item], workers: int, ahead: int
) -> Iterator[Answer]:
    """`work` on each item, in their order, done in threads up to `ahead` items before it is asked for."""
    waiting: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        try:
            for item in items:
                waiting.append(threads.submit(work, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
