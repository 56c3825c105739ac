"""An explanation beside the picture that it is about."""

from PIL import Image

from vitral.inference import Explanation
from vitral.inspection import overlay


def beside(explanation: Explanation, side: int = 256) -> Image.Image:
    """The picture, and beside it the same in grey under its heatmap, each with its longer side `side` pixels long."""
    photo = Image.fromarray(explanation.picture)
    factor = side / max(photo.size)
    size = max(1, round(photo.width * factor)), max(1, round(photo.height * factor))
    # Enlarging shows the pixels as they are; only shrinking smooths.
    photo = photo.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS)
    both = Image.new("RGB", (2 * size[0] + 8, size[1]), "white")
    both.paste(photo, (0, 0))
    both.paste(overlay(photo, explanation.heatmap), (size[0] + 8, 0))
    return both
