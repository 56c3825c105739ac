"""A heatmap laid over the picture that it belongs to."""

import numpy as np
from PIL import Image

# How much of the colours' brightness shows, and how much of the picture's.
SHARE = 0.65


def overlay(picture: Image.Image, heat: np.ndarray) -> Image.Image:
    """The picture in grey under the heatmap, whose brightness rises evenly (readable without colour vision).

    Args:
        picture: of any size, which is the result's.
        heat: `(rows, columns)` from 0 to 1, smoothly enlarged or made smaller to the picture's size.
    """
    from matplotlib import colormaps  # takes a while to import

    levels = Image.fromarray((np.clip(heat, 0, 1) * 255).astype(np.uint8))
    levels = levels.resize(picture.size, Image.Resampling.BICUBIC)
    colours = Image.fromarray(colormaps["inferno"](np.asarray(levels), bytes=True)[:, :, :3])
    return Image.blend(picture.convert("L").convert("RGB"), colours, SHARE)
