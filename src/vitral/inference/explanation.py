"""What a classifier looked at in one image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vitral.device import Compute
from vitral.errors import UsageError
from vitral.files import written_whole
from vitral.images import ImageSource, Preprocessing
from vitral.inference.forward import Normalise
from vitral.inspection import heatmap, overlay, relevance, rollout
from vitral.model import VisionTransformer

METHODS = ("rollout",)


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a classifier looked.

    Args:
        picture: the image as people are shown it, uint8 `(height, width, 3)`.
        heatmap: float32 `(height, width)` of the image, from 0 (least relevant, or not seen) to 1.
        method: how it was found out.
    """

    picture: np.ndarray
    heatmap: np.ndarray
    method: str

    def overlay(self) -> Image.Image:
        """The image in grey under the heatmap, in the image's own size."""
        return overlay(Image.fromarray(self.picture), self.heatmap)

    def save(self, path: str | Path) -> Path:
        """Write the overlay, whole or not at all, in the format that the path's ending names.

        Raises:
            UsageError: an ending of no image format.
        """
        path = Path(path)
        kind = Image.registered_extensions().get(path.suffix.lower())
        if kind not in Image.SAVE:
            raise UsageError(f"{path} has no ending of an image format: give it .png or .jpg")
        with written_whole(path) as file:
            self.overlay().save(file, kind)
        return path


@torch.inference_mode()
def explain(
    model: VisionTransformer,
    preprocessing: Preprocessing,
    compute: Compute,
    image: ImageSource,
    method: str = "rollout",
) -> Explanation:
    """Explain one answer.

    Args:
        model, preprocessing, compute: the network in evaluation mode, and how it is used.
        image: anything that `preprocessing.read` takes.
        method: "rollout": attention rollout (appendix D.8).

    Raises:
        UsageError: no such method.
        ImageError: the image cannot be read.
    """
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}: choose one of {', '.join(METHODS)}")
    pixels = preprocessing.read(image)
    height, width = pixels.shape[:2]
    fitted = torch.from_numpy(preprocessing.fit_image(pixels)).permute(2, 0, 1)[None]
    _, attentions = model.forward_attention(Normalise(preprocessing, compute)(fitted))
    by_patch = _by_patch(attentions, model)
    heat = heatmap(by_patch, (height, width), preprocessing.region(height, width))
    return Explanation(preprocessing.show(pixels), heat, method)


def _by_patch(attentions: Sequence[torch.Tensor], model: VisionTransformer) -> np.ndarray:
    config = model.config
    return relevance(rollout(attentions), config.grid, config.special_tokens, config.pool)[0]
