"""Ctrl-C and SIGTERM: a training stops between two steps, its state kept."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopped(KeyboardInterrupt):
    """The training stopped because a signal asked it to."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def passed_on(error: KeyboardInterrupt) -> KeyboardInterrupt:
    """Send the signal again to whoever handled it before the training; what that raises, or else the error itself."""
    if isinstance(error, Stopped):
        try:
            signal.raise_signal(error.number)
        except KeyboardInterrupt as raised:
            return raised
    return error


@contextmanager
def stop_asked() -> Iterator[Callable[[], int]]:
    """Within the block a first Ctrl-C or SIGTERM only asks, so that no step is cut in half; a second one stops at once.

    What the block is given tells the number of the signal that asked, 0 where none did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    asked: list[int] = []
    owner = os.getpid()

    def ask(number: int, _frame: object) -> None:
        if os.getpid() != owner:  # a data worker, which Ctrl-C reaches too: it ends with the training
            return
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    # What is ignored stays ignored: a shell's background jobs, for one, are not meant for Ctrl-C.
    heard = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield lambda: asked[0] if asked else 0
    except RuntimeError:
        if not asked:
            raise
        # The signal ended the data workers too, which their loader reports so.
        raise Stopped(asked[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
