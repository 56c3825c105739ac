"""Does the table in the manual on weights stand for what is there?"""

import re
from pathlib import Path

from vitral.weights.families import FAMILIES
from vitral.weights.targets import TARGETS

PAGE = Path(__file__).parents[2] / "docs" / "en" / "manual" / "weights.md"


def rows_of(text, table):
    """The cells of a table of the page, without its heading."""
    inside = text.partition(f"<!-- {table}: written by")[2].partition(f"<!-- end of {table} -->")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in inside.splitlines() if "|" in line][
        2:
    ]


def test_every_family_and_every_format_stands_in_the_table():
    text = PAGE.read_text(encoding="utf-8")
    rows = rows_of(text, "parity")
    assert {row[0] for row in rows} == set(FAMILIES) | {"vitral"}
    out = {row[0] for row in rows if row[3] == "yes"}
    assert {"timm", "eva", "torchvision", "jax", "vit", "deit", "dinov2", "dinov2_with_registers"} <= out
    assert all(float(row[-1]) <= 1e-5 for row in rows)
    for name in TARGETS:
        assert re.search(rf"^\| `{name}` \|", text, re.MULTILINE), f"the page explains no format {name}"


def test_attention_of_every_family_was_compared():
    rows = rows_of(PAGE.read_text(encoding="utf-8"), "parity of attention")
    assert {row[0] for row in rows} == set(FAMILIES)
    assert all(float(row[-1]) <= 1e-5 for row in rows)
