"""What every command prints its results with: JSON or text on standard output, the rest on standard error."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_result(document: Any, as_json: bool, text: Callable[["Console"], None]) -> None:
    """Print a result on standard output: one JSON document and nothing else, or text for people.

    Args:
        document: what `--json` prints; made of dict, list, str, int, finite float, bool and None.
        as_json: whether `--json` was given.
        text: prints the same for people on the console it is given; not called with `--json`.
    """
    if as_json:
        print(_json_for(sys.stdout.encoding, document))
    else:
        text(results())


def results() -> "Console":
    """The console on standard output, for results."""
    return _console(stderr=False)


def progress() -> "Console":
    """The console on standard error, for progress and remarks."""
    return _console(stderr=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> "Table":
    """A plain table; columns that hold numbers only are aligned to the right.

    Args:
        headings: one a column.
        rows: one value a column: text as it is, numbers and None as `number` says them.
    """
    from rich.table import Table

    rows = [list(row) for row in rows]
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        numeric = all(not isinstance(row[index], str) for row in rows)
        drawn.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(value if isinstance(value, str) else number(value) for value in row))
    return drawn


def number(value: float | None) -> str:
    """A number for people: 1,797 and 0.9733 and 3.2e-05, at most four digits of a fraction, – for None."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _console(stderr: bool) -> "Console":
    from rich.console import Console

    # Class names and paths are not markup. Where no terminal sets the width, nothing needs to be folded.
    # Bars move in terminals alone, also where FORCE_COLOR asks for colours elsewhere, as notebooks do.
    moving = sys.stderr.isatty() if stderr else None
    console = Console(
        stderr=stderr, force_terminal=moving, markup=False, highlight=False, emoji=False, soft_wrap=False
    )
    if not console.is_terminal:
        console.width = 1000
    return console


def _json_for(encoding: str | None, document: Any) -> str:
    """Letters as they are where the stream can say them, escaped where it cannot (some Windows pipes)."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2, allow_nan=False)
    return text
