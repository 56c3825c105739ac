"""Small folders of photographs that a tiny network learns in seconds, and a run trained on one of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitral.images import Preprocessing
from vitral.model import create_model
from vitral.weights import Checkpoint, write_checkpoint
from vitral.workflow import Run, train

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "grey": (120, 120, 120)}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # so small a network gains nothing from more, and tests share the processors


def draw(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    """A noisy picture of 16 x 20 pixels in one colour."""
    noise = np.random.default_rng(seed).normal(0, 30, (16, 20, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)


def make_folder(
    root: Path,
    classes: Sequence[str] = ("red", "green", "blue"),
    counts: dict[str, int] | int = 8,
    seed: int = 0,
) -> Path:
    """A folder of class folders with so many pictures a class, or with split folders around them."""
    for place, (split, count) in enumerate(({"": counts} if isinstance(counts, int) else counts).items()):
        for name in classes:
            for index in range(count):
                number = 1000 * seed + 100 * place + 10_000 * list(COLOURS).index(name) + index
                draw(root / split / name / f"{index:02d}.png", COLOURS[name], number)
    return root


@pytest.fixture(scope="session", name="draw")
def _draw() -> Callable[..., None]:
    return draw


@pytest.fixture(scope="session", name="make_folder")
def _make_folder() -> Callable[..., Path]:
    return make_folder


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """A network and a recipe that take a few hundredths of a second a step."""
    return {
        "model": "vit_mini_patch8_16",
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "random_crop": 0.5,
        "mixup": 0.0,
        "warmup_steps": 0,
        "pool": "token",
        "position_embedding": "learned",
        "precision": "fp32",
        "progress": False,
    }


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colours with all three splits."""
    return make_folder(
        tmp_path_factory.mktemp("data") / "photos", counts={"train": 8, "validation": 4, "test": 4}
    )


@pytest.fixture(scope="session")
def run(photos: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on `photos`; not to be changed."""
    return train(photos, output=tmp_path_factory.mktemp("runs") / "colours", **tiny)


@pytest.fixture(scope="session")
def headless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WEIGHTS of a tiny network without a head."""
    torch.manual_seed(0)
    model = create_model("vit_mini_patch8_16", num_classes=0)
    folder = tmp_path_factory.mktemp("weights") / "headless"
    write_checkpoint(folder, Checkpoint(model.config, Preprocessing((16, 16)), (), model.state_dict()))
    return folder
