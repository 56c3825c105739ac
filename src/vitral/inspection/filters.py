"""What the patch embedding looks for: principal components of its filters (figure 7, left)."""

from dataclasses import dataclass

import numpy as np
import torch

from vitral.errors import UsageError
from vitral.inspection.principal import principal_components
from vitral.language import Sentence
from vitral.model import VisionTransformer, ViTConfig

# As many as the paper shows.
SHOWN = 28


@dataclass(frozen=True, eq=False)
class FilterComponents:
    """The first principal components of the filters of a patch embedding.

    Args:
        components: float64 `(components, patch_height, patch_width, channels)`, each of length 1, in the units of the
            network's normalised input; the number of largest size in each is positive.
        variance: `(components,)`, the share of the filters' variance that each has, from 0 to 1, falling.
        filters: how many filters there are, D.
    """

    components: np.ndarray
    variance: np.ndarray
    filters: int


def filter_components(model: VisionTransformer, count: int = SHOWN) -> FilterComponents:
    """The first principal components of E of equation 1: of its D filters of P x P x C numbers each, around their mean.

    Any number of channels goes. Small patches or networks have fewer components than asked for.

    Raises:
        UsageError: a hybrid, whose patch embedding sees a feature map and no pixels.
    """
    reason = why_no_filters(model.config)
    if reason is not None:
        raise UsageError(reason)
    weight = (
        model.embedding.patch.weight.detach().to("cpu", torch.float64).numpy()
    )  # (dim, channels, P_h, P_w)
    filters = weight.transpose(0, 2, 3, 1)
    components, variance = principal_components(filters.reshape(len(filters), -1), count)
    return FilterComponents(components.reshape(-1, *filters.shape[1:]), variance, len(filters))


def why_no_filters(config: ViTConfig) -> Sentence | None:
    """Why a network has no filters to be looked at; None where it has."""
    if config.resnet_layers is None:
        return None
    return Sentence(
        "the patches of a hybrid are cut from the feature map of its convolutions and have no pixels to show: "
        "look at a network without resnet_layers",
        "os patches de um híbrido são recortados do mapa de atributos das convoluções e não têm pixels a mostrar: "
        "veja uma rede sem resnet_layers",
    )
