"""Real image files to open as DATA."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    """`picture(7)`: a picture like no other, given by its number; coarse patches that survive compression."""

    def make(number: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
        coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)

    return make


@pytest.fixture
def write(tmp_path: Path, picture: Callable[..., Image.Image]) -> Write:
    """`write("cats/1.png", 7)` puts picture 7 there, under the test's own folder, and gives the path."""

    def put(path: str, number: int, size: tuple[int, int] = (48, 40), **options: object) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(number, size).save(file, **options)
        return file

    return put
