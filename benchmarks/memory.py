"""What it brings that a process keeps the memory that tensors free: `keep_memory` in src/vitral/device.py.

Milliseconds and page faults of a training step of ViT-S/16 (batch 16) on the processor, with and without, each
measurement in a process of its own, in turns. Linux with GNU's C library only.
"""

import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

REPEATS, STEPS = 5, 7
WORK = """
import resource, statistics, sys, time
import torch
import vitral.training.plan as plan
from rows import Row, make_step, make_task
from vitral.device import choose
from vitral.model import config_for

if sys.argv[1] == "given back":
    plan.keep_memory = lambda: False
task = make_task(config_for("vit_small_patch16_224"), 16, torch.device("cpu"))
step = make_step(Row("vitral", choose("cpu").precision, False), task)
for _ in range(3):
    step()
times, before = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(int(sys.argv[2])):
    started = time.perf_counter()
    step()
    times.append(1000 * (time.perf_counter() - started))
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(statistics.median(times), faults / len(times))
"""


def measure(memory: str) -> tuple[float, float]:
    """Milliseconds and page faults a step."""
    command = [sys.executable, "-c", WORK, memory, str(STEPS)]
    folder = Path(__file__).parent
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    milliseconds, faults = map(float, done.stdout.split())
    return milliseconds, faults


def main() -> None:
    """Measure both in turn, and print medians with the range."""
    found: dict[str, list[tuple[float, float]]] = {"given back": [], "kept": []}
    for _ in range(REPEATS):
        for memory, figures in found.items():
            figures.append(measure(memory))
    table = Table("memory that is freed", "ms a step", "from", "to", "page faults a step")
    for memory, figures in found.items():
        times, faults = zip(*figures, strict=True)
        row = [statistics.median(times), min(times), max(times), statistics.median(faults)]
        table.add_row(memory, *(f"{figure:,.0f}" for figure in row))
    Console().print(table)


if __name__ == "__main__":
    main()
