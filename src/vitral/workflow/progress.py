"""What a person sees while vitral works: a live bar on standard error, in notebooks too, else a line an epoch."""

import sys
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from time import monotonic
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from vitral.language import Language, said_in
from vitral.reporting.texts import wording_of
from vitral.training import EpochDone, Event, Notice, StepDone
from vitral.workflow.texts import TEXTS

# A bar is shown only for what takes longer than this.
QUIET_SECONDS = 2.0
# Where no bar can be shown there is a line as often as this.
LINE_SECONDS = 30.0


class Display:
    """Shows the course of a training to a person; `with Display(...) as display:` ends its bar in any case.

    Args:
        language: of what it says.
        shown: whether it shows anything at all.
        console: where; standard error unless given.
    """

    def __init__(
        self, language: Language = "en", *, shown: bool = True, console: Console | None = None
    ) -> None:
        self.language: Language = language
        self.texts, self.words = TEXTS[language], wording_of(language)
        self.shown = shown
        # Paths and class names are no markup; where no terminal sets the width, nothing needs to be folded.
        # Bars move in terminals alone, also where FORCE_COLOR asks for colours elsewhere.
        self.console = console or Console(
            stderr=True, force_terminal=sys.stderr.isatty(), markup=False, highlight=False, emoji=False
        )
        if not self.console.is_terminal and not self.console.is_jupyter:
            self.console.width = 1000
        self.epochs = 0
        self.seconds_left = 0.0
        # Which training of several is at work, such as "fold 2/5", and how long those after it will take.
        self.part, self.seconds_after = "", 0.0
        self.began = self.told = monotonic()
        self.pace = Pace()
        self.work: Work | None = None
        self.bar: Progress | None = None
        self.task = TaskID(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, event: Event) -> None:
        """Show what training tells."""
        if not self.shown:
            return
        if isinstance(event, StepDone):
            self.seconds_left = event.seconds_left + self.seconds_after
            self._show(event.step, event.steps, self._of_step(event))
        elif isinstance(event, EpochDone):
            self.epochs = event.epochs
            if self.bar is None:
                self.say(self._of_epoch(event))
        elif isinstance(event, Notice):
            self.say(said_in(self.language, event.text))

    def say(self, line: str) -> None:
        """One line."""
        if self.shown:
            self.console.print(line)

    def overview(self, overview: dict[str, Any]) -> None:
        """The overview before the first step."""
        # What trains and augments comes with it, seconds of imports that nobody else who shows a bar needs.
        from vitral.workflow.overview import overview_lines

        self.close()
        self.epochs = overview.get("epochs", 0)
        for line in overview_lines(overview, self.language):
            self.say(line)

    def waiting(self, key: str) -> AbstractContextManager[Any]:
        """A sign of life in terminals while something goes on that does not say how far it is; `key` of the texts."""
        if not self.shown or not self.console.is_terminal:
            return nullcontext()
        return self.console.status(self.texts[key])

    def counting(self, done: int, total: int) -> None:
        """So many of so many images looked at."""
        self.working(done, total, self.texts["images_looked_at"])

    def fitting(self, done: int, total: int) -> None:
        """So many of so many probes fitted."""
        self.working(done, total, self.texts["probes_fitted"])

    def picturing(self, done: int, total: int) -> None:
        """So many of so many pictures of a page made."""
        self.working(done, total, self.texts["pictures_made"])

    def working(self, done: int, total: int, what: str) -> None:
        """So much of something is done; shown when it takes a while, with the time left."""
        now = monotonic()
        if self.work is None or self.work.what != what or done < self.work.done:
            self.work = Work(what, now)
        self.work.done = done
        self.work.pace.note(now, done)
        if not self.shown or (self.bar is None and now - self.work.began <= QUIET_SECONDS):
            return
        text = f"{what} {self.words.number(done)}/{self.words.number(total)}"
        if self.work.pace.rate:
            left = self.words.duration((total - done) / self.work.pace.rate)
            text += f"  {left} {self.texts['left']}"
        self._show(done, total, text)

    def trying(self, done: int, total: int, what: str, seconds_left: float | None) -> None:
        """So many of so many things tried, what is tried now, and how long it will take; else a line each."""
        left = "" if seconds_left is None else f"{self.words.duration(seconds_left)} {self.texts['left']}"
        text = "  ".join(part for part in (f"{done + 1}/{total}", what, left) if part)
        if self.shown:
            self._show(done, total, text)
            if self.bar is None:
                self.say(text)

    def passing(self, done: int, total: int, new: int, bad: int) -> None:
        """So many of so many files passed, of which so many were computed now, and so many could not be read.

        Before the first is passed they are being counted. A bar, with rate and time left; else a line now and then.
        """
        now = monotonic()
        if new + bad:
            self.pace.note(now, new + bad)
        every = 0.1 if self._is_live() else LINE_SECONDS
        if not self.shown or now - self.told < every or now - self.began < QUIET_SECONDS:
            return
        self.told = now
        text = self._of_files(done, total, bad)
        self._show(done, total, text)
        if self.bar is None:
            self.say(text)

    def close(self) -> None:
        """End the bar, if there is one."""
        self.work = None
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _show(self, done: int, total: int, text: str) -> None:
        if self.bar is None:
            if not self._is_live():
                return
            columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"))
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task("", total=total)
            self.bar.start()
        self.bar.update(self.task, completed=done, total=total, description=text)

    def _is_live(self) -> bool:
        # In a notebook rich draws its bar with ipywidgets; without these there is a line an epoch.
        return find_spec("ipywidgets") is not None if self.console.is_jupyter else self.console.is_terminal

    def _of_files(self, done: int, total: int, bad: int) -> str:
        if not done:
            return self.words.number(total) + " " + self.texts["files_counted"]
        parts = [f"{self.words.number(done)}/{self.words.number(total)}"]
        if self.pace.rate:
            rate = self.words.number(self.pace.rate, 1 if self.pace.rate < 10 else 0)
            parts.append(f"{rate} {self.texts['rate']}")
            parts.append(f"{self.words.duration((total - done) / self.pace.rate)} {self.texts['left']}")
        if bad:
            parts.append(self.texts["bad_files"].format(count=self.words.number(bad)))
        return "  ".join(parts)

    def _of_step(self, event: StepDone) -> str:
        parts = [
            self.part,
            self.texts["epoch"].format(epoch=event.epoch, epochs=self.epochs or "?"),
            f"{self.texts['loss']} {event.loss:.4f}" if event.loss is not None else "",
            f"{self.words.number(event.images_per_second)} {self.texts['rate']}",
            f"{self.words.duration(self.seconds_left)} {self.texts['left']}",
        ]
        return "  ".join(part for part in parts if part)

    def _of_epoch(self, event: EpochDone) -> str:
        figures = event.figures
        parts = [
            self.texts["epoch"].format(epoch=figures["epoch"], epochs=event.epochs),
            f"{self.texts['loss']} {figures['train_loss']:.4f}",
        ]
        for split in ("validation", "test"):
            if f"{split}_accuracy" in figures:
                share = self.words.percent(figures[f"{split}_accuracy"])
                if f"{split}_mean_average_precision" in figures:
                    share = f"mAP {self.words.percent(figures[f'{split}_mean_average_precision'])}"
                parts.append(self.texts[f"{split}_accuracy"].format(value=share))
        parts.append(f"{self.words.number(figures['images_per_second'])} {self.texts['rate']}")
        parts.append(f"{self.words.duration(self.seconds_left)} {self.texts['left']}")
        parts.append(self.texts["best"] if event.best else "")
        return "  ".join(part for part in [self.part, *parts] if part)


class Pace:
    """How fast something goes, over the last minute."""

    def __init__(self) -> None:
        self.noted: deque[tuple[float, int]] = deque(maxlen=60)
        self.rate = 0.0

    def note(self, now: float, done: int) -> None:
        """So many are done at this moment, in seconds."""
        if not self.noted:
            self.noted.append((now, done))
        began, before = self.noted[0]
        if now - self.noted[-1][0] >= 1:
            self.noted.append((now, done))
            self.rate = (done - before) / (now - began)


@dataclass
class Work:
    """Something that goes on: what it is, since when, and how far it is."""

    what: str
    began: float
    done: int = 0
    pace: Pace = field(default_factory=Pace)
