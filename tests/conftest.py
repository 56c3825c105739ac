"""What every test may ask for, and surroundings that are the same on every machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chromium import Chromium, find_chromium

if TYPE_CHECKING:
    from torch import Tensor

    from vitral.model import VisionTransformer, ViTConfig

# Before torch is imported: several test processes share the cores, one thread each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
os.environ["VITRAL_LANGUAGE"] = "en"

# Whoever starts the tests as a background job has them ignore Ctrl-C, and all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-parity", metavar="PAGE", help="write what tests/parity measured into the table of this page"
    )


@pytest.fixture(autouse=True)
def _no_extras(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without OpenVINO and ONNX Runtime `auto` is torch. What is about these two asks for `extras`."""
    if "extras" not in request.fixturenames:
        monkeypatch.setattr("vitral.inference.backends.interface._installed", lambda backend: False)


@pytest.fixture
def extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The extras are there, no GPU is, and caches are empty: the folder that they lie in."""
    pytest.importorskip("openvino", reason="needs the extra fast")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    monkeypatch.setattr("vitral.inference.backends.interface.may_have_gpu", lambda: False)
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout: photographs and foreign weights, no part of the project."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder shared beside the checkout, which is not here")
    return folder


@pytest.fixture(scope="session")
def dinov2_small(shared: Path) -> Path:
    """A pretrained ViT-S/14: what VITRAL_DINOV2_SMALL names, what an earlier run built, or what the tool builds now."""
    named = os.environ.get("VITRAL_DINOV2_SMALL")
    place = Path(named) if named else Path.home() / ".cache/vitral-test/dinov2-small"
    if not (place / "model.safetensors").is_file():
        tool = shared / "tools" / "get_dinov2_small.py"
        uv = (
            f"{sys.executable} -m uv run --no-project --isolated --with onnx,numpy,safetensors python".split()
        )
        done = subprocess.run([*uv, tool, place], capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or "no reason given").splitlines()[-1]
            pytest.skip(f"{tool.name} built no checkpoint ({last}): it needs onnx and the network")
    return place


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither fill the user's caches nor are helped by what lies there."""
    os.environ["VITRAL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def small() -> "Callable[..., ViTConfig]":
    """`small(**changes)`: a configuration of 6 patches, 3 layers and 4 heads."""
    from vitral.model import ViTConfig

    def make(**changes: Any) -> ViTConfig:
        values: dict[str, Any] = {"image_size": (16, 24), "patch_size": 8, "layers": 3, "dim": 32}
        return ViTConfig(**(values | {"mlp_dim": 48, "heads": 4, "num_classes": 5} | changes))

    return make


@pytest.fixture(scope="session")
def lively() -> "Callable[..., VisionTransformer]":
    """`lively(config)`: a network without the zeros of a fresh one, so that nothing can hide behind them."""
    import torch

    from vitral.model import VisionTransformer

    def make(config: "ViTConfig", seed: int = 0) -> VisionTransformer:
        torch.manual_seed(seed)
        model = VisionTransformer(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                spread = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
                torch.nn.init.normal_(
                    parameter, mean=1.0 if name.endswith("norm.weight") else 0.0, std=spread
                )
        return model.eval()

    return make


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """`assert_same(found, expected)`: equal to 1e-5 of the largest number expected."""

    def check(found: "Tensor", expected: "Tensor", tolerance: float = 1e-5) -> None:
        assert found.shape == expected.shape
        difference = (found - expected).abs().max().item()
        assert difference <= tolerance * expected.abs().max().item(), difference

    return check


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """A headless Chromium, for the pages of reports and of the guide."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("needs Chromium on Linux or macOS, which is not here: apt install chromium")
    with Chromium(executable) as chromium:
        yield chromium
