"""Small networks whose every weight matters."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitral.model import VisionTransformer, ViTConfig


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small only lose time by sharing it between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small() -> Callable[..., ViTConfig]:
    """`small(**changes)`: a configuration of 6 patches, 3 layers and 4 heads."""

    def make(**changes: Any) -> ViTConfig:
        values: dict[str, Any] = {"image_size": (16, 24), "patch_size": 8, "layers": 3, "dim": 32}
        return ViTConfig(**(values | {"mlp_dim": 48, "heads": 4, "num_classes": 5} | changes))

    return make


@pytest.fixture(scope="session")
def lively() -> Callable[..., VisionTransformer]:
    """`lively(config)`: a network without the zeros of a fresh one, so that nothing can hide behind them."""

    def make(config: ViTConfig, seed: int = 0) -> VisionTransformer:
        torch.manual_seed(seed)
        model = VisionTransformer(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                spread = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
                nn.init.normal_(parameter, mean=1.0 if name.endswith("norm.weight") else 0.0, std=spread)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """`assert_same(found, expected)`: equal to 1e-5 of the largest number expected."""

    def check(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
        assert found.shape == expected.shape
        difference = (found - expected).abs().max().item()
        assert difference <= tolerance * expected.abs().max().item(), difference

    return check
