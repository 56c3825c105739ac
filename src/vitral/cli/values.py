"""What several commands read from a word of the command line."""

import re

from vitral.errors import UsageError

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


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


def seconds_from(text: str | None) -> float | None:
    """`90s`, `30m`, `2h` or `1h30m` in seconds."""
    if text is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"--time-limit {text} is no duration: write 90s, 30m, 2h or 1h30m")
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def words_from(text: str | None) -> tuple[str, ...] | None:
    """`torch,openvino` as words."""
    return tuple(word.strip() for word in text.split(",")) if text is not None else None


def counts_from(option: str, text: str | None) -> tuple[int, ...] | None:
    """`2,4,8` as whole numbers."""
    words = words_from(text)
    if words is None:
        return None
    if not all(re.fullmatch(r"\d+", word, re.ASCII) for word in words):
        raise UsageError(f"{option} {text} is no list of numbers: write them as 2,4,8")
    return tuple(map(int, words))
