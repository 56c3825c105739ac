"""The relevance of patches on the image that they were cut from: heatmaps and boxes, resizing and cropping undone."""

import numpy as np
from PIL import Image

Region = tuple[float, float, float, float]


def heatmap(relevance: np.ndarray, shape: tuple[int, int], region: Region | None = None) -> np.ndarray:
    """The relevance of one image's patches at each of its pixels.

    Args:
        relevance: `(rows, columns)`.
        shape: (height, width) of the image in pixels.
        region: the box (left, top, right, bottom) of the image that the network saw, as `Preprocessing.region`
            tells it; None: all of it.

    Returns:
        float32 `(height, width)`, from 0 (least relevant, or not seen by the network) to 1; all 0 where every
        patch is as relevant as the others.
    """
    height, width = shape
    left, top, right, bottom = region or (0.0, 0.0, float(width), float(height))
    low, high = float(relevance.min()), float(relevance.max())
    span = high - low
    # Differences that are rounding errors of equal numbers show nothing.
    scaled = (relevance - low) / span if span > 1e-9 * abs(high) else np.zeros_like(relevance)
    columns, rows = max(1, round(right - left)), max(1, round(bottom - top))
    picture = Image.fromarray(scaled.astype(np.float32))
    seen = np.asarray(picture.resize((columns, rows), Image.Resampling.BILINEAR))
    result = np.zeros(shape, np.float32)
    down, across = round(top), round(left)  # negative where the region reaches beyond the image
    part = seen[max(0, -down) : height - down, max(0, -across) : width - across]
    result[max(0, down) : max(0, down) + part.shape[0], max(0, across) : max(0, across) + part.shape[1]] = (
        part
    )
    return np.clip(result, 0, 1)


def patch_box(place: tuple[int, int], grid: tuple[int, int], region: Region) -> Region:
    """The box (left, top, right, bottom) of the patch in row and column `place`, in the image's own pixels."""
    (row, column), (rows, columns) = place, grid
    left, top, right, bottom = region
    wide, high = (right - left) / columns, (bottom - top) / rows
    return left + column * wide, top + row * high, left + (column + 1) * wide, top + (row + 1) * high


def patch_at(point: tuple[float, float], grid: tuple[int, int], region: Region) -> tuple[int, int] | None:
    """Row and column of the patch that holds the pixel (x, y) of the image; None: the network does not see it."""
    (x, y), (rows, columns) = point, grid
    left, top, right, bottom = region
    if not (left <= x < right and top <= y < bottom):
        return None
    row, column = int((y - top) / (bottom - top) * rows), int((x - left) / (right - left) * columns)
    return min(row, rows - 1), min(column, columns - 1)
