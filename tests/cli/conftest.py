"""Photographs that a tiny network learns in seconds, and a run trained on them by the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitral.cli.app import main

# A network and a recipe that take a few hundredths of a second a step.
TINY = ["--model", "vit_mini_patch8_16", "--epochs", "3", "--batch-size", "8", "--random-crop", "0.5"]
TINY += ["--mixup", "0", "--warmup-steps", "0", "--precision", "fp32"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # so small a network gains nothing from more, and tests share the processors


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Options of `vitral train` that make it quick."""
    return TINY


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colours, with training, validation and test images."""
    root = tmp_path_factory.mktemp("data") / "photos"
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 4), ("test", 4)):
        for name, colour in (("red", (200, 40, 40)), ("green", (40, 200, 40)), ("blue", (40, 40, 200))):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(np.array(colour) + random.normal(0, 30, (16, 20, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{index:02d}.png")
    return root


@pytest.fixture(scope="session")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on `photos`; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "colours"
    assert main(["train", str(photos), "--output", str(folder), *TINY]) == 0
    return folder
