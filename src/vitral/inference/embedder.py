"""Images to vectors: what a network makes of an image before its head."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from vitral.errors import ImageError
from vitral.images import Preprocessing
from vitral.inference.backends import Backend
from vitral.inference.loading import Request, open_backend, open_torch
from vitral.inference.stream import READERS, in_batches
from vitral.model import ViTConfig

if TYPE_CHECKING:
    from vitral.device import Compute
    from vitral.model import VisionTransformer


@dataclass(frozen=True)
class Embedder:
    """A network that turns an image into a vector; it needs no classifier. `Embedder.load` makes one.

    The vector is y of equation 4, what a head would see: `VisionTransformer.pool` of the tokens after the final norm,
    as it is, of no particular length.

    Args:
        network: what runs it, see `vitral.inference.backends.Backend`; gives vectors.
        preprocessing: what images go through on their way to it.
        config: its architecture.
        pooling: how the vector comes from the tokens, see `VisionTransformer.pool`.
        request: what it was loaded by, to have the same network in torch when that is needed.
    """

    network: Backend
    preprocessing: Preprocessing
    config: ViTConfig
    pooling: str
    request: Request | None = field(default=None, repr=False)

    @classmethod
    def load(
        cls,
        weights: str | Path,
        *,
        pool: str | None = None,
        backend: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        image_size: int | tuple[int, int] | None = None,
        compile: bool = False,
        **said: Any,
    ) -> Self:
        """Load any WEIGHTS, with a classifier or without.

        Args:
            weights: whatever `vitral.load_model` takes.
            pool: "token", "average" or "token_average", instead of the network's own.
            backend, device, precision, image_size, compile, said: as for `Classifier.load`.

        Raises:
            UsageError: there are no such weights, backend or device, or no such precision.
            WeightsError: damaged files.
            ConfigError: the network has no such pooling.
        """
        request = Request(
            str(weights),
            vectors=True,
            pool=pool,
            device=device,
            precision=precision,
            backend=backend,
            image_size=image_size,
            compile=compile,
            said=said,
        )
        return cls.of_request(request)

    @classmethod
    def of_request(cls, request: Request) -> Self:
        """The same of what is asked for."""
        network, about = open_backend(request)
        config = ViTConfig.from_dict(dict(about.architecture))
        return cls(network, about.preprocessing, config, request.pool or config.pool, request)

    @classmethod
    def of(cls, model: "VisionTransformer", preprocessing: Preprocessing, compute: "Compute") -> Self:
        """A network in torch that is there already, in evaluation mode and where `compute` says."""
        from vitral.inference.backends.torch import TorchBackend

        pool = model.config.pool
        return cls(TorchBackend(model, preprocessing, compute, pool=pool), preprocessing, model.config, pool)

    @property
    def backend(self) -> str:
        """What runs the network: torch, openvino or onnx."""
        return self.network.name

    @property
    def precision(self) -> str:
        """What the network computes in: fp32, bf16, fp16 or int8."""
        return self.network.precision

    @property
    def device(self) -> str:
        """Where it computes: cpu, cuda:0 or mps."""
        return self.network.device

    @property
    def reason(self) -> str:
        """Why this backend in this precision."""
        return self.network.reason

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self.config.feature_dim * (2 if self.pooling == "token_average" else 1)

    @cached_property
    def model(self) -> "VisionTransformer":
        """The network itself, in torch: the one that runs, or else the same, read when it is first asked for."""
        from vitral.inference.backends.torch import TorchBackend

        if isinstance(self.network, TorchBackend):
            return self.network.model
        assert self.request is not None
        return open_torch(self.request)[0].model

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

    def embed_each(self, images: Iterable[Any], workers: int = READERS) -> Iterator[np.ndarray | ImageError]:
        """The same image by image, in their order; what cannot be read is answered by its error.

        Memory stays small however many images there are: `images` is asked for a few batches ahead and no more.

        Args:
            images: what `embed` takes, one after the other.
            workers: threads that read and fit images while the network computes.
        """
        for _, found in in_batches(self.preprocessing, self.vectors, images, workers):
            yield found

    def vectors(self, pixels: np.ndarray) -> np.ndarray:
        """What `Preprocessing.fit_image` gives, `(batch, height, width, channels)`, to float32 `(batch, dim)`."""
        return self.network(pixels)
