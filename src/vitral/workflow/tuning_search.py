"""Which candidates of a tuning are tried after which, and what is found of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from time import monotonic
from typing import Any

import numpy as np

from vitral.device import choose, cpu_multiplies_bf16
from vitral.errors import DataError, UsageError, VitralError
from vitral.inference.backends import choose_backend
from vitral.language import Sentence, in_both
from vitral.model.summary import summarise
from vitral.reporting.tuning_texts import name_of, tuning_wording
from vitral.runs import PairedDifference, answered, paired_difference, paired_precision
from vitral.runs.machine import usable_memory
from vitral.workflow.candidates import Candidate, merge_counts, on_front, smaller_sizes
from vitral.workflow.progress import Display
from vitral.workflow.trials import BATCH_SECONDS, SINGLE_SECONDS, TURNS, Bench, Trial

# So many pairs of backend and precision are tried with merging and smaller images, the fastest of their front.
MOST_PAIRS = 3
# What no other one beats by so many times its speed is near the front, and takes turns: first looks are rough.
NEAR = 1.1
# The share of memory that the weights of networks may fill while their speed is measured in turns.
MEMORY_SHARE = 1 / 4
# About so many take part in that, to say how long it will take.
IN_TURNS = 8
# The share of the time there is after which nothing new is tried, so that the last measurement has some.
TRYING_SHARE = 0.8

NO_BF16 = Sentence("the processor has no bf16 instructions", "o processador não tem instruções bf16")
ON_A_GPU = Sentence(
    "the GPU computes by torch: try the processor with --device cpu",
    "a GPU calcula pelo torch: tente o processador com --device cpu",
)
NO_TIME = Sentence("there was no time: raise --time-limit", "faltou tempo: aumente --time-limit")


@dataclass(frozen=True)
class Wanted:
    """What is to be tried.

    Args:
        pairs: backends with precisions.
        merging: R; None: as `merge_counts` finds them for each image size.
        image_sizes: (height, width); None: as `smaller_sizes` finds them.
        seconds: how long it may take in all; None: as long as it takes.
        max_drop: points that the recommendation may lose against the reference.
    """

    pairs: Sequence[tuple[str, str]]
    merging: Sequence[int] | None = None
    image_sizes: Sequence[tuple[int, int]] | None = None
    seconds: float | None = None
    max_drop: float = 0.5


@dataclass(eq=False)
class Search:
    """The course of a tuning.

    Args:
        bench: where candidates are tried.
        wanted: what is to be tried.
        reference: what all others are compared with; it is tried first.
        default: what is taken where nothing is asked for.
        display: shows the course.
        on_gpu: whether a GPU computes.
    """

    bench: Bench
    wanted: Wanted
    reference: Candidate
    default: Candidate
    display: Display
    on_gpu: bool
    trials: dict[Candidate, Trial] = field(default_factory=dict)
    left_out: dict[Candidate, str] = field(default_factory=dict)
    _began: float = field(default_factory=monotonic)
    _differences: dict[Candidate, PairedDifference] = field(default_factory=dict)

    @property
    def measure(self) -> str:
        """What accuracy means here: "accuracy", or "mean_average_precision" of a multi-label model."""
        return "accuracy" if self.bench.checkpoint.thresholds is None else "mean_average_precision"

    def run(self) -> None:
        """Try what is to be tried, and measure the speed of the best in turns."""
        wanted, config = self.wanted, self.bench.checkpoint.config
        sizes = smaller_sizes(config) if wanted.image_sizes is None else wanted.image_sizes
        sizes = [size for size in sizes if size != config.image_size]
        counts = self._counts(config.image_size)
        together = len(sizes) * len(counts)
        plain = [Candidate(*pair, config.merge, config.image_size) for pair in wanted.pairs]
        own = dict.fromkeys([self.reference, self.default, *plain])
        likely = (len(own) + 1) // 2  # that so many of them are on the front
        self._try(own, min(MOST_PAIRS, likely) * (len(counts) + len(sizes) + together // 2))
        fast = [trial.candidate for trial in self._front()][:MOST_PAIRS]
        one_change = [replace(one, merge=count) for one in fast for count in counts]
        one_change += [replace(one, image_size=size) for one in fast for size in sizes]
        self._try(one_change, len(fast) * together // 2, said=True)
        small = [trial.candidate for trial in self._front() if trial.candidate in one_change]
        both = [
            replace(one, merge=count)
            for one in small
            if one.image_size != config.image_size
            for count in self._counts(one.image_size)
        ]
        self._try(both)
        self._take_turns()

    def document(self) -> dict[str, Any]:
        """What tune.json says of the candidates; those of the front first, from the fastest on."""
        front = self._front()
        order = sorted(
            self.trials.values(),
            key=lambda trial: (trial not in front, not trial.batches, self._batch_seconds(trial)),
        )
        places = {trial.candidate: place for place, trial in enumerate(order)}
        within = [trial for trial in order if trial.batches and self._within(trial)]
        best = min(within, key=self._batch_seconds)
        return {
            "candidates": [self._figures(trial) | {"front": trial in front} for trial in order],
            "recommended": places[best.candidate],
            "default": places[self.default],
            "reference": places[self.reference],
            "left_out": [
                vars(candidate) | {"image_size": list(candidate.image_size), "reason": in_both(reason)}
                for candidate, reason in self.left_out.items()
            ],
        }

    def _counts(self, size: tuple[int, int]) -> list[int]:
        config = self.bench.checkpoint.config.replace(image_size=size)
        counts = merge_counts(config) if self.wanted.merging is None else self.wanted.merging
        return [count for count in counts if count != config.merge]

    def _try(self, candidates: Iterable[Candidate], later: int = 0, said: bool = False) -> None:
        """Try candidates one after the other.

        Args:
            candidates: those that were tried already are passed over.
            later: how many more are to be expected after these.
            said: tell how long it will take from here.
        """
        new = [one for one in candidates if one not in self.trials and one not in self.left_out]
        self.left_out |= {one: reason for one in new if (reason := self._refused(one))}
        waiting = [one for one in new if one not in self.left_out]
        words = tuning_wording(self.display.language)
        if said and waiting:
            count = len(waiting) + later
            duration = words.duration(self._seconds_left(count))
            self.display.say(words.say("more", count=words.number(count), duration=duration))
        for place, candidate in enumerate(waiting):
            if self.trials and candidate != self.default and self._is_late(TRYING_SHARE):
                self.left_out[candidate] = NO_TIME
                continue
            left = len(waiting) - place + later
            self.display.trying(
                len(self.trials),
                len(self.trials) + left,
                name_of(vars(candidate), words),
                self._seconds_left(left) if self.trials else None,
            )
            try:
                trial = self.bench.measure(candidate)
            except VitralError as error:
                if candidate in (self.reference, self.default):
                    raise
                self.left_out[candidate] = error.args[0]
                continue
            if getattr(trial.evaluation, self.measure) is None:
                raise DataError(
                    f"no image of {self.bench.task.data.spec} has a label that the model knows: name other DATA"
                )
            self.trials[candidate] = trial

    def _refused(self, candidate: Candidate) -> str | None:
        """Why a candidate need not be loaded."""
        if candidate in (self.reference, self.default):
            return None
        if self.on_gpu and candidate.backend != "torch":
            return ON_A_GPU
        if not self.on_gpu and candidate.precision == "bf16" and not cpu_multiplies_bf16():
            return NO_BF16
        try:
            choose_backend(candidate.backend, self.bench.device, candidate.precision)
            if candidate.backend == "torch":
                choose(self.bench.device, candidate.precision)
        except UsageError as error:
            return error.args[0]
        return None

    def _is_late(self, share: float = 1.0) -> bool:
        seconds = self.wanted.seconds
        return seconds is not None and monotonic() - self._began > share * seconds

    def _seconds_left(self, candidates: int) -> float:
        """For so many candidates like those so far, and the last measurement."""
        last = IN_TURNS * TURNS * (BATCH_SECONDS + SINGLE_SECONDS)
        each = fmean(trial.seconds for trial in self.trials.values())
        left = candidates * each + last
        if self.wanted.seconds is None:
            return left
        return max(0.0, min(left, self.wanted.seconds - (monotonic() - self._began)))

    def _front(self, slack: float = 1.0) -> list[Trial]:
        """What is on the front so far, or near it: first what loses little, from the fastest on."""
        trials = list(self.trials.values())
        points = [
            (1 / self._batch_seconds(trial), getattr(trial.evaluation, self.measure)) for trial in trials
        ]
        marks = on_front(points, slack)
        front = [trial for trial, on_it in zip(trials, marks, strict=True) if on_it]
        return sorted(front, key=lambda trial: (not self._within(trial), self._batch_seconds(trial)))

    def _take_turns(self) -> None:
        """Measure speeds in turns, and again with what is then found on the front, until all of that was measured."""
        chosen = dict.fromkeys([self.reference, self.default])
        chosen |= dict.fromkeys(trial.candidate for trial in self._front(NEAR))
        parameters = summarise(self.bench.checkpoint.config).parameters
        kept = int(MEMORY_SHARE * usable_memory() / (4 * parameters))
        words = tuning_wording(self.display.language)

        def turn(done: int) -> bool:
            left = (TURNS - done) * len(chosen) * (BATCH_SECONDS + SINGLE_SECONDS)
            self.display.trying(done, TURNS, words["turns"], left)
            return not self._is_late() or not self.trials[self.default].batches

        while True:
            self.bench.take_turns([self.trials[one] for one in chosen], kept, turn)
            new = [trial.candidate for trial in self._front() if not trial.batches]
            if not new or self._is_late():
                return
            chosen |= dict.fromkeys(new)

    def _batch_seconds(self, trial: Trial) -> float:
        """Of what took turns the median; of others as many times the default's as when they were tried."""
        if trial.batches:
            return median(trial.batches)
        default = self.trials.get(self.default)
        return trial.relative * (median(default.batches) if default and default.batches else 1.0)

    def _within(self, trial: Trial) -> bool:
        """Whether it loses no more than may be lost."""
        return 100 * self._difference(trial).difference >= -self.wanted.max_drop - 1e-9

    def _difference(self, trial: Trial) -> PairedDifference:
        """How much better a candidate is than the reference, on the same images."""
        if trial.candidate not in self._differences:
            task, checkpoint = self.bench.task, self.bench.checkpoint
            reference, truth = self.trials[self.reference], task.truth()
            names = checkpoint.class_names
            if checkpoint.thresholds is None:
                first, second = (
                    np.array(answered(names, one.answers)) == np.array([label for (label,) in truth])
                    for one in (trial, reference)
                )
                found = paired_difference(first, second, task.groups)
            else:
                has = np.array([[name in labels for name in names] for labels in truth])
                found = paired_precision(has, trial.answers, reference.answers, task.groups)
            self._differences[trial.candidate] = found
        return self._differences[trial.candidate]

    def _figures(self, trial: Trial) -> dict[str, Any]:
        candidate, config = trial.candidate, self.bench.checkpoint.config
        changed = config.replace(merge=candidate.merge, image_size=candidate.image_size)
        names, thresholds = self.bench.checkpoint.class_names, self.bench.checkpoint.thresholds
        mine, theirs = (
            answered(names, one.answers, thresholds) for one in (trial, self.trials[self.reference])
        )
        difference = self._difference(trial)
        return {
            "backend": candidate.backend,
            "precision": candidate.precision,
            "merge": candidate.merge,
            "image_size": list(candidate.image_size),
            "multiply_adds": summarise(changed).multiply_adds,
            self.measure: getattr(trial.evaluation, self.measure),
            f"{self.measure}_interval": list(getattr(trial.evaluation, f"{self.measure}_interval")),
            "difference": difference.difference,
            "difference_interval": list(difference.interval),
            "changed": fmean(a != b for a, b in zip(mine, theirs, strict=True)),
            "images_per_second": self.bench.batch / self._batch_seconds(trial),
            "latency_ms": 1000 * median(trial.singles) if trial.singles else None,
            "in_turns": bool(trial.batches),
            "seconds": round(trial.seconds, 1),
        }
