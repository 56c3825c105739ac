"""Images per second of one full training step (forward, backward, update), vitral beside its peers in one run.

    python benchmarks/training.py --models vit_small_patch16_224 --batch-size 16
    python benchmarks/training.py --rows 'vitral-*' timm-bf16 --compiled --seconds 600

README.md beside this file says what the rows are and how to read the figures.
"""

import argparse
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from contestant import Contestant, RowFailed
from peaks import peak_of
from rows import BETAS, CLIP_NORM, LEARNING_RATE, WEIGHT_DECAY, Row, Task, all_rows, make_task
from timing import (
    chosen,
    circumstances,
    console,
    interleaved,
    spread,
    table,
    usable_device,
)

from vitral.files import write_json
from vitral.model import ViTConfig, config_for
from vitral.model.summary import summarise
from vitral.runs.machine import usable_memory

MODELS = ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224"]
MODELS_ON_GPU = [*MODELS, "vit_large_patch16_224"]
BATCH_SIZES = {"cpu": 16, "cuda": 128}
REPEATS = {"cpu": 7, "cuda": 15}
PROCESS_BYTES = 3e8  # of main memory, before a process has a model
# The part of a model's share of --seconds after which no further row is built: the rest is for measuring.
BUILDING_SHARE = 0.7

NOTES = (
    f"Every row: the same images and labels, cross-entropy over 1000 classes, AdamW (learning rate {LEARNING_RATE:g}, "
    f"betas {BETAS[0]:g} and {BETAS[1]:g}, weight decay {WEIGHT_DECAY:g}), no dropout, no augmentation.",
    "vitral: the step of `vitral train`, with uint8 images from main memory, their normalisation, gradient clipping "
    f"at {CLIP_NORM:g} and fused AdamW; in bf16 the model is bf16 and the weights that learn are fp32.",
    "Peers: fp32 images, normalised, on the device already; no clipping; torch.optim.AdamW as it comes; bf16 by "
    "torch.autocast. Compiled: torch.compile(model).",
    "Every row has a process of its own; a turn begins with a step that does not count.",
    "* what the library does where nothing is asked for, ** in trainings long enough for torch.compile to pay. "
    "Quartiles stand in brackets.",
)


def main() -> int:
    options = _options()
    device = usable_device(options.device)
    compiled = device.type == "cuda" if options.compiled is None else options.compiled
    models = options.models or (MODELS_ON_GPU if device.type == "cuda" else MODELS)
    batch_size = options.batch_size or BATCH_SIZES[device.type]
    repeats = options.repeats or REPEATS[device.type]
    rows = chosen(all_rows(compiled, device), options.rows, "compiled ones with --compiled")
    configs = {name: config_for(name) for name in models}
    remarks, results = console(stderr=True), console()

    deadline = monotonic() + options.seconds
    document: dict[str, Any] = {"benchmark": "training"} | circumstances(device)
    document["settings"] = {
        "batch_size": batch_size,
        "repeats": repeats,
        "seconds": options.seconds,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }
    document |= {"peak_bf16_operations_per_second": peak_of(device), "notes": NOTES, "models": []}
    failed = False
    for index, (name, config) in enumerate(configs.items()):
        share = (deadline - monotonic()) / (len(configs) - index)
        task = make_task(config, batch_size, device)
        measured = measure_model(name, task, rows, repeats, monotonic() + share, remarks.print)
        document["models"].append(measured)
        write_json(options.output, document)  # after every model: what is measured stays, whatever comes
        results.print(_table(measured, batch_size), "")
        for line in _remarks(measured):
            results.print(line)
        results.print("")
        failed = failed or any(left_out["failed"] for left_out in measured["left_out"])
    for line in NOTES:
        results.print(line)
    results.print(f"All times: {options.output}")
    return int(failed)


