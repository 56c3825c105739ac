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


def point_from(text: str | None) -> tuple[float, float] | None:
    """`120,80`, a pixel of an image, as x and y."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*", text, re.ASCII)
    if match is None:
        raise UsageError(f"--point {text} is no pixel of an image: write it as X,Y, such as 120,80")
    return float(match[1]), float(match[2])
