"""Explicit softmax against the fused kernel (`scaled_dot_product_attention`), by length, precision and device.

    python benchmarks/attention.py

What it shows decides `explicit_is_faster` in `vitral/model/encoder.py`. "saved" is what forward leaves in memory for
backward, beside the queries, keys and values themselves.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from timing import (
    calls_for,
    circumstances,
    console,
    interleaved,
    seconds_a_call,
    spread,
    table,
    usable_device,
)
from torch import Tensor
from torch.nn import functional as F

from vitral.files import write_json
from vitral.model.encoder import attention_weights

TOKENS = [17, 50, 65, 197, 257, 577, 785, 1025, 1370]
HEADS, HEAD_DIM = 6, 64
TOKENS_A_BATCH = {"cpu": 3200, "cuda": 51200}  # about a batch of 16, or 256, at 224 pixels and patches of 16
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
SECONDS_A_REPEAT = 0.05

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention as the formula has it: `(batch, heads, tokens, head_dim)` three times in, once out."""
    return attention_weights(q, k) @ v


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same by torch's fused kernel."""
    return F.scaled_dot_product_attention(q, k, v)


PATHS: dict[str, Attention] = {"explicit": explicit, "fused": fused}


def main() -> int:
    options = _options()
    device = usable_device(options.device)
    document: dict[str, Any] = {"benchmark": "attention"} | circumstances(device)
    document["settings"] = {"heads": HEADS, "head_dim": HEAD_DIM, "repeats": options.repeats}
    document["lengths"] = []
    results, generator = console(), random.Random(0)
    for precision, dtype in PRECISIONS.items():
        for backward in (True, False):
            measured = []
            for tokens in options.tokens:
                batch_size = max(1, round((options.tokens_a_batch or TOKENS_A_BATCH[device.type]) / tokens))
                qkv = packed(batch_size, tokens, dtype, device, backward)
                figures = measure(qkv, options.repeats, generator)
                about = {
                    "precision": precision,
                    "backward": backward,
                    "tokens": tokens,
                    "batch_size": batch_size,
                }
                measured.append(about | figures)
            document["lengths"] += measured
            what = "forward and backward" if backward else "forward only"
            results.print(_table(f"{precision}, {what}, {HEADS} heads of {HEAD_DIM}", measured), "")
    write_json(options.output, document)
    results.print(f"All times: {options.output}")
    return 0


def packed(batch_size: int, tokens: int, dtype: torch.dtype, device: torch.device, backward: bool) -> Tensor:
    """Queries, keys and values as one dense layer puts them out: `(batch, tokens, 3, heads, head_dim)`."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(batch_size, tokens, 3, HEADS, HEAD_DIM, generator=generator)
    return values.to(device, dtype).requires_grad_(backward)


def measure(qkv: Tensor, repeats: int, generator: random.Random) -> dict[str, Any]:
    """Times and saved bytes of both paths."""
    runs, figures = {}, {}
    for name, attention in PATHS.items():
        call = _call(attention, qkv)
        for _ in range(3):
            call()
        calls = calls_for(SECONDS_A_REPEAT, seconds_a_call(call, 3, qkv.device))
        runs[name] = lambda call=call, calls=calls: seconds_a_call(call, calls, qkv.device)
    seconds = interleaved(runs, repeats, monotonic() + 3600, generator)
    for name, attention in PATHS.items():
        saved = saved_bytes(attention, qkv) if qkv.requires_grad else None
        figures[name] = {"seconds": seconds[name], **spread(seconds[name]), "saved_bytes": saved}
    figures["explicit_times_as_fast"] = figures["fused"]["median"] / figures["explicit"]["median"]
    return figures


def _call(attention: Attention, qkv: Tensor) -> Callable[[], object]:
    """Attention as in a layer of the model: heads taken apart before, side by side again afterwards."""
    if not qkv.requires_grad:

        def forward() -> Tensor:
            with torch.no_grad():
                return _merged(attention, qkv)

        return forward
    gradient = torch.ones_like(_merged(attention, qkv))
    return lambda: torch.autograd.grad(_merged(attention, qkv), qkv, gradient)


def _merged(attention: Attention, qkv: Tensor) -> Tensor:
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (batch, heads, tokens, head_dim)
    return attention(q, k, v).transpose(1, 2).flatten(2)


def saved_bytes(attention: Attention, qkv: Tensor) -> int:
    """What forward keeps for backward, without `qkv` itself; what several tensors share counts once."""
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (tensor, storage.nbytes())  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _merged(attention, qkv)
    kept.pop(qkv.untyped_storage().data_ptr(), None)
    return sum(size for _, size in kept.values())


def _table(title: str, measured: list[dict[str, Any]]) -> Any:
    rows = []
    for row in measured:
        saved = [row[name]["saved_bytes"] for name in PATHS]
        rows.append(
            (
                f"{row['tokens']:>6}",
                str(row["batch_size"]),
                *(f"{1000 * row[name]['median']:.3f}" for name in PATHS),
                f"{row['explicit_times_as_fast']:.2f}",
                *("–" if each is None else f"{each / 2**20:.1f}" for each in saved),
            )
        )
    headings = (
        "tokens",
        "batch",
        "explicit ms",
        "fused ms",
        "fused / explicit",
        "explicit saved MiB",
        "fused saved MiB",
    )
    return table(title, headings, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", nargs="+", type=int, default=TOKENS)
    parser.add_argument("--tokens-a-batch", type=int, help="about (default: 3200, on a GPU 51200)")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--output", type=Path, default=Path("build/benchmarks/attention.json"), metavar="FILE"
    )
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
