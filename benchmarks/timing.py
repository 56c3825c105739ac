"""What the benchmarks share: interleaved repeats, medians and quartiles, what they ran on, tables."""

import random
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib import metadata
from time import monotonic, perf_counter
from typing import Any, Protocol, TypeVar

import torch
from rich.console import Console
from rich.table import Table

from vitral.device import describe
from vitral.runs.machine import machine, versions

PEERS = ("timm", "transformers", "vit-pytorch", "triton", "openvino", "nncf", "onnx", "onnxruntime")


class Named(Protocol):
    """What has a name in a table."""

    @property
    def name(self) -> str: ...


Figure = TypeVar("Figure")
Row = TypeVar("Row", bound=Named)


def interleaved(
    contestants: Mapping[str, Callable[[], Figure]], repeats: int, deadline: float, generator: random.Random
) -> dict[str, list[Figure]]:
    """Let all contestants take turns, in another order every round, so that what disturbs one disturbs all.

    Args:
        contestants: by name, what measures one of them once and returns its figure, or several.
        repeats: rounds.
        deadline: on the clock of `time.monotonic`; a round after the first that would end later is not begun.
        generator: of the order.

    Returns:
        By name, in the order of `contestants`, one figure a round.
    """
    figures: dict[str, list[Figure]] = {name: [] for name in contestants}
    longest = 0.0
    for index in range(repeats):
        began = monotonic()
        if index and began + longest > deadline:
            break
        for name in generator.sample(list(contestants), len(contestants)):
            figures[name].append(contestants[name]())
        longest = max(longest, monotonic() - began)
    return figures


def chosen(rows: Sequence[Row], patterns: Sequence[str] | None, hint: str = "") -> list[Row]:
    """The rows whose names fit one of the patterns (`*` stands for anything); all where there are none."""
    if not patterns:
        return list(rows)
    for pattern in patterns:
        if not any(fnmatchcase(row.name, pattern) for row in rows):
            names = ", ".join(row.name for row in rows)
            raise SystemExit(
                f"error: no row is called {pattern!r}: there are {names}" + (f" ({hint})" if hint else "")
            )
    return [row for row in rows if any(fnmatchcase(row.name, pattern) for pattern in patterns)]


def seconds_a_call(call: Callable[[], object], calls: int, device: torch.device) -> float:
    """How long one of `calls` calls in a row takes, by the GPU's own clock where there is one."""
    if device.type != "cuda":
        began = perf_counter()
        for _ in range(calls):
            call()
        return (perf_counter() - began) / calls
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    first.record()
    for _ in range(calls):
        call()
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last) / 1000 / calls


def calls_for(seconds: float, one_call: float) -> int:
    """How many calls of `one_call` seconds fill `seconds`; at least one."""
    return max(1, round(seconds / one_call))


def spread(figures: Sequence[float]) -> dict[str, float]:
    """The median and the two quartiles around it."""
    if len(figures) == 1:
        return {"median": figures[0], "lower_quartile": figures[0], "upper_quartile": figures[0]}
    lower, middle, upper = statistics.quantiles(figures, n=4, method="inclusive")
    return {"median": middle, "lower_quartile": lower, "upper_quartile": upper}


def circumstances(device: torch.device) -> dict[str, Any]:
    """When, by which command, on what and with which versions: the head of a result."""
    found = versions()
    for name in PEERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    where = {"device": describe(device), "threads": torch.get_num_threads()}
    return {
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine() | where,
        "versions": found,
    }


def usable_device(name: str) -> torch.device:
    """cpu or cuda; "auto" takes the GPU where there is one. The program ends where there is no such device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: this machine offers no CUDA GPU: take --device cpu")
    return torch.device(name, torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table, the first column to the left and the others to the right."""
    drawn = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, heading in enumerate(headings):
        drawn.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*row)
    return drawn


def console(stderr: bool = False) -> Console:
    """Results go to standard output, remarks to standard error; nothing is folded where no terminal sets a width."""
    made = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made.width = 200
    return made
