"""How OpenMP's threads wait for one another: OMP_WAIT_POLICY ACTIVE (spin) against PASSIVE (let go of the core).

vitral asks for PASSIVE (src/vitral/__init__.py). This shows why: milliseconds for a chain of small operations, on a
machine left alone and on one where something else keeps one core busy. Every measurement is a process of its own, since
the runtime reads the setting once.
"""

import os
import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

REPEATS = 5
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


def measure(policy: str) -> float:
    """Milliseconds for one product, GELU and addition on (6272, 128) numbers."""
    environment = os.environ | {"OMP_WAIT_POLICY": policy}
    done = subprocess.run(
        [sys.executable, "-c", WORK], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Measure both policies in turn, without and with a neighbour, and print the medians."""
    table = Table("machine", "ACTIVE, ms", "PASSIVE, ms", "ratio")
    for label, busy in (("left alone", False), ("one core busy", True)):
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            times: dict[str, list[float]] = {"ACTIVE": [], "PASSIVE": []}
            for _ in range(REPEATS):
                for policy, found in times.items():
                    found.append(measure(policy))
        finally:
            if neighbour is not None:
                neighbour.kill()
        active, passive = (statistics.median(found) for found in times.values())
        table.add_row(label, f"{active:.2f}", f"{passive:.2f}", f"{active / passive:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
