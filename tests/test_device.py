"""What "auto" means for device and precision, and what is refused."""

import platform
import subprocess
import sys

import pytest
import torch

from vitral import device as device_module
from vitral.device import Compute, choose
from vitral.errors import UsageError


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)


@pytest.mark.parametrize(
    ("native", "speed_up", "precision"), [(True, 3.0, "bf16"), (True, 0.7, "fp32"), (False, 3.0, "fp32")]
)
def test_without_a_gpu_it_is_the_processor(
    no_gpu: None, monkeypatch: pytest.MonkeyPatch, native: bool, speed_up: float, precision: str
) -> None:
    monkeypatch.setattr(device_module, "cpu_multiplies_bf16", lambda: native)
    monkeypatch.setattr(device_module, "bf16_speed_up", lambda: speed_up)
    compute = choose()
    assert compute.device == torch.device("cpu")
    assert compute.precision == precision
    assert "no GPU" in compute.device_reason
    assert "bf16" in compute.precision_reason


def test_bf16_is_taken_where_linux_says_the_processor_has_it() -> None:
    """/proc/cpuinfo is another witness of the same processor."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next(line for line in file if line.startswith(("flags", "Features"))).split()
    except (OSError, StopIteration):
        pytest.skip("no /proc/cpuinfo here")
    device_module.cpu_multiplies_bf16.cache_clear()
    assert device_module.cpu_multiplies_bf16() == bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


def test_the_speed_of_bf16_is_that_of_its_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor made slow in one of the two is seen to be so."""
    real = torch.nn.functional.linear

    def slow_in(dtype: torch.dtype):
        def product(tokens: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            for _ in range(20 if tokens.dtype == dtype else 1):
                found = real(tokens, weight)
            return found

        return product

    speed_ups = []
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(device_module, "linear", slow_in(dtype))
        speed_ups.append(device_module.bf16_speed_up.__wrapped__())
    assert speed_ups[0] > 4 * speed_ups[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_asked_for_is_taken(precision: str) -> None:
    compute = choose("cpu", precision)
    assert (compute.device.type, compute.precision) == ("cpu", precision)
    assert compute.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert (compute.device_reason, compute.precision_reason) == ("asked for", "asked for")


def test_with_a_gpu_it_is_the_gpu(two_gpus: None) -> None:
    compute = choose()
    assert (compute.device, compute.precision) == (torch.device("cuda", 1), "bf16")
    assert choose("cuda:0", "fp16").device == torch.device("cuda", 0)
    with pytest.raises(UsageError, match="cuda:2"):
        choose("cuda:2")


def test_a_gpu_without_bf16_computes_in_fp32(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert choose().precision == "fp32"


@pytest.mark.parametrize(
    ("device", "precision", "words"),
    [
        ("gpu", "auto", "auto, cpu, cuda, mps"),
        ("", "auto", "cpu"),
        ("meta", "auto", "cpu, cuda, mps"),
        ("cuda", "auto", "0 CUDA GPUs.*auto"),
        ("cuda:7", "auto", "cuda:7"),
        ("mps", "auto", "--device cpu"),
        ("cpu", "fp8", "fp32, bf16, fp16"),
        ("cpu", "fp16", "bf16 or fp32"),
        ("auto", "fp16", "bf16 or fp32"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(
    no_gpu: None, device: str, precision: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        choose(device, precision)
    assert "\n" not in str(caught.value)


def test_a_device_has_a_name() -> None:
    assert device_module.describe(torch.device("cpu")) == "cpu"
    assert Compute(torch.device("cpu"), "", "fp32", "").dtype == torch.float32


FAULTS = """
import resource, torch
from vitral.device import keep_memory
print(keep_memory())
torch.ones(25_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(25_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is GNU's C library that gives memory back")
def test_memory_that_is_kept_is_not_fetched_again() -> None:
    """Ten times 100 MB are 244,140 pages of 4 KiB to fetch where nothing is kept."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    assert kept == "True"
    assert int(faults) < 2_000
