"""Images to vectors: what a network makes of an image before its head."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from vitral.errors import ImageError
from vitral.images import Preprocessing
from vitral.inference.loaded import Loaded
from vitral.inference.loading import Request, open_backend
from vitral.inference.stream import READERS, in_batches
from vitral.model import ViTConfig

if TYPE_CHECKING:
    from vitral.device import Compute
    from vitral.model import VisionTransformer


@dataclass(frozen=True)
class Embedder(Loaded):
    """A network that turns an image into a vector; it needs no classifier. `Embedder.load` makes one.

    The vector is y of equation 4, what a head would see: `VisionTransformer.pool` of the tokens after the final norm,
    as it is, of no particular length.

    Args:
        network, preprocessing, request: see `Loaded`; the network gives vectors.
        config: its architecture.
        pooling: how the vector comes from the tokens, see `VisionTransformer.pool`.
    """

    config: ViTConfig
    pooling: str

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
        return cls(network, about.preprocessing, config, request.pool or config.pool, request=request)

    @classmethod
    def of(cls, model: "VisionTransformer", preprocessing: Preprocessing, compute: "Compute") -> Self:
        """A network in torch that is there already, in evaluation mode and where `compute` says."""
        from vitral.inference.backends.torch import TorchBackend
        from vitral.inference.forward import Vectors

        pool = model.config.pool
        network = TorchBackend(model, preprocessing, compute, answers=Vectors(pool))
        return cls(network, preprocessing, model.config, pool)

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self.config.feature_dim * (2 if self.pooling == "token_average" else 1)

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
