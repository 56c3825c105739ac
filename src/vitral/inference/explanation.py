"""What a network looked at in an image, as it is handed out: the heatmap, the patches, the picture under it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitral.errors import UsageError
from vitral.files import written_whole
from vitral.inspection import heatmap, overlay, patch_box

# PNGs of more pixels than this are compressed quickly rather than well.
LARGE = 1 << 22


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a network looked.

    Args:
        picture: the image as people are shown it, uint8 `(height, width, 3)`.
        relevance: float64 `(rows, columns)` of the patches, as it was computed, on no particular scale.
        region: the box (left, top, right, bottom) of the image that the network saw, in the image's pixels.
        pixels: what the network saw, `Preprocessing.fit_image` of the image.
        method: how it was found out: "gradient", "rollout" or "attention".
        label: the most probable class; None where there are no classes.
        target: the class that the relevance is about; None where it is about no class in particular.
        probability: of `target`, else of `label`; None where there are no classes.
        heads: of "attention" `(heads, rows, columns)`, each head's own relevance; else None.
        special_share: of "attention" and "rollout", the share that lies on special tokens and not on patches.
    """

    picture: np.ndarray
    relevance: np.ndarray
    region: tuple[float, float, float, float]
    pixels: np.ndarray
    method: str
    label: str | None = None
    target: str | None = None
    probability: float | None = None
    heads: np.ndarray | None = None
    special_share: float | None = None

    @cached_property
    def heatmap(self) -> np.ndarray:
        """float32 `(height, width)` of the image, from 0 (least relevant, or not seen) to 1."""
        return self._heat(self.relevance)

    def overlay(self, head: int | None = None) -> Image.Image:
        """The image in grey under the heatmap, in the image's own size; of one of `heads` where it is named."""
        heat = (
            self.heatmap if head is None else self._heat(self.heads[head]) if self.heads is not None else None
        )
        if heat is None:
            raise UsageError(f'there are no heads to show of method "{self.method}": ask for "attention"')
        return overlay(Image.fromarray(self.picture), heat)

    def beside(self, side: int = 256) -> Image.Image:
        """The image, and beside it the same under its heatmap, each with its longer side `side` pixels long."""
        photo = Image.fromarray(self.picture)
        factor = side / max(photo.size)
        size = max(1, round(photo.width * factor)), max(1, round(photo.height * factor))
        # Enlarging shows the pixels as they are; only shrinking smooths.
        photo = photo.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS)
        both = Image.new("RGB", (2 * size[0] + 8, size[1]), "white")
        both.paste(photo, (0, 0))
        both.paste(overlay(photo, self.heatmap), (size[0] + 8, 0))
        return both

    def patches(self) -> list[dict[str, Any]]:
        """The patches by weight, the heaviest first, ready for JSON.

        Returns:
            An object a patch: row, column, box (left, top, right, bottom in pixels of the image; it reaches beyond the
            image where that was padded) and weight, the patch's share of the whole relevance.
        """
        grid, total = self.relevance.shape, float(self.relevance.sum()) or 1.0
        found = []
        for index in np.argsort(-self.relevance, axis=None, kind="stable"):
            row, column = divmod(int(index), grid[1])
            box = [round(edge, 2) for edge in patch_box((row, column), grid, self.region)]
            weight = float(self.relevance[row, column]) / total
            found.append({"row": row, "column": column, "box": box, "weight": weight})
        return found

    def save(self, path: str | Path) -> Path:
        """Write the overlay, whole or not at all, in the format that the path's ending names.

        Raises:
            UsageError: an ending of no image format.
        """
        return save_picture(self.overlay(), path)

    def _heat(self, relevance: np.ndarray) -> np.ndarray:
        height, width = self.picture.shape[:2]
        return heatmap(relevance, (height, width), self.region)


def save_picture(picture: Image.Image, path: str | Path) -> Path:
    """Write a picture, whole or not at all, in the format that the path's ending names.

    Raises:
        UsageError: an ending of no image format.
    """
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise UsageError(f"{path} has no ending of an image format: give it .png or .jpg")
    quick = {"compress_level": 1} if kind == "PNG" and picture.width * picture.height > LARGE else {}
    with written_whole(path) as file:
        picture.save(file, kind, **quick)
    return path
