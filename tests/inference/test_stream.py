"""Any number of images: in their order, a few ahead, with nothing left running."""

import random
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from vitral.errors import ImageError
from vitral.images import Preprocessing
from vitral.inference.stream import BATCH, in_batches, in_threads

SEEN = Preprocessing(size=(4, 4))


def image(number: int) -> np.ndarray:
    """A grey image that says its number."""
    return np.array([number % 256, number // 256, 0], np.uint8) * np.ones((4, 4, 1), np.uint8)


def numbers(pixels: np.ndarray) -> np.ndarray:
    """A network that reads it."""
    return pixels[:, 0, 0, :2] @ np.array([[1.0], [256.0]])


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("workers", [1, 4])
def test_ten_thousand_images_are_asked_for_a_few_batches_ahead(workers: int) -> None:
    asked = answered = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal asked
        for number in range(10_000):
            asked += 1
            assert asked - answered <= 3 * BATCH + workers + 1
            yield image(number)

    for place, (_, found) in enumerate(in_batches(SEEN, numbers, images(), workers)):
        assert not isinstance(found, ImageError)
        assert found[0] == place
        answered += 1
    assert asked == answered == 10_000


def test_bad_images_are_answered_in_their_place() -> None:
    bad = {0, 5, *range(BATCH, 2 * BATCH), 2 * BATCH + 1}  # the second batch has no good one
    images = [b"no image" if number in bad else image(number) for number in range(3 * BATCH - 5)]
    batches: list[int] = []

    def network(pixels: np.ndarray) -> np.ndarray:
        batches.append(len(pixels))
        return numbers(pixels)

    answers = list(in_batches(SEEN, network, images))
    assert [one for one, _ in answers] == images
    for number, (_, found) in enumerate(answers):
        assert isinstance(found, ImageError) == (number in bad)
        assert number in bad or found[0] == number
    assert batches == [BATCH - 2, BATCH - 6]
    assert list(in_batches(SEEN, network, [])) == []


def test_order_is_kept_however_long_each_takes() -> None:
    chance = random.Random(0)
    pauses = [chance.random() / 200 for _ in range(200)]

    def work(number: int) -> int:
        time.sleep(pauses[number])
        return number

    assert list(in_threads(work, range(200), 8, ahead=20)) == list(range(200))


def endless() -> Iterator[np.ndarray]:
    while True:
        yield image(0)


def test_an_exception_of_the_consumer_ends_the_threads() -> None:
    def consume(answers: Iterator[object]) -> None:
        for _ in answers:
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        consume(in_batches(SEEN, numbers, endless()))


def test_an_exception_of_the_network_ends_the_threads_while_it_is_still_looked_at() -> None:
    before = set(threading.enumerate())

    def network(pixels: np.ndarray) -> np.ndarray:
        raise MemoryError

    with pytest.raises(MemoryError) as caught:
        list(in_batches(SEEN, network, endless()))
    assert caught.value.__traceback__ is not None  # it holds all that was at work
    assert set(threading.enumerate()) == before


def test_an_exception_of_the_source_comes_through() -> None:
    def images() -> Iterator[np.ndarray]:
        yield image(0)
        raise LookupError

    with pytest.raises(LookupError):
        list(in_batches(SEEN, numbers, images()))


def test_who_stops_early_leaves_nothing_behind() -> None:
    asked = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal asked
        for number in range(10_000):
            asked += 1
            yield image(number)

    answers = in_batches(SEEN, numbers, images())
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert asked <= 3 * BATCH + 3
