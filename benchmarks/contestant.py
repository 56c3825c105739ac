"""One row of `training.py` in a process of its own, so that no library runs with what another one has set.

vitral, for example, sets how long OpenMP's threads spin, and lets its process keep the memory that tensors free.
"""

import ctypes
import gc
import math
import multiprocessing
import os
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

import torch
from rows import Row, Task, make_step, make_task
from timing import calls_for, seconds_a_call

WARM_UP_STEPS = 3  # the first one compiles, the second may compile again, as it meets other strides
SECONDS_A_REPEAT = 0.5


class RowFailed(Exception):
    """A row could not be built or measured.

    Args:
        reason: one line.
        failed: whether that is an error, rather than a model too large for the machine.
    """

    def __init__(self, reason: str, failed: bool) -> None:
        super().__init__(reason)
        self.reason, self.failed = reason, failed


class Contestant:
    """A row, built and warmed up in its process.

    Attributes:
        warm_up_seconds: what building it and its first steps took.
        calls: steps a repeat.
        peak: the most bytes that it needed on a GPU.

    Raises:
        RowFailed: it could not be built.
    """

    def __init__(self, row: Row, task: Task) -> None:
        began = monotonic()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, row, task.config, len(task.labels), task.device)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        # Importing vitral set this in the environment that the process is about to inherit.
        spinning = None if row.library == "vitral" else os.environ.pop("GOMP_SPINCOUNT", None)
        try:
            self._process.start()
        finally:
            if spinning is not None:
                os.environ["GOMP_SPINCOUNT"] = spinning
        theirs.close()
        self.calls = int(self._answer()["calls"])
        self.warm_up_seconds, self.peak = monotonic() - began, 0

    def measure(self) -> float:
        """Seconds a step; RowFailed where it could not be measured."""
        try:
            self._pipe.send("measure")
        except OSError as error:
            raise RowFailed(f"its process has ended: {error}", True) from None
        answer = self._answer()
        self.peak = max(self.peak, answer["peak"])
        return answer["seconds"]

    def let_go(self) -> None:
        """End the process; the figures stay."""
        self._pipe.close()
        self._process.join()

    def _answer(self) -> dict[str, Any]:
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RowFailed(f"its process ended with status {self._process.exitcode}", True) from None
        if "reason" in answer:
            self.let_go()
            raise RowFailed(answer["reason"], answer["failed"])
        return answer


def _serve(pipe: Connection, row: Row, config: Any, batch_size: int, device: torch.device) -> None:
    """Build a row, say how many steps a repeat has, then time a repeat whenever asked to, until nobody listens."""
    try:
        step = make_step(row, make_task(config, batch_size, device))
        losses = [float(step()) for _ in range(WARM_UP_STEPS)]
        if not all(map(math.isfinite, losses)):
            raise ArithmeticError(f"a loss of {row.name} is not finite")
        calls = calls_for(SECONDS_A_REPEAT, seconds_a_call(step, 1, device))
        _rest(device)
        pipe.send({"calls": calls})
        while True:
            pipe.recv()
            step()  # fetches the memory again, and wakes the threads
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            seconds = seconds_a_call(step, calls, device)
            peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
            _rest(device)
            pipe.send({"seconds": seconds, "peak": peak})
    except EOFError:
        return
    except (torch.OutOfMemoryError, MemoryError):
        pipe.send({"reason": "not enough memory at this batch size", "failed": False})
    except (Exception, SystemExit) as error:
        pipe.send({"reason": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}", "failed": True})


def _rest(device: torch.device) -> None:
    """Leave the memory to the others while they have their turns."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
