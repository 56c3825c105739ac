"""Small data that can be learned in a second, and trainings over them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitral.data import LabelledImages, Sample, Sizes
from vitral.data.labelled import ArrayReader
from vitral.device import DTYPES, Compute
from vitral.images import Preprocessing
from vitral.model import VisionTransformer, ViTConfig
from vitral.runs import RunFolder
from vitral.training import Event, Plan, Recipe, prepare, run

CLASSES = ("circle", "cross", "square")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_data() -> Callable[..., LabelledImages]:
    """`make_data(train=26, validation=9, test=9)`: noise whose colour tells the class, not too clearly."""

    def make(
        train: int = 26, validation: int = 9, test: int = 9, channels: int = 3, seed: int = 0
    ) -> LabelledImages:
        random = np.random.default_rng(seed)
        arrays, samples = [], []
        for split, count in (("train", train), ("validation", validation), ("test", test)):
            for index in range(count):
                label = index % len(CLASSES)
                image = random.integers(0, 180, (9, 10, channels))
                image[..., label % channels] += 25 * (label + 1)
                path = f"made/{split}{index}"
                samples.append(Sample(path, (label,), split, "", path, None))
                arrays.append(image.astype(np.uint8))
        positions = {sample.path: index for index, sample in enumerate(samples)}
        sizes = Sizes((9, 10), (9, 10), (9, 10))
        return LabelledImages(
            "made",
            "made",
            CLASSES,
            tuple(samples),
            (),
            (),
            channels,
            sizes,
            (),
            True,
            ArrayReader(arrays, positions),
        )

    return make


@pytest.fixture
def make_model() -> Callable[..., VisionTransformer]:
    """A Vision Transformer of 2 layers for 8 by 8 pixels, always with the same weights, its head not at zero."""

    def make(**changes: Any) -> VisionTransformer:
        config = ViTConfig(
            image_size=(8, 8),
            patch_size=(4, 4),
            layers=2,
            dim=16,
            mlp_dim=32,
            heads=2,
            num_classes=3,
            dropout=0.1,
        )
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            model = VisionTransformer(config.replace(**changes))
            torch.nn.init.normal_(model.head.weight, std=0.1)
        return model

    return make


@pytest.fixture
def make_plan(
    make_data: Callable[..., LabelledImages], make_model: Callable[..., VisionTransformer]
) -> Callable[..., Plan]:
    """`make_plan(data, epochs=3)`: a plan on the processor; what is no field of the recipe goes to `prepare`."""

    def make(data: LabelledImages | None = None, precision: str = "fp32", **changes: Any) -> Plan:
        known = {
            name: changes.pop(name)
            for name in ("seed", "workers", "time_limit", "compiled")
            if name in changes
        }
        recipe = Recipe(epochs=3, batch_size=8, learning_rate=3e-3, random_crop=0.5).replace(**changes)
        compute = Compute(torch.device("cpu"), "asked for", precision, "asked for")
        assert compute.dtype == DTYPES[precision]
        data = data or make_data()
        preprocessing = Preprocessing(
            size=(8, 8), channels=data.channels, mean=(0.5,) * data.channels, std=(0.5,) * data.channels
        )
        model = make_model(channels=data.channels)
        return prepare(
            data, model, preprocessing, recipe, compute, **({"workers": 0, "compiled": False} | known)
        )

    return make


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., RunFolder]:
    """`train(plan, "one")` trains in a folder of that name; `listen` is told of the events."""

    def start(
        plan: Plan, name: str = "run", listen: Callable[[Event], None] = lambda event: None, **options: Any
    ) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        run(plan, folder, listen, about={"options": {"data": "made"}, "run": {"notes": []}}, **options)
        return folder

    return start
