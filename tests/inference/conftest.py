"""Small networks as folders of weights, for whatever runs them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitral.images import Preprocessing
from vitral.weights import Checkpoint, write_checkpoint

MakeFolder = Callable[..., Path]


@pytest.fixture
def saved(small: Callable[..., Any], lively: Callable[..., Any], tmp_path: Path) -> MakeFolder:
    """`saved(name, seed=0, thresholds=None, seen={}, **changes)`: the folder of a small network.

    `seen` are fields of its Preprocessing, `changes` those of its ViTConfig.
    """

    def make(
        name: str = "weights",
        seed: int = 0,
        thresholds: tuple[float, ...] | None = None,
        seen: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Path:
        config = small(**changes)
        about = {
            "channels": config.channels,
            "mean": (0.4,) * config.channels,
            "std": (0.25,) * config.channels,
        }
        model = lively(config, seed)
        if config.neighbours is not None:  # a bank of vectors of length 1, and a class each
            torch.nn.init.normal_(model.head.bank)
            model.head.bank /= model.head.bank.norm(dim=-1, keepdim=True)
            model.head.targets[range(config.examples), np.arange(config.examples) % config.num_classes] = 1
        names = tuple(f"class {index}" for index in range(config.num_classes))
        checkpoint = Checkpoint(
            config,
            Preprocessing(**({"size": config.image_size} | about | (seen or {}))),
            names,
            model.state_dict(),
            thresholds=thresholds,
        )
        write_checkpoint(tmp_path / name, checkpoint)
        return tmp_path / name

    return make
