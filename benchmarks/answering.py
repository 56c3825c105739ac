"""One contestant of `inference.py` in a process of its own: it is asked on standard input and answers in JSON.

    python benchmarks/answering.py FOLDER NAME [prepare]

Whatever its library prints goes to standard error. Nothing is imported that the contestant does not need.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from contenders import CONTESTANTS, LeftOut, Network, Task
from libraries import open_network
from prepare import PIXELS, prepare
from resident import peak_memory

TASK = "task.json"
WARM_UP = 3  # calls a batch size: the first ones compile, record, or find out which kernels are the fastest


def main() -> None:
    folder, name, *rest = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    task = Task.from_dict(json.loads((Path(folder) / TASK).read_text(encoding="utf-8")))
    for answer in _reported(_prepared(name, task) if rest == ["prepare"] else _answers(name, task)):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _reported(answers: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The answers; in the place of the first that fails, why, and whether that is an error."""
    try:
        yield from answers
    except (LeftOut, ImportError) as error:
        yield {"reason": _one_line(error), "failed": False}
    except Exception as error:
        out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        reason = "not enough memory" if out_of_memory else f"{type(error).__name__}: {_one_line(error)}"
        yield {"reason": reason, "failed": not out_of_memory}
        raise


def _prepared(name: str, task: Task) -> Iterator[dict[str, Any]]:
    prepare(CONTESTANTS[name], task)
    yield {"prepared": True}


def _answers(name: str, task: Task) -> Iterator[dict[str, Any]]:
    """First what it is and needs, then the figures of a turn whenever a line asks for them, until nobody does."""
    network = open_network(CONTESTANTS[name], task)
    pixels = np.load(task.folder / PIXELS)
    found = network.numbers(network.answer(network.feed(pixels)))
    values = np.log(found) if network.probabilities else found
    np.save(task.folder / f"answers-{name}.npy", values - values.mean(axis=1, keepdims=True))
    fed = {
        size: network.feed(np.resize(pixels, (size, *pixels.shape[1:]))) for size in (1, *task.batch_sizes)
    }
    for images in fed.values():
        for _ in range(WARM_UP):
            network.numbers(network.answer(images))
    memory = {"peak_bytes": peak_memory(), "peak_bytes_on_gpu": _peak_on_gpu(task.device)}
    yield {"precision": network.precision, "labels": network.label(task.files)} | memory
    for line in sys.stdin:
        yield measure(network, fed, task.files, seconds=json.loads(line)["seconds"])


def measure(network: Network, fed: dict[int, Any], files: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """The figures of one turn.

    Args:
        network: what answers.
        fed: by batch size, what it takes; a single image for latency.
        files: photographs, to be named from disk.
        seconds: how long each of the figures of tensors alone is measured, about.

    Returns:
        "images_per_second" by batch size, "latency" in seconds, one number a call, "from_disk" in images per second.
    """
    rates = {
        str(size): size * _calls_per_second(network, images, seconds)
        for size, images in fed.items()
        if size > 1
    }
    once = _seconds(lambda: network.numbers(network.answer(fed[1])))  # wakes it up
    latency = [
        _seconds(lambda: network.numbers(network.answer(fed[1])))
        for _ in range(min(200, max(5, round(seconds / once))))
    ]
    from_disk = len(files) / _seconds(lambda: network.label(files))
    return {"images_per_second": rates, "latency": latency, "from_disk": from_disk}


def _calls_per_second(network: Network, images: Any, seconds: float) -> float:
    """Calls one after the other; only the last answer is waited for."""
    once = _seconds(lambda: network.numbers(network.answer(images)))  # wakes it up
    calls = max(1, round(seconds / once))

    def work() -> None:
        for _ in range(calls):
            answer = network.answer(images)
        network.numbers(answer)

    return calls / _seconds(work)


def _seconds(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def _peak_on_gpu(device: str) -> int | None:
    if device != "cuda":
        return None
    import torch

    return torch.cuda.max_memory_allocated()


def _one_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    main()
