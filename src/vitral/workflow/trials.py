"""Candidates measured one by one: what they answer, and how fast."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from time import monotonic, perf_counter
from typing import Any

import numpy as np

from vitral.data import Sample
from vitral.inference import Classifier
from vitral.inference.stream import in_threads
from vitral.runs import Evaluation, MultiLabelEvaluation
from vitral.runs.machine import usable_cores
from vitral.weights import Checkpoint
from vitral.workflow.candidates import Candidate
from vitral.workflow.measuring import Task, evaluate_answers
from vitral.workflow.starting import as_network_takes

# Batches that are timed when a candidate is tried, each beside one of the yardstick's, and seconds that they take at
# least; two before them prepare it.
WARM_UP, TIMED, LOOK_SECONDS = 2, 5, 0.5
# Turns that candidates take when their speed is measured, and seconds of batches and of single images in each.
TURNS, BATCH_SECONDS, SINGLE_SECONDS = 5, 0.5, 0.25


@dataclass(eq=False)
class Trial:
    """A candidate, tried.

    Args:
        candidate: what was tried.
        answers: its probabilities, `(images, classes)`.
        evaluation: what these are worth.
        relative: how many times as long as the yardstick it takes for a batch.
        seconds: that loading and all this took.
        batches, singles: seconds of each batch and of each single image, in turns with others.
    """

    candidate: Candidate
    answers: np.ndarray
    evaluation: Evaluation | MultiLabelEvaluation
    relative: float
    seconds: float
    batches: list[float] = field(default_factory=list)
    singles: list[float] = field(default_factory=list)


@dataclass(eq=False)
class Bench:
    """Where candidates are tried.

    Args:
        weights, said, device: as for `Classifier.load`.
        checkpoint: the weights themselves.
        task: the images.
        batch: images at once.
        yardstick: what speeds are compared with as candidates are tried, so that they can be compared with one another
            however busy the machine is at the moment.
    """

    weights: str
    said: dict[str, Any]
    device: str
    checkpoint: Checkpoint
    task: Task
    batch: int
    yardstick: Classifier
    _pixels: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def load(self, candidate: Candidate) -> Classifier:
        """A candidate, loaded as whoever uses it will load it; VitralError where it is refused."""
        config, changes = self.checkpoint.config, {}
        if candidate.merge != config.merge:
            changes["merge"] = candidate.merge
        return Classifier.load(
            self.weights,
            backend=candidate.backend,
            device=self.device,
            precision=candidate.precision,
            image_size=candidate.image_size if candidate.image_size != config.image_size else None,
            **self.said | changes,
        )

    def measure(self, candidate: Candidate) -> Trial:
        """Let a candidate answer all images, and time it beside the yardstick; VitralError where it is refused."""
        began = monotonic()
        classifier = self.load(candidate)
        pixels = self.pixels(classifier)
        answers = np.concatenate(
            [
                classifier.probabilities(pixels[start : start + self.batch])
                for start in range(0, len(pixels), self.batch)
            ]
        )
        evaluation = evaluate_answers(self.task, answers, classifier.class_names, classifier.thresholds)
        full, beside = self._full_batch(classifier), self._full_batch(self.yardstick)
        times: list[tuple[float, float]] = []
        while len(times) < WARM_UP + TIMED or sum(map(sum, times)) < LOOK_SECONDS:
            times.append((_timed(classifier, full), _timed(self.yardstick, beside)))
        mine, others = (median(column) for column in zip(*times[WARM_UP:], strict=True))
        return Trial(candidate, answers, evaluation, mine / others, monotonic() - began)

    def take_turns(self, trials: Sequence[Trial], kept: int, turn: Callable[[int], bool]) -> None:
        """Measure speeds one after the other, again and again, so that a busy moment does not decide.

        Args:
            trials: whose.
            kept: so many stay in memory meanwhile, the others are loaded anew for every turn.
            turn: told before each turn how many are done; says whether there is time for it.
        """
        loaded = [self.load(trial.candidate) for trial in trials[:kept]]
        for done in range(TURNS):
            if not turn(done):
                break
            for place, trial in enumerate(trials):
                classifier = loaded[place] if place < kept else self.load(trial.candidate)
                full = self._full_batch(classifier)
                trial.batches += _timed_for(BATCH_SECONDS, classifier, full)
                trial.singles += _timed_for(SINGLE_SECONDS, classifier, full[:1])

    def pixels(self, classifier: Classifier) -> np.ndarray:
        """All images as a classifier takes them, kept for the next one of its image size."""
        seen = classifier.preprocessing
        if seen.size not in self._pixels:
            data = as_network_takes(self.task.data, seen)

            def fitted(sample: Sample) -> np.ndarray:
                return seen.fit_image(data.read(sample))

            self._pixels[seen.size] = np.stack(
                list(in_threads(fitted, self.task.samples, usable_cores(), ahead=64))
            )
        return self._pixels[seen.size]

    def _full_batch(self, classifier: Classifier) -> np.ndarray:
        pixels = self.pixels(classifier)
        return pixels[np.arange(self.batch) % len(pixels)]


def drawn(task: Task, count: int) -> Task:
    """At most so many of the images, with every label's share kept.

    Each label's images stand in the order of their content's hash, evenly spaced from 0 to 1, and those that stand
    first are taken. So adding images moves few others, and no seed is needed.
    """
    by_label: dict[tuple[int, ...], list[Sample]] = defaultdict(list)
    for sample in task.samples:
        by_label[sample.labels].append(sample)
    places: dict[str, float] = {}
    for labels, samples in by_label.items():
        digest = hashlib.sha256(repr(labels).encode()).digest()
        first = int.from_bytes(digest[:4], "big") / 2**32
        for index, sample in enumerate(sorted(samples, key=lambda one: (one.hash, one.path))):
            places[sample.path] = (index + first) / len(samples)
    taken = set(sorted(places, key=lambda path: (places[path], path))[:count])
    return replace(task, samples=tuple(sample for sample in task.samples if sample.path in taken))


def _timed(classifier: Classifier, pixels: np.ndarray) -> float:
    began = perf_counter()
    classifier.probabilities(pixels)
    return perf_counter() - began


def _timed_for(seconds: float, classifier: Classifier, pixels: np.ndarray) -> list[float]:
    """Seconds of each call, one at least, after one that does not count."""
    classifier.probabilities(pixels)
    times: list[float] = []
    while not times or sum(times) < seconds:
        times.append(_timed(classifier, pixels))
    return times
