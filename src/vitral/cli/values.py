"""What several commands read from a word of the command line."""

import re

from vitral.errors import UsageError


def seeds_from(text: str | None) -> tuple[int, ...] | None:
    """`0,1,2` as numbers."""
    if text is None:
        return None
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text, re.ASCII):
        raise UsageError(f"--seeds {text} is no list of numbers: write them as 0,1,2")
    return tuple(map(int, text.split(",")))
