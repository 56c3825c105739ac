"""Does the table in docs/weights.md stand for what is there?"""

import re
from pathlib import Path

from vitral.weights.families import FAMILIES
from vitral.weights.targets import TARGETS

PAGE = Path(__file__).parents[1] / "docs" / "weights.md"


def test_every_family_and_every_format_stands_in_the_table():
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("<!-- parity: written by")[2].partition("<!-- end of parity -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "|" in line][
        2:
    ]
    assert {row[0] for row in rows} == set(FAMILIES) | {"vitral"}
    out = {row[0] for row in rows if row[3] == "yes"}
    assert {"timm", "eva", "torchvision", "jax", "vit", "deit", "dinov2", "dinov2_with_registers"} <= out
    assert all(float(row[-1]) <= 1e-5 for row in rows)
    for name in TARGETS:
        assert re.search(rf"^\| `{name}` \|", text, re.MULTILINE), f"the page explains no format {name}"
