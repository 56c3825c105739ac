"""How long OpenMP's threads spin while they wait for one another, before they let go of the core: GOMP_SPINCOUNT.

vitral asks for 50,000 turns (src/vitral/__init__.py). This shows why: milliseconds for a chain of small operations, on
a machine left alone and on one where something else keeps one core busy. Every measurement is a process of its own,
since the runtime reads the setting once. Linux only, where torch brings GNU's runtime.
"""

import os
import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

REPEATS = 5
TURNS = ("5000", "50000", "300000")  # the last is what the runtime does by itself
WORK = """
import time, torch
a, w = torch.randn(6272, 128), torch.randn(128, 128)
def work():
    for _ in range(50):
        torch.nn.functional.gelu(a @ w) + a
work()
started = time.perf_counter()
work(), work()
print((time.perf_counter() - started) * 10)
"""


def measure(turns: str) -> float:
    """Milliseconds for one product, GELU and addition on (6272, 128) numbers."""
    environment = os.environ | {"GOMP_SPINCOUNT": turns}
    done = subprocess.run(
        [sys.executable, "-c", WORK], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Measure the settings in turn, without and with a neighbour, and print the medians."""
    table = Table("machine", *(f"{int(turns):,} turns, ms" for turns in TURNS))
    for label, busy in (("left alone", False), ("one core busy", True)):
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            times: dict[str, list[float]] = {turns: [] for turns in TURNS}
            for _ in range(REPEATS):
                for turns, found in times.items():
                    found.append(measure(turns))
        finally:
            if neighbour is not None:
                neighbour.kill()
        table.add_row(label, *(f"{statistics.median(found):.2f}" for found in times.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
