"""One command line, run as a terminal would run it."""

import json
from typing import Any

import pytest

from vitral.cli.app import main

Capture = pytest.CaptureFixture[str]


def call(capsys: Capture, *words: object, status: int = 0) -> tuple[str, str]:
    """Run one command line, and return what it printed on standard output and standard error."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == status
    printed = capsys.readouterr()
    return printed.out, printed.err


def call_json(capsys: Capture, *words: object, status: int = 0) -> Any:
    """The JSON document that it printed."""
    return json.loads(call(capsys, *words, "--json", status=status)[0])
