"""What does a person see while a training runs?"""

import io
from typing import Any

import pytest
from rich.console import Console

from vitral.training import EpochDone, Notice, StepDone
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


def test_a_quick_look_at_the_images_shows_no_bar_and_a_long_one_does() -> None:
    text = io.StringIO()
    with Display(console=Console(file=text, force_terminal=True, width=120)) as display:
        display.counting(1, 10)
        assert display.bar is None
        display.began -= 10
        display.counting(5, 10)
        assert display.bar is not None
    assert "looking at the images 5/10" in text.getvalue()
