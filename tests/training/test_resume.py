"""Stopping and going on: the same figures and the same weights, bit for bit, as without the stop."""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from vitral.errors import UsageError, WeightsError
from vitral.runs import RunFolder
from vitral.training import EpochDone, Event, Plan, StepDone, continue_from
from vitral.training import trainer as trainer_module

Train = Callable[..., RunFolder]
MakePlan = Callable[..., Plan]
TIMES = ("seconds", "images_per_second")

# More workers than the machine has cores; and Python 3.12's general warning about fork beside threads.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


class Terminated(KeyboardInterrupt):
    """What a program that handles SIGTERM may raise."""


@pytest.fixture(autouse=True)
def _sigterm_raises() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    yield
    assert signal.getsignal(signal.SIGTERM) is stop  # the training put it back
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGTERM, before)


def signal_after(step: int, number: int = signal.SIGINT) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            os.kill(os.getpid(), number)

    return listen


def figures_of(folder: RunFolder) -> list[dict]:
    return [{key: value for key, value in line.items() if key not in TIMES} for line in folder.read_metrics()]


def assert_same(one: RunFolder, other: RunFolder) -> None:
    assert figures_of(one) == figures_of(other)
    for name in ("model.safetensors", "predictions.csv", "evaluation.json", "recipe.toml", "config.json"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name
    assert json.loads(one.run.read_text())["best"] == json.loads(other.run.read_text())["best"]


@pytest.mark.parametrize(
    ("precision", "changes"),
    [
        ("fp32", {}),
        ("bf16", {}),
        ("fp32", {"ema_decay": 0.9, "mixup": 0.8, "cutmix": 1.0}),
        ("bf16", {"ema_decay": 0.9, "mixup": 0.8, "accumulate": 3}),
        ("fp32", {"optimizer": "sgd", "steps": 10, "warmup_steps": 3}),
        ("bf16", {"optimizer": "muon"}),
        ("fp32", {"layer_decay": 0.7}),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    make_plan: MakePlan, train: Train, tmp_path: Path, precision: str, changes: dict
) -> None:
    whole = train(make_plan(precision=precision, **changes), "whole")
    steps = whole.read_metrics()[-1]["step"]
    for step in {1, steps // 3, steps - 1} if not changes else {steps // 2}:
        name = f"cut{step}"
        with pytest.raises(KeyboardInterrupt) as caught:
            train(make_plan(precision=precision, **changes), name, signal_after(step))
        [note] = caught.value.__notes__
        assert f"vitral train --resume {tmp_path / name}" in note
        assert json.loads((tmp_path / name / "run.json").read_text())["state"] == "interrupted"
        torch.manual_seed(step)
        assert_same(train(make_plan(precision=precision, **changes), name, resume=True), whole)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_frozen_comes_back_with_the_state(make_plan: MakePlan, train: Train, precision: str) -> None:
    """A resumed run's network begins with other random numbers than the interrupted one's."""
    whole = train(make_plan(precision=precision, freeze_backbone=True), "whole")
    with pytest.raises(KeyboardInterrupt):
        train(make_plan(precision=precision, freeze_backbone=True), "cut", signal_after(5))
    plan = make_plan(precision=precision, freeze_backbone=True)
    with torch.no_grad():
        for weight in plan.model.parameters():
            weight.normal_()
    assert_same(train(plan, "cut", resume=True), whole)


def test_a_run_may_be_stopped_again_and_again(make_plan: MakePlan, train: Train) -> None:
    whole = train(make_plan(), "whole")
    with pytest.raises(KeyboardInterrupt):
        train(make_plan(), "cut", signal_after(1))
    for step in (2, 4, 5, 8, 11):
        with pytest.raises(KeyboardInterrupt):
            train(make_plan(), "cut", signal_after(step), resume=True)
    assert_same(train(make_plan(), "cut", resume=True), whole)


def test_a_background_job_goes_on_ignoring_ctrl_c(make_plan: MakePlan, train: Train) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = train(make_plan(epochs=2), listen=lambda _: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.read_run()["state"] == "finished"


def test_sigterm_stops_as_cleanly(make_plan: MakePlan, train: Train, tmp_path: Path) -> None:
    whole = train(make_plan(), "whole")
    with pytest.raises(Terminated) as caught:
        train(make_plan(), "cut", signal_after(5, signal.SIGTERM))
    assert "--resume" in caught.value.__notes__[0]
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["state"] == "interrupted"
    assert_same(train(make_plan(), "cut", resume=True), whole)


def test_ctrl_c_between_two_epochs(make_plan: MakePlan, train: Train) -> None:
    whole = train(make_plan(), "whole")

    def listen(event: Event) -> None:
        if isinstance(event, EpochDone) and event.figures["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(make_plan(), "cut", listen)
    assert_same(train(make_plan(), "cut", resume=True), whole)


def test_a_second_ctrl_c_stops_at_once(make_plan: MakePlan, train: Train, tmp_path: Path) -> None:
    seen: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
            seen.append(1)
            os.kill(os.getpid(), signal.SIGINT)
            seen.append(2)

    with pytest.raises(KeyboardInterrupt):
        train(make_plan(), listen=listen)
    assert seen == [1]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "interrupted"
    assert (tmp_path / "run" / "model.safetensors").exists()  # of the first epoch


def test_ctrl_c_reaches_the_data_workers_too(make_plan: MakePlan, train: Train) -> None:
    """A terminal sends it to every process of the group."""
    whole = train(make_plan(), "whole")

    def listen(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            children = Path(f"/proc/self/task/{os.getpid()}/children")
            for child in children.read_text().split() if children.exists() else ():
                os.kill(int(child), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        train(make_plan(workers=2), "cut", listen)
    assert "--resume" in caught.value.__notes__[0]
    assert_same(train(make_plan(workers=2), "cut", resume=True), whole)


ANOTHER_PROCESS = """
import os, pickle, signal, sys
from pathlib import Path
import torch
from vitral.runs import RunFolder
from vitral.training import StepDone, run

def listen(event):
    if isinstance(event, StepDone) and event.step == 5:
        os.kill(os.getpid(), signal.SIGTERM)

torch.set_num_threads(1)  # as the tests here
plan = pickle.loads(Path(sys.argv[1]).read_bytes())
about = {"options": {"data": "made"}, "run": {"notes": []}}
run(plan, RunFolder(Path(sys.argv[2])), listen, about=about)
"""


def test_sigterm_that_nobody_handles_ends_the_process_with_the_state_kept(
    make_plan: MakePlan, train: Train, tmp_path: Path
) -> None:
    whole, plan = train(make_plan(), "whole"), tmp_path / "plan"
    plan.write_bytes(pickle.dumps(make_plan()))
    done = subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, plan, tmp_path / "cut"], check=False)
    assert done.returncode == -signal.SIGTERM
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["state"] == "interrupted"
    assert_same(train(make_plan(), "cut", resume=True), whole)


def test_a_state_is_kept_within_long_epochs(
    make_plan: MakePlan, train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a power cut finds: the state of some steps ago, from which the run goes on to the same end."""
    whole = train(make_plan(epochs=2), "whole")
    monkeypatch.setattr(trainer_module, "SECONDS_BETWEEN_STATES", 0.0)

    class PowerCut(BaseException):
        pass

    def listen(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 6:
            raise PowerCut

    with pytest.raises(PowerCut):
        train(make_plan(epochs=2), "cut", listen)
    state = torch.load(tmp_path / "cut" / "checkpoints" / "last.pt", weights_only=True)
    assert state["step"] == 5
    assert_same(train(make_plan(epochs=2), "cut", resume=True), whole)


def test_a_run_stopped_while_it_was_evaluated_is_finished(
    make_plan: MakePlan, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(make_plan(), "whole")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vitral.runs.results.write_predictions", stop)
        with pytest.raises(KeyboardInterrupt):
            train(make_plan(), "cut")
    assert_same(train(make_plan(), "cut", resume=True), whole)


def test_a_full_disk_spoils_nothing(
    make_plan: MakePlan, train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = train(make_plan(), "whole")
    monkeypatch.setattr(trainer_module, "SECONDS_BETWEEN_STATES", 0.0)
    sync, room = os.fsync, [20]

    def full(descriptor: int) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            train(make_plan(), "cut")
    assert not list((tmp_path / "cut").rglob("*.part"))
    assert_same(train(make_plan(), "cut", resume=True), whole)


def test_a_finished_run_is_not_resumed(make_plan: MakePlan, train: Train, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="finished"):
        continue_from(train(make_plan(epochs=1)))
    with pytest.raises(UsageError, match="no run"):
        continue_from(RunFolder(tmp_path / "nothing"))


@pytest.fixture
def cut(make_plan: MakePlan, train: Train, tmp_path: Path) -> Path:
    """The state file of an interrupted run."""
    with pytest.raises(KeyboardInterrupt):
        train(make_plan(), "cut", signal_after(5))
    return tmp_path / "cut" / "checkpoints" / "last.pt"


class Malice:
    """A pickle that runs code where it is read."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple:
        return Path.touch, (self.witness,)


@pytest.mark.parametrize("damage", ["cut short", "empty", "noise", "missing", "malice", "list", "no step"])
def test_a_damaged_state_is_named_in_one_line(
    make_plan: MakePlan, train: Train, cut: Path, damage: str, tmp_path: Path
) -> None:
    content, witness = cut.read_bytes(), tmp_path / "witness"
    state = torch.load(cut, weights_only=True)
    if damage == "missing":
        cut.unlink()
    elif damage == "malice":
        torch.save(state | {"step": Malice(witness)}, cut)
    elif damage == "list":
        torch.save([1, 2, 3], cut)
    elif damage == "no step":
        torch.save({key: value for key, value in state.items() if key != "step"}, cut)
    else:
        cut.write_bytes(
            {"cut short": content[: len(content) // 2], "empty": b"", "noise": bytes(range(256)) * 9}[damage]
        )
    with pytest.raises(WeightsError, match=r"last\.pt") as caught:
        train(make_plan(), "cut", resume=True)
    assert "\n" not in str(caught.value)
    assert not witness.exists()
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["state"] == "interrupted"


@pytest.mark.parametrize(
    "changes", [{"optimizer": "sgd"}, {"ema_decay": 0.9}, {"weight_decay": 0.1}, {"mixup": 0.5}]
)
def test_the_state_of_another_recipe_is_refused(
    make_plan: MakePlan, train: Train, cut: Path, changes: dict
) -> None:
    with pytest.raises(WeightsError, match=r"last\.pt"):
        train(make_plan(**changes), "cut", resume=True)


def test_the_state_of_another_architecture_is_refused(make_plan: MakePlan, train: Train, cut: Path) -> None:
    state = torch.load(cut, weights_only=True)
    state["weights"][0] = torch.zeros(2, 2)
    torch.save(state, cut)
    with pytest.raises(WeightsError, match="architecture"):
        train(make_plan(), "cut", resume=True)
