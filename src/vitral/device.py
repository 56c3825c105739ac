"""Device and precision: what "auto" means on this machine, and why."""

import ctypes
import functools
import mmap
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch.nn.functional import linear

from vitral.errors import UsageError
from vitral.language import Sentence

DEVICES = ("auto", "cpu", "cuda", "mps")
ASKED_FOR = Sentence("asked for", "a pedido")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
# bf16 is taken on a processor that multiplies so many times faster in it than in fp32.
LEAST_SPEED_UP = 1.5
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
        """The type that torch multiplies in: fp32 beside what another backend does in int8."""
        return DTYPES.get(self.precision, torch.float32)


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
    return Compute(place, place_reason, precision, ASKED_FOR)


@functools.cache
def cpu_multiplies_bf16() -> bool:
    """Whether this processor has instructions for bf16 products (AVX-512 bf16, AMX, or Arm's)."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if capabilities:
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))
    # Before torch 2.11:
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)


@functools.cache
def bf16_speed_up() -> float:
    """How many times faster this processor multiplies matrices in bf16 than in fp32, measured in some milliseconds.

    Having the instructions does not settle it: with AMX bf16 is several times faster, with AVX-512 alone the same
    processor takes longer than in fp32. The two take turns, and the fastest turn of each counts, so that a busy
    machine does not decide.
    """
    products = []
    for dtype in (torch.float32, torch.bfloat16):
        products.append((torch.ones(512, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype)))
    fastest = [float("inf")] * 2
    with torch.inference_mode():
        for turn in range(12):
            for which, (tokens, weight) in enumerate(products):
                started = perf_counter()
                linear(tokens, weight)
                if turn:  # the first one prepares
                    fastest[which] = min(fastest[which], perf_counter() - started)
    return fastest[0] / fastest[1]


@functools.cache
def keep_memory() -> bool:
    """Let this process keep the memory that tensors free, in huge pages, instead of fetching it anew every step.

    GNU's C library gives large blocks back to Linux as soon as they are freed, and Linux hands them out again page by
    page and zeroed: a sixth of a training step on a processor (benchmarks/memory.py). What is kept
    belongs to this process until it ends. Elsewhere than with GNU's C library nothing is done.

    Returns:
        Whether memory is kept.
    """
    try:
        library = ctypes.CDLL("libc.so.6")
        set_option, allocate, free, advise = library.mallopt, library.malloc, library.free, library.madvise
    except (OSError, AttributeError):
        return False
    # The options' numbers stand in malloc.h. The third is what the heap grows by: address space, not memory.
    trim_threshold, top_pad, most_mappings = -1, -2, -4
    kept = bool(
        set_option(most_mappings, 0) and set_option(trim_threshold, -1) and set_option(top_pad, 2**31 - 1)
    )
    allocate.restype, allocate.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    free(allocate(2**28))  # the heap grows, before it is told to be of huge pages
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.endswith("[heap]"):
            start, end = (int(address, 16) for address in line.split(maxsplit=1)[0].split("-"))
            advise(start, end - start, mmap.MADV_HUGEPAGE)
    return kept


def describe(device: torch.device) -> str:
    """The name of a device as people know it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _device(name: str) -> tuple[torch.device, str]:
    if name == "auto":
        if torch.cuda.is_available():
            here = Sentence("a CUDA GPU is here", "há uma GPU CUDA")
            return torch.device("cuda", torch.cuda.current_device()), here
        if torch.backends.mps.is_available():
            return torch.device("mps"), Sentence("an Apple GPU is here", "há uma GPU da Apple")
        return torch.device("cpu"), Sentence("no GPU is here", "não há GPU")
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
    return device, ASKED_FOR


def _best_precision(device: torch.device) -> tuple[str, str]:
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", Sentence("the GPU multiplies bf16 natively", "a GPU multiplica bf16")
        return "fp32", Sentence("the GPU has no bf16", "a GPU não tem bf16")
    if device.type == "mps":
        return "fp32", Sentence("bf16 is not measured on Apple GPUs", "bf16 não foi medido em GPUs da Apple")
    if not cpu_multiplies_bf16():
        return "fp32", Sentence(
            "the processor has no bf16 instructions", "o processador não tem instruções bf16"
        )
    if bf16_speed_up() < LEAST_SPEED_UP:
        return "fp32", Sentence(
            "the processor's bf16 was measured and is no faster",
            "o bf16 do processador foi medido e não é mais rápido",
        )
    return "bf16", Sentence("the processor multiplies bf16 natively", "o processador multiplica bf16")
