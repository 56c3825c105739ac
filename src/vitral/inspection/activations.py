"""Images on their way through a network, layer by layer: of each layer only what the looks need is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor

from vitral.errors import VitralError
from vitral.inspection.distance import attention_distance
from vitral.model import VisionTransformer, ViTConfig
from vitral.model.merging import spread

# Bytes that one layer's attention weights may take at once.
ATTENTION_MEMORY = 1 << 28
LARGEST_BATCH = 32


@dataclass(frozen=True, eq=False)
class Activations:
    """What is kept of images that went through a network.

    Args:
        distances: float64 `(images, layers, heads)`, the mean attention distance in pixels, see `attention_distance`.
        patch_norms: float32 `(images, layers, rows, columns)`, the L2 norm of each patch in each layer's output.
        special_norms: float32 `(images, layers, special)`, the same of the special tokens.
        features: float32 `(images, rows, columns, dim)`, the patches after the last layer and the final norm; None
            where they were not asked for.
    """

    distances: np.ndarray
    patch_norms: np.ndarray
    special_norms: np.ndarray
    features: np.ndarray | None

    def mean_distances(self) -> np.ndarray:
        """The mean over the images, `(layers, heads)`; NaN where a head looks at no patch in any of them."""
        told = ~np.isnan(self.distances)
        with np.errstate(invalid="ignore"):
            return np.where(told, self.distances, 0.0).sum(axis=0) / told.sum(axis=0)

    def with_features_of(self, count: int) -> Self:
        """The same with the features of the first images only, so many; None of none."""
        if self.features is None or count == 0:
            return replace(self, features=None)
        return replace(self, features=self.features[:count].copy())

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Several as one; features of those that have them."""
        with_features = [part.features for part in parts if part.features is not None]
        return cls(
            np.concatenate([part.distances for part in parts]),
            np.concatenate([part.patch_norms for part in parts]),
            np.concatenate([part.special_norms for part in parts]),
            np.concatenate(with_features) if with_features else None,
        )


@torch.inference_mode()
def activations(model: VisionTransformer, images: Tensor, *, features: bool = True) -> Activations:
    """Send images through a network and keep what the looks need.

    One layer's attention weights are in memory at a time, and what is kept of an image is small without its features:
    a long series goes batch by batch, of `batch_size` images each, and is put together by `Activations.joined`.

    Args:
        model: in evaluation mode.
        images: normalised, `(batch, channels, height, width)`, on the model's device.
        features: whether to keep the last layer's features.

    Raises:
        ConfigError: images of another size or number of channels.
        VitralError: not enough memory.
    """
    config = model.config
    distances, norms = [], []
    try:
        for few, merged, attention in model.forward_layers(model.embed(images), range(config.layers)):
            tokens = spread(few, merged)
            distances.append(attention_distance(cast("Tensor", attention), config.grid, config.reach))
            norms.append(tokens.float().norm(dim=-1).cpu().numpy())  # (batch, tokens)
        last = tokens if config.norm_after_pool else model.norm(tokens)
    except torch.OutOfMemoryError as error:
        size = " x ".join(map(str, config.image_size))
        raise VitralError(
            f"{len(images)} images of {size} px with their attention do not fit into the memory of {images.device}: "
            "lower --image-size, or take --device cpu"
        ) from error
    special = config.special_tokens
    by_layer = np.stack(norms, axis=1)  # (batch, layers, tokens)
    kept = last[:, special:].unflatten(1, config.grid).float().cpu().numpy() if features else None
    return Activations(
        np.stack(distances, axis=1),
        by_layer[..., special:].reshape(*by_layer.shape[:2], *config.grid),
        by_layer[..., :special],
        kept,
    )


def batch_size(config: ViTConfig) -> int:
    """How many images at once keep one layer's attention weights within `ATTENTION_MEMORY`; at least 1."""
    tokens = config.special_tokens + config.patches
    return max(1, min(LARGEST_BATCH, ATTENTION_MEMORY // (4 * config.heads * tokens**2)))
