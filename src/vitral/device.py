"""Device and precision: what "auto" means on this machine, and why."""

import functools
from dataclasses import dataclass

import torch

from vitral.errors import UsageError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """Where and how numbers are computed, with the reason for each choice."""

    device: torch.device
    device_reason: str
    precision: str
    precision_reason: str

    @property
    def dtype(self) -> torch.dtype:
        """The type that matrix products take in."""
        return DTYPES[self.precision]


def choose(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolve `--device` and `--precision`.

    Args:
        device: auto, cpu, cuda, mps, or one device such as cuda:1.
        precision: auto, fp32, bf16 or fp16.

    Raises:
        UsageError: the machine has no such device, or the device no such precision.
    """
    place, place_reason = _device(device)
    if precision == "auto":
        return Compute(place, place_reason, *_best_precision(place))
    if precision not in DTYPES:
        raise UsageError(f"no precision is called {precision!r}: there are {', '.join(PRECISIONS)}")
    if precision == "fp16" and place.type == "cpu":
        raise UsageError("fp16 is not for processors: take bf16 or fp32, or a GPU")
    return Compute(place, place_reason, precision, "asked for")


@functools.cache
def cpu_multiplies_bf16() -> bool:
    """Whether this processor has instructions for bf16 products (AVX-512 bf16, AMX, or Arm's)."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if capabilities:
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))
    # Before torch 2.11:
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)


def describe(device: torch.device) -> str:
    """The name of a device as people know it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _device(name: str) -> tuple[torch.device, str]:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device()), "a CUDA GPU is here"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "an Apple GPU is here"
        return torch.device("cpu"), "no GPU is here"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device is called {name!r}: there are {', '.join(DEVICES)}") from None
    if device.type not in DEVICES:
        raise UsageError(f"no device is called {name!r}: there are {', '.join(DEVICES)}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise UsageError(
            f"this machine offers no device {name}: torch sees {seen} CUDA GPUs; take --device auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("this machine offers no device mps: it is Apple silicon's; take --device cpu")
    return device, "asked for"


def _best_precision(device: torch.device) -> tuple[str, str]:
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU multiplies bf16 natively"
        return "fp32", "the GPU has no bf16"
    if device.type == "mps":
        return "fp32", "bf16 is not measured on Apple GPUs"
    if cpu_multiplies_bf16():
        return "bf16", "the processor multiplies bf16 natively"
    return "fp32", "the processor has no bf16 instructions"
