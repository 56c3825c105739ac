"""Where a classifier looked: attention rollout laid over the picture."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image

from vitral.inference import Classifier, Normalise
from vitral.inspection import heatmap, relevance, rollout


def explainer(classifier: Classifier) -> Callable[[Any], np.ndarray]:
    """A function from an image to what the classifier looked at, float32 `(height, width)` of the image, 0..1."""

    @torch.inference_mode()
    def explain(image: Any) -> np.ndarray:
        preprocessing, config = classifier.preprocessing, classifier.model.config
        pixels = preprocessing.read(image)
        height, width = pixels.shape[:2]
        fitted = torch.from_numpy(preprocessing.fit_image(pixels)).permute(2, 0, 1)[None]
        seen = Normalise(preprocessing, classifier.compute)(fitted)
        _, attentions = classifier.model.forward_attention(seen)
        by_patch = relevance(rollout(attentions), config.grid, config.special_tokens, config.pool)
        return heatmap(by_patch[0], (height, width), preprocessing.region(height, width))

    return explain


def beside(pixels: np.ndarray, heat: np.ndarray, side: int = 256) -> Image.Image:
    """The picture, and beside it the same in grey under its heatmap, each with its longer side `side` pixels long.

    Args:
        pixels: uint8 `(height, width, 1 or 3)`.
        heat: `(height, width)`, 0..1.
    """
    photo = Image.fromarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)
    factor = side / max(photo.size)
    size = max(1, round(photo.width * factor)), max(1, round(photo.height * factor))
    # Enlarging shows the pixels as they are; only shrinking smooths.
    photo = photo.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS)
    smooth = Image.fromarray((np.clip(heat, 0, 1) * 255).astype(np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    colours = Image.fromarray(colormaps["inferno"](np.asarray(smooth), bytes=True)[:, :, :3])
    both = Image.new("RGB", (2 * size[0] + 8, size[1]), "white")
    both.paste(photo, (0, 0))
    both.paste(Image.blend(photo.convert("L").convert("RGB"), colours, 0.65), (size[0] + 8, 0))
    return both
