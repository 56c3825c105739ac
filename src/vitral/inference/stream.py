"""Work that runs ahead in threads: images are read while the network computes."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from vitral.errors import ImageError
from vitral.images import Preprocessing

# Images a batch, and threads that read them.
BATCH, READERS = 32, min(8, os.cpu_count() or 1)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_batches(
    preprocessing: Preprocessing,
    network: Callable[[np.ndarray], np.ndarray],
    images: Iterable[Any],
    workers: int = READERS,
) -> Iterator[tuple[Any, np.ndarray | ImageError]]:
    """Any number of images through a network, which computes while the next ones are read.

    Memory stays small however many images there are: `images` is asked for a few batches ahead and no more.

    Args:
        preprocessing: what they go through.
        network: what `Preprocessing.fit_image` gives, `(batch, height, width, channels)`, to a row each.
        images: what `Preprocessing.read` takes, one after the other.
        workers: threads that read and fit.

    Returns:
        Each image with its row, or with the error of what cannot be read, in their order.
    """

    def read(image: Any) -> tuple[Any, np.ndarray | ImageError]:
        try:
            return image, preprocessing.fit_image(preprocessing.read(image))
        except ImageError as error:
            return image, error

    with closing(in_threads(read, images, workers, ahead=2 * BATCH + workers)) as ready:
        while batch := list(islice(ready, BATCH)):
            pixels = [found for _, found in batch if not isinstance(found, ImageError)]
            rows = iter(network(np.stack(pixels)) if pixels else ())
            for image, found in batch:
                yield image, found if isinstance(found, ImageError) else next(rows)


def in_threads(
    work: Callable[[Item], Answer], items: Iterable[Item], workers: int, ahead: int
) -> Generator[Answer, None, None]:
    """`work` on each item, in their order, done in threads up to `ahead` items before it is asked for."""
    waiting: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        try:
            for item in items:
                waiting.append(threads.submit(work, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
