"""The files that tensors lie in: one, or several that an index names."""

import json
import re
from pathlib import Path

from vitral.errors import WeightsError, one_line
from vitral.files import sha256, sha256_of_file


def parts_of(index: Path) -> list[str]:
    """The names of the files that an index of weights divides them into, all beside it.

    Raises:
        WeightsError: this is no index, or it names something that is no file beside it.
    """
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{index} is no index of weights ({one_line(error)}): fetch it again") from error
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
            raise WeightsError(
                f"{index} names {one_line(repr(name))}, which is no file beside it: fetch it again"
            )
    return sorted(names)


def hash_of(file: Path) -> str:
    """SHA-256 of a file with tensors, or over those of all files that an index names."""
    if not file.name.endswith(".index.json"):
        return sha256_of_file(file)
    return sha256("".join(sha256_of_file(file.parent / name) for name in parts_of(file)).encode())
