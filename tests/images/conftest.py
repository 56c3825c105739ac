import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def scene() -> np.ndarray:
    """A colourful picture with a different colour in each corner, uint8 (40, 60, 3)."""
    rows, columns = np.mgrid[0:40, 0:60]
    picture = np.stack([rows * 6, columns * 4, 255 - rows * 3 - columns * 2], axis=-1).astype(np.uint8)
    picture[:12, :12] = (255, 0, 0)
    picture[:12, -12:] = (0, 255, 0)
    picture[-12:, :12] = (0, 0, 255)
    picture[-12:, -12:] = (255, 255, 0)
    return picture


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """`encoded(array_or_image, "PNG", **options)`: the bytes of a file as Pillow writes it."""

    def encode(image: np.ndarray | Image.Image, kind: str, **options) -> bytes:
        file = io.BytesIO()
        (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
        return file.getvalue()

    return encode
