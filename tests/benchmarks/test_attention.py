"""Whether benchmarks/attention.py compares the same thing on both paths, and counts memory rightly."""

import random

import attention
import pytest
import torch

CPU = torch.device("cpu")


@pytest.mark.parametrize("backward", [True, False])
def test_both_paths_compute_the_same(backward: bool) -> None:
    qkv = attention.packed(3, 50, torch.float32, CPU, backward)
    outputs = [attention._call(path, qkv)() for path in attention.PATHS.values()]
    explicit, fused = (output[0] if isinstance(output, tuple) else output for output in outputs)
    assert explicit.shape == (qkv.shape if backward else (3, 50, 6 * 64))
    torch.testing.assert_close(explicit, fused, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_only_the_explicit_path_keeps_the_attention_weights(dtype: torch.dtype, size: int) -> None:
    qkv = attention.packed(2, 300, dtype, CPU, True)
    weights = 2 * 6 * 300 * 300 * size
    assert weights <= attention.saved_bytes(attention.explicit, qkv) < 2 * weights
    assert attention.saved_bytes(attention.fused, qkv) < weights


def test_a_length_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "SECONDS_A_REPEAT", 0.001)
    qkv = attention.packed(2, 17, torch.float32, CPU, True)
    figures = attention.measure(qkv, 3, random.Random(0))
    assert len(figures["explicit"]["seconds"]) == len(figures["fused"]["seconds"]) == 3
    ratio = figures["fused"]["median"] / figures["explicit"]["median"]
    assert figures["explicit_times_as_fast"] == pytest.approx(ratio)
