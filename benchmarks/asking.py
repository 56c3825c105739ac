"""The processes of `inference.py`'s contestants, seen from outside: started, asked, and let go."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contenders import Task

ANSWERING = Path(__file__).with_name("answering.py")


class Failed(Exception):
    """A contestant cannot take part, or fell out.

    Args:
        reason: one line.
        failed: whether that is an error, rather than something that is not here.
    """

    def __init__(self, reason: str, failed: bool) -> None:
        super().__init__(reason)
        self.reason, self.failed = reason, failed


class Process:
    """A contestant in its process, ready and warm.

    Attributes:
        about: what it said of itself, see `answering.py`.

    Raises:
        Failed: it could not be opened.
    """

    def __init__(self, name: str, task: Task, environment: Mapping[str, str], *words: str) -> None:
        self._log = task.folder / f"log-{name}.txt"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(ANSWERING), str(task.folder), name, *words],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
            )
        self.about = self._answer()

    def turn(self, seconds: float) -> dict[str, Any]:
        """The figures of one turn; Failed where there are none."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"seconds": seconds}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Failed(f"its process has ended: {error}", True) from None
        return self._answer()

    def let_go(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.let_go()
            lines = self._log.read_text("utf-8", errors="replace").splitlines() or ["it said nothing"]
            raise Failed(f"its process ended with status {self._process.returncode}: {lines[-1]}", True)
        answer = json.loads(line)
        if "reason" in answer:
            self.let_go()
            raise Failed(answer["reason"], answer["failed"])
        return answer


def prepare(name: str, task: Task, environment: Mapping[str, str]) -> None:
    """Let a contestant write what it keeps, in a process that is gone before anything is measured."""
    Process(name, task, environment, "prepare").let_go()


def surroundings(folder: Path, threads: int) -> dict[str, str]:
    """The environment of all contestants: as many threads as cores, a cache of their own, nobody else's settings."""
    here = Path(__file__).resolve().parents[1] / "src"
    # Importing vitral set GOMP_SPINCOUNT in this process; its own contestants set it again.
    inherited = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    return inherited | {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(here), os.environ.get("PYTHONPATH")))),
        "VITRAL_CACHE": str(folder / "cache"),
        "VITRAL_LANGUAGE": "en",
        "HF_HUB_OFFLINE": "1",
    }