def measure_model(
    name: str,
    task: Task,
    rows: Sequence[Row],
    repeats: int,
    deadline: float,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """All rows of one model, in turns where they fit into memory together, else one after the other.

    Returns:
        What stands in the JSON under "models".
    """
    together = memory_needed(task.config, len(task.labels), rows) <= 0.85 * _memory(task.device)
    left_out: list[dict[str, Any]] = []
    started, generator = monotonic(), random.Random(0)
    contestants: dict[Row, Contestant] = {}
    times: dict[Row, list[float]] = {}
    for index, row in enumerate(rows):
        now = monotonic()
        row_deadline = now + (deadline - now) / (len(rows) - index)
        late = now > (started + BUILDING_SHARE * (deadline - started) if together else deadline)
        contestant = _built(row, task, late and bool(contestants), left_out)
        if contestant is None:
            say(f"{name}  {row.name}: left out, {left_out[-1]['reason']}")
            continue
        say(f"{name}  {row.name}: ready after {contestant.warm_up_seconds:.1f} s")
        contestants[row] = contestant
        if not together:
            times |= _take_turns({row: contestant}, repeats, row_deadline, generator, left_out)
            contestant.let_go()
    if together:
        times = _take_turns(contestants, repeats, deadline, generator, left_out)
        for contestant in contestants.values():
            contestant.let_go()
    measured = [_figures(row, contestants[row], seconds, task) for row, seconds in times.items()]
    return {
        "model": name,
        "architecture": task.config.to_dict(),
        "parameters": summarise(task.config).parameters,
        "multiply_adds": summarise(task.config).multiply_adds,
        "interleaved": together,
        "rows": measured,
        "left_out": left_out,
        "comparisons": comparisons(measured),
    }


def _built(row: Row, task: Task, late: bool, left_out: list[dict[str, Any]]) -> Contestant | None:
    """The row ready to be measured, or None with the reason in `left_out`: one row's trouble is not the others'."""
    failed = False
    if not row.installed:
        reason = f"{row.library} is not installed"
    elif late:
        reason = "no time was left within --seconds"
    else:
        try:
            return Contestant(row, task)
        except RowFailed as error:
            reason, failed = error.reason, error.failed
    left_out.append({"row": row.name, "reason": reason, "failed": failed})
    return None


def _take_turns(
    contestants: dict[Row, Contestant],
    repeats: int,
    deadline: float,
    generator: random.Random,
    left_out: list[dict[str, Any]],
) -> dict[Row, list[float]]:
    """Seconds a step, one number a repeat; without the rows that failed on the way, which go into `left_out`."""
    failures: dict[Row, RowFailed] = {}

    def measure(row: Row) -> float:
        if row not in failures:
            try:
                return contestants[row].measure()
            except RowFailed as error:
                failures[row] = error
        return math.nan

    rows = {row.name: row for row in contestants}
    calls = {name: partial(measure, row) for name, row in rows.items()}
    times = interleaved(calls, repeats, deadline, generator)
    left_out += [
        {"row": row.name, "reason": error.reason, "failed": error.failed} for row, error in failures.items()
    ]
    return {rows[name]: seconds for name, seconds in times.items() if rows[name] not in failures}


def _figures(row: Row, contestant: Contestant, seconds: list[float], task: Task) -> dict[str, Any]:
    rate = spread([len(task.labels) / each for each in seconds])
    return {
        "row": row.name,
        **asdict(row),
        "default": row.is_default(task.device),
        "default_when_long": row.is_default(task.device, long=True),
        "images_per_second": rate,
        "seconds_per_step": seconds,
        "steps_per_repeat": contestant.calls,
        "warm_up_seconds": contestant.warm_up_seconds,
        "model_flops_utilisation": utilisation(
            summarise(task.config).multiply_adds, rate["median"], peak_of(task.device)
        ),
        "peak_memory_bytes": contestant.peak or None,
    }


def comparisons(measured: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """vitral against the fastest peer: default against default, then at equal precision, compiled and not.

    In a long training vitral compiles by default, and a peer's default is what it always is.
    """
    kinds: dict[str, list[dict[str, Any]]] = {
        "default": [row for row in measured if row["default"]],
        "default in a long training": [row for row in measured if row["default_when_long"]],
    }
    for row in measured:
        kinds.setdefault(row["precision"] + (", compiled" if row["compiled"] else ""), []).append(row)
    found = []
    for kind, rows in kinds.items():
        ours = [row for row in rows if row["library"] == "vitral"]
        peers = [row for row in rows if row["library"] != "vitral"]
        if ours and peers:
            fastest = max(peers, key=_median)
            times = _median(ours[0]) / _median(fastest)
            found.append(
                {
                    "kind": kind,
                    "vitral": ours[0]["row"],
                    "fastest_peer": fastest["row"],
                    "times_as_fast": times,
                }
            )
    return found


def utilisation(multiply_adds: int, images_per_second: float, peak: float | None) -> float | None:
    """The share of the device's peak that goes into the model's own products; None where the peak is not known.

    Two operations a multiply-add; backward counts twice as much as forward; nothing that is computed again counts.
    """
    return None if peak is None else 3 * 2 * multiply_adds * images_per_second / peak


def memory_needed(config: ViTConfig, batch_size: int, rows: Sequence[Row]) -> int:
    """Bytes for the weights and moments of all rows and the activations of the one that steps; roughly.

    Weights, two moments and a bf16 copy take 14 bytes a parameter; gradients and autocast's bf16 weights 6 more in the
    one row that steps. What that row keeps for the way back was added up over the tensors of an encoder layer: 44 bytes
    a number of the residual stream in bf16, 80 in fp32, and 8 a number of explicit attention weights.
    """
    tokens = config.special_tokens + config.patches
    per_number = 80 if any(row.precision == "fp32" for row in rows) else 44
    kept = batch_size * tokens * config.layers * (per_number * config.dim + 8 * config.heads * tokens)
    installed = sum(row.installed for row in rows)
    return round(summarise(config).parameters * (14 * installed + 6) + kept + PROCESS_BYTES * installed)


def _memory(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else usable_memory()


def _median(row: dict[str, Any]) -> float:
    return row["images_per_second"]["median"]


def _table(measured: dict[str, Any], batch_size: int) -> Any:
    rows = []
    for row in measured["rows"]:
        rate, share, peak = row["images_per_second"], row["model_flops_utilisation"], row["peak_memory_bytes"]
        rows.append(
            (
                row["row"] + (" *" if row["default"] else " **" if row["default_when_long"] else ""),
                f"{rate['median']:,.1f}",
                f"[{rate['lower_quartile']:,.1f}–{rate['upper_quartile']:,.1f}]",
                f"{1000 * batch_size / rate['median']:,.1f}",
                str(len(row["seconds_per_step"])),
                "–" if share is None else f"{share:.1%}",
                "–" if peak is None else f"{peak / 2**30:.1f}",
            )
        )
    how = "in turns" if measured["interleaved"] else "one after the other: too large for memory together"
    title = f"{measured['model']}, batch {batch_size}, {measured['multiply_adds'] / 1e9:.2f} G multiply-adds, {how}"
    headings = ("row", "images/s", "quartiles", "ms a step", "repeats", "of bf16 peak", "peak GiB")
    return table(title, headings, rows)


def _remarks(measured: dict[str, Any]) -> list[str]:
    lines = [
        f"{each['kind']}: {each['vitral']} is {each['times_as_fast']:.2f} times as fast as {each['fastest_peer']}"
        for each in measured["comparisons"]
    ]
    return lines + [f"left out: {each['row']} ({each['reason']})" for each in measured["left_out"]]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", metavar="MODEL", help="default: Ti/16, S/16, B/16, on a GPU L/16 too"
    )
    parser.add_argument("--batch-size", type=int, help="images a step (default: 16, on a GPU 128)")
    parser.add_argument("--repeats", type=int, help="rounds (default: 7, on a GPU 15)")
    parser.add_argument(
        "--rows", nargs="+", metavar="ROW", help="such as timm-bf16 or 'vitral-*' (default: all)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--compiled", action=argparse.BooleanOptionalAction, help="also compiled (default: on a GPU)"
    )
    parser.add_argument("--seconds", type=float, default=3600.0, help="time for all of it (default: 3600)")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/training.json"), metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
