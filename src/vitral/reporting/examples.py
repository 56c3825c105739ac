"""The images worth a look, most confident mistakes and least certain right answers, as small embedded pictures."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vitral.errors import VitralError
from vitral.inspection import overlay
from vitral.reporting.texts import shown_path

ReadImage = Callable[[str], np.ndarray]
Explain = Callable[[str], np.ndarray | None]

THUMBNAIL = 160
EACH = 12


@dataclass(frozen=True)
class Example:
    """One answer with its picture (a data URL; None where it cannot be read) and what the model looked at."""

    path: str
    label: str
    predicted: str
    probability: float
    picture: str | None
    heatmap: str | None


def choose_examples(right: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the most confident mistakes and of the least certain right answers, the most telling first."""
    order = np.argsort(confidence, kind="stable")
    return order[::-1][~right[order[::-1]]][:EACH], order[right[order]][:EACH]


def picture_example(
    path: str, label: str, predicted: str, probability: float, images: ReadImage, explain: Explain | None
) -> Example:
    """One example with its thumbnail; a picture that has gone or broken since training is shown as such."""
    shown = shown_path(path)
    try:
        pixels = _three_channels(np.asarray(images(path)))
    except (OSError, VitralError):
        return Example(shown, label, predicted, probability, None, None)
    photo = _fitted(Image.fromarray(pixels))
    weights = explain(path) if explain is not None else None
    heatmap = _data_url(overlay(photo, np.asarray(weights))) if weights is not None else None
    return Example(shown, label, predicted, probability, _data_url(photo), heatmap)


def _three_channels(pixels: np.ndarray) -> np.ndarray:
    """uint8 (height, width, 3) from (height, width), (height, width, 1) or (height, width, 3)."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _fitted(image: Image.Image) -> Image.Image:
    """Shrunk smoothly to the thumbnail's size, or enlarged by a whole factor with its pixels kept visible."""
    longest = max(image.size)
    if longest > THUMBNAIL:
        factor = THUMBNAIL / longest
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        return image.resize(size, Image.Resampling.LANCZOS)
    factor = THUMBNAIL // longest
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _data_url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
