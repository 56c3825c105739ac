"""The interface of all backends, and which of them `auto` means here. No torch."""

import importlib.util
import platform
import sys
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Protocol

import numpy as np

from vitral.errors import UsageError
from vitral.language import Sentence

BACKENDS = ("auto", "torch", "openvino", "onnx")
PRECISIONS = {
    "torch": ("auto", "fp32", "bf16", "fp16"),
    "openvino": ("auto", "fp32", "bf16", "int8"),
    "onnx": ("auto", "fp32"),
}
# backend: (package, extra that brings it)
PACKAGES = {"openvino": ("openvino", "fast"), "onnx": ("onnxruntime", "onnx")}
ASKED_FOR = Sentence("asked for", "a pedido")


class Backend(Protocol):
    """A network, ready to run, and how it runs.

    Attributes:
        name: torch, openvino or onnx.
        precision: what it computes in: fp32, bf16, fp16 or int8.
        device: cpu, cuda:0 or mps.
        reason: why this backend in this precision.
    """

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def reason(self) -> str: ...

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """What the network makes of images: a row each.

        Args:
            pixels: what `Preprocessing.fit_image` gives, `(batch, height, width, channels)`, any number of them.

        Returns:
            float32 `(batch, outputs)`: a classifier's probabilities, an embedder's vectors.
        """
        ...


@dataclass(frozen=True)
class Choice:
    """Which backend, and why."""

    backend: str
    reason: str

    @property
    def by_name(self) -> bool:
        """Whether just this backend was asked for."""
        return self.reason == ASKED_FOR


def choose_backend(backend: str = "auto", device: str = "auto", precision: str = "auto") -> Choice:
    """Resolve `--backend`; `device` and `precision` are what was asked for beside it.

    auto is OpenVINO on x86-64 processors where it is installed, and torch everywhere else: ONNX Runtime has been
    nowhere the fastest of the three (benchmarks/inference.py).

    Raises:
        UsageError: there is no such backend, it is not installed, or it does not go with device or precision.
    """
    if backend not in BACKENDS:
        raise UsageError(f"no backend is called {backend!r}: there are {', '.join(BACKENDS)}")
    choice = _fastest(device, precision) if backend == "auto" else Choice(backend, ASKED_FOR)
    name = choice.backend
    if precision not in PRECISIONS[name]:
        raise UsageError(_no_such_precision(name, precision))
    if name != "torch" and device not in ("auto", "cpu"):
        raise UsageError(f"--backend {name} computes on the processor: leave out --device {device}")
    check_installed(name)
    return choice


def check_installed(backend: str) -> None:
    """UsageError, naming the extra, where a backend's package is not here."""
    if backend in PACKAGES and not _installed(backend):
        package, extra = PACKAGES[backend]
        raise UsageError(f"--backend {backend} needs {package}: pip install 'vitral[{extra}]'")


def may_have_gpu() -> bool:
    """Whether a GPU that torch could compute on may be here, seen without asking torch, which takes seconds to come."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return Path("C:/Windows/System32/nvcuda.dll").exists()
    return bool(glob("/dev/nvidia[0-9]*") or glob("/dev/kfd") or glob("/dev/dxg"))


def _fastest(device: str, precision: str) -> Choice:
    if precision == "int8":
        return Choice("openvino", Sentence("int8 is OpenVINO's", "int8 é do OpenVINO"))
    if device not in ("auto", "cpu"):
        return Choice("torch", Sentence(f"{device} is torch's", f"{device} é do torch"))
    if precision == "fp16":
        return Choice("torch", Sentence("fp16 is for GPUs", "fp16 é para GPUs"))
    if device == "auto" and may_have_gpu():
        return Choice("torch", Sentence("a GPU may be here", "pode haver uma GPU"))
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return Choice("torch", Sentence("the processor is no x86-64", "o processador não é x86-64"))
    if not _installed("openvino"):
        missing = Sentence(
            "OpenVINO is not installed: pip install 'vitral[fast]'",
            "o OpenVINO não está instalado: pip install 'vitral[fast]'",
        )
        return Choice("torch", missing)
    return Choice("openvino", Sentence("the fastest on processors", "o mais rápido em processadores"))


def _installed(backend: str) -> bool:
    return importlib.util.find_spec(PACKAGES[backend][0]) is not None


def _no_such_precision(backend: str, precision: str) -> str:
    if not any(precision in known for known in PRECISIONS.values()):
        return f"no precision is called {precision!r}: there are auto, fp32, bf16, fp16, int8"
    return f"--backend {backend} has no {precision}: choose one of {', '.join(PRECISIONS[backend])}"
