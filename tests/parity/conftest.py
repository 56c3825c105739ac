"""Peers with weights in which nothing can hide, agreement with them, and the tables of it that stand in the docs."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROWS = pytest.StashKey[list[tuple[str, str, str, str, float]]]()
OUTPUTS = "<!-- parity: written by `make parity` -->", "<!-- end of parity -->"
ATTENTION = "<!-- parity of attention: written by `make parity` -->", "<!-- end of parity of attention -->"


@pytest.fixture(scope="session")
def stirred() -> Callable[..., Any]:
    """`stirred(module, seed=0)`: the module in evaluation mode, every parameter random, zeros and ones too."""
    import torch

    def make(module: Any, seed: int = 0) -> Any:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                middle = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
                spread = 0.3 if parameter.ndim < 2 else max(parameter[0].numel(), 1) ** -0.5
                parameter.copy_(middle + spread * torch.randn(parameter.shape, generator=generator))
        return module.eval()

    return make


@pytest.fixture
def agree(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`agree(family, network, found, expected, peer="timm", way="in")`: equal to 1e-5 of the scale, and noted.

    Args of the function: `family` as in `FAMILIES`; `network`, the peer's class or what it stands for; `found` and
    `expected`, tensors or arrays; `peer`, the package that `expected` is from, or who made it; `way`, "in" for weights
    that vitral read, "out" for weights that it wrote and the peer read, "attention" for what a layer looked at, which
    has a table of its own; `tolerance`, of the largest number expected.
    """
    import numpy as np

    rows = request.config.stash.setdefault(ROWS, [])

    def check(
        family: str,
        network: str,
        found: Any,
        expected: Any,
        *,
        peer: str,
        way: str = "in",
        tolerance: float = 1e-5,
    ) -> None:
        found, expected = (
            np.asarray(getattr(x, "detach", lambda x=x: x)(), np.float64) for x in (found, expected)
        )
        assert found.shape == expected.shape
        assert np.isfinite(expected).all()
        scale = np.abs(expected).max()
        assert scale > 0
        difference = float(np.abs(found - expected).max() / scale)
        assert difference <= tolerance, f"{family}, {network}: {difference:.1e} of the scale"
        rows.append((family, network, way, peer, difference))

    return check


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist hands its rows to the one that started it; that one writes the table where it was asked for."""
    config = session.config
    rows = config.stash.get(ROWS, [])
    if hasattr(config, "workeroutput"):
        config.workeroutput["parity"] = rows
    elif config.getoption("--write-parity") and rows:
        write_tables(Path(config.getoption("--write-parity")), rows)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    rows = getattr(node, "workeroutput", {}).get("parity", [])
    node.config.stash.setdefault(ROWS, []).extend(tuple(row) for row in rows)


def write_tables(page: Path, rows: list[tuple[str, str, str, str, float]]) -> None:
    """Put each table between its two marks on the page; one that nothing was measured for stays as it is."""
    text = page.read_text(encoding="utf-8")
    outputs = [row for row in rows if row[2] != "attention"]
    attention = [row for row in rows if row[2] == "attention"]
    for (start, end), own, written in ((OUTPUTS, outputs, table), (ATTENTION, attention, attention_table)):
        if own:
            before, _, rest = text.partition(start)
            _, _, after = rest.partition(end)
            text = f"{before}{start}\n{written(own)}{end}{after}"
    page.write_text(text, encoding="utf-8")


def table(rows: list[tuple[str, str, str, str, float]]) -> str:
    """One line for each family, network and peer: directions, comparisons, largest difference."""
    lines = ["| family | network | in | out | verified against | comparisons | largest difference |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    kinds = sorted({(family, network, peer) for family, network, _, peer, _ in rows})
    for family, network, peer in kinds:
        own = [row for row in rows if (row[0], row[1], row[3]) == (family, network, peer)]
        ways = {row[2] for row in own}
        marks = " | ".join("yes" if way in ways else "" for way in ("in", "out"))
        largest = max(row[4] for row in own)
        lines.append(f"| {family} | {network} | {marks} | {_versioned(peer)} | {len(own)} | {largest:.1e} |")
    return "\n".join(lines) + "\n"


def attention_table(rows: list[tuple[str, str, str, str, float]]) -> str:
    """One line for each family and peer: networks, comparisons, largest difference."""
    lines = ["| family | verified against | networks | comparisons | largest difference |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for family, peer in sorted({(row[0], row[3]) for row in rows}):
        own = [row for row in rows if (row[0], row[3]) == (family, peer)]
        networks, largest = len({row[1] for row in own}), max(row[4] for row in own)
        lines.append(f"| {family} | {_versioned(peer)} | {networks} | {len(own)} | {largest:.1e} |")
    return "\n".join(lines) + "\n"


def _versioned(peer: str) -> str:
    try:
        return f"{peer} {version(peer)}"
    except Exception:  # not a package
        return peer
