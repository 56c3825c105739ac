"""What does a person see while a training runs?"""

import io
from typing import Any

import pytest
from rich.console import Console

from vitral.training import EpochDone, Notice, StepDone
from vitral.workflow import progress
from vitral.workflow.progress import Display

FIGURES = {
    "epoch": 2,
    "step": 6,
    "train_loss": 0.51234,
    "train_accuracy": 0.8,
    "validation_loss": 0.6,
    "validation_accuracy": 0.75,
    "images_per_second": 1234.5,
    "seconds": 2.0,
}


def show(language: Any = "en", terminal: bool = False, shown: bool = True) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120, markup=False, highlight=False)
    with Display(language, shown=shown, console=console) as display:
        display(StepDone(epoch=2, step=5, steps=9, loss=0.6789, images_per_second=1234.5, seconds_left=95.0))
        if display.bar is not None:
            display.bar.refresh()
        display(Notice("something to know [red]"))
        display(EpochDone(FIGURES, epochs=3, best=True))
    return text.getvalue()


def test_without_a_terminal_there_is_one_line_an_epoch() -> None:
    assert show().splitlines() == [
        "something to know [red]",
        "epoch 2/3  loss 0.5123  validation 75.0%  1,234 images/s  1 min 35 s left  best so far",
    ]
    assert show("pt").splitlines()[1] == (
        "época 2/3  perda 0.5123  validação 75,0%  1.234 imagens/s  1 min 35 s restantes  a melhor até aqui"
    )


def test_a_terminal_gets_a_bar_with_rate_loss_and_time_left() -> None:
    seen = show(terminal=True)
    for part in ("56%", "loss 0.6789", "1,234 images/s", "1 min 35 s left"):
        assert part in seen
    assert "best so far" not in seen  # the bar says it all; lines would pile up


def test_nothing_is_shown_when_nothing_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(shown=False) == ""
    assert capsys.readouterr() == ("", "")


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress, "monotonic", lambda: self.now)


def test_a_quick_look_at_the_images_shows_no_bar_and_a_long_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    text, clock = io.StringIO(), Clock(monkeypatch)
    with Display(console=Console(file=text, force_terminal=True, width=120)) as display:
        clock.now += 100
        for done in range(1, 6):
            display.counting(1000 * done, 10_000)
            assert (display.bar is not None) == (done > 3)
            if display.bar is not None:
                display.bar.refresh()
            clock.now += 1
        display.fitting(1, 9)  # while there is a bar, it is not left to say what is over
        display.close()
        display.picturing(1, 24)  # something else, which may be quick
        assert display.bar is None
    assert "looking at the images 5,000/10,000  5.0 s left" in text.getvalue()
    assert "probes fitted 1/9" in text.getvalue()
    assert "pictures" not in text.getvalue()


def test_pictures_of_a_report_are_counted_in_the_language_of_the_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, clock = io.StringIO(), Clock(monkeypatch)
    with Display("pt", console=Console(file=text, force_terminal=True, width=120)) as display:
        for done in range(1, 5):
            clock.now += 2
            display.picturing(done, 24)
    assert "imagens do relatório 4/24  40 s restantes" in text.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_wait_shows_a_sign_of_life_in_terminals_alone(terminal: bool) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120)
    for shown in (True, False):
        text.truncate(text.seek(0))
        with Display(console=console, shown=shown) as display, display.waiting("preparing_network"):
            pass
        assert ("preparing the network" in text.getvalue()) == (terminal and shown)


def passed(clock: Clock, language: Any, terminal: bool, until: int) -> str:
    """What is seen of 100 files counted and then passed in 1 s each, from the 40th on computed, every tenth bad."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120, markup=False, highlight=False)
    with Display(language, console=console) as display:
        for total in range(1, 101):
            clock.now += 0.1
            display.passing(0, total, 0, 0)
            if display.bar is not None:
                display.bar.refresh()
        for done in range(1, until):
            clock.now += 1
            bad = max(done - 40, 0) // 10
            display.passing(done, 100, max(done - 40, 0) - bad, bad)
            if display.bar is not None:
                display.bar.refresh()
    return text.getvalue()


def test_without_a_terminal_a_line_says_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = passed(Clock(monkeypatch), "en", False, 101).splitlines()
    assert lines[0].startswith("20/100")  # after 30 seconds, 10 of which were spent counting
    assert "left" not in lines[0]  # nothing was computed yet
    assert lines[1:] == [
        "50/100  1.0 images/s  50 s left  1 cannot be used",
        "80/100  1.0 images/s  20 s left  4 cannot be used",
    ]
    said = passed(Clock(monkeypatch), "pt", False, 81).splitlines()[-1]
    assert said == "80/100  1,0 imagens/s  20 s restantes  4 não podem ser usados"


def test_a_terminal_sees_the_counting_and_then_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = passed(Clock(monkeypatch), "en", True, 81)
    assert "90 files counted" in seen
    for part in ("80%", "80/100", "1.0 images/s", "20 s left", "4 cannot be used"):
        assert part in seen


def test_the_pace_is_that_of_the_last_minute() -> None:
    pace = progress.Pace()
    for second in range(200):
        pace.note(float(second), 10 * min(second, 100) + 3 * max(second - 100, 0))
    assert pace.rate == pytest.approx(3)
