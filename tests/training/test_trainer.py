"""What a training leaves, what chooses its weights, and how it ends when something goes wrong."""

import csv
import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from vitral.data import LabelledImages
from vitral.errors import DataError, VitralError
from vitral.inference import Classifier
from vitral.runs import RunFolder
from vitral.training import EpochDone, Event, Notice, Plan, StepDone, memory
from vitral.training import plan as plan_module

Train = Callable[..., RunFolder]
MakePlan = Callable[..., Plan]
MakeData = Callable[..., LabelledImages]
TIMES = ("seconds", "images_per_second")

# More workers than the machine has cores; and Python 3.12's general warning about fork beside threads.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def figures_of(folder: RunFolder) -> list[dict]:
    """metrics.jsonl without what the clock says."""
    return [{key: value for key, value in line.items() if key not in TIMES} for line in folder.read_metrics()]


@pytest.mark.parametrize(
    ("precision", "changes"),
    [("fp32", {}), ("bf16", {"ema_decay": 0.9, "mixup": 0.5}), ("fp32", {"workers": 2, "randaugment": 2})],
)
def test_a_seed_repeats_a_run_exactly(
    make_plan: MakePlan, train: Train, precision: str, changes: dict
) -> None:
    runs = []
    for name in ("one", "two"):
        torch.manual_seed(len(runs))  # the caller's own state plays no part
        runs.append(train(make_plan(precision=precision, **changes), name))
    assert figures_of(runs[0]) == figures_of(runs[1])
    assert runs[0].weights.read_bytes() == runs[1].weights.read_bytes()
    other = train(make_plan(precision=precision, seed=1, **changes), "three")
    assert figures_of(other) != figures_of(runs[0])


def test_the_number_of_workers_changes_nothing(make_plan: MakePlan, train: Train) -> None:
    runs = [train(make_plan(workers=workers, epochs=2), f"{workers}") for workers in (0, 2)]
    assert figures_of(runs[0]) == figures_of(runs[1])


def test_a_training_learns(make_plan: MakePlan, train: Train) -> None:
    folder = train(make_plan(epochs=40, learning_rate=1e-2, random_crop=0.0, flip="none"))
    losses = [line["train_loss"] for line in folder.read_metrics()]
    assert losses[-1] < 0.5 * losses[0]
    assert json.loads(folder.evaluation.read_text())["accuracy"] > 0.7


def test_the_callers_random_numbers_are_untouched(make_plan: MakePlan, train: Train) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(make_plan(epochs=1, mixup=1.0))
    assert torch.equal(torch.rand(3), expected)


def test_the_files_that_a_run_leaves(make_plan: MakePlan, train: Train) -> None:
    plan = make_plan(seed=3)
    folder = train(plan)
    left = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}
    expected = {
        "config.json",
        "model.safetensors",
        "recipe.toml",
        "run.json",
        "metrics.jsonl",
        "evaluation.json",
    }
    assert left == expected | {"predictions.csv", "checkpoints/last.pt"}

    recipe = tomllib.loads(folder.recipe.read_text())
    assert recipe == plan.recipe.to_dict() | {"data": "made"}
    config = json.loads(folder.config.read_text())
    assert (config["format"], config["version"]) == ("vitral", 1)
    assert config["class_names"] == list(plan.data.class_names)
    run = json.loads(folder.run.read_text())
    assert run["state"] == "finished"
    assert run["seconds"] > 0
    assert run["started"].endswith("+00:00")
    assert run["best"].keys() == {"epoch", "metric", "value"}


def test_metrics_have_the_contracts_keys(make_plan: MakePlan, make_data: MakeData, train: Train) -> None:
    always = {
        "epoch",
        "step",
        "train_loss",
        "train_accuracy",
        "learning_rate",
        "images_per_second",
        "seconds",
    }
    of_split = {split: {f"{split}_loss", f"{split}_accuracy"} for split in ("validation", "test")}
    for splits in ({"validation", "test"}, {"test"}, set()):
        sizes = {split: 9 if split in splits else 0 for split in of_split}
        folder = train(make_plan(make_data(**sizes), epochs=2), "-".join(sorted(splits)) or "none")
        lines = folder.read_metrics()
        wanted = always.union(*(of_split[split] for split in splits))
        assert all(wanted <= line.keys() for line in lines)
        for split in of_split.keys() - splits:
            assert not any(key.startswith(split) for line in lines for key in line)
        assert [(line["epoch"], line["step"]) for line in lines] == [
            (1, 4),
            (2, 8),
        ]  # 26 images in batches of 8


def test_the_figures_are_scikit_learns(make_plan: MakePlan, train: Train) -> None:
    folder = train(make_plan(epochs=4))
    with folder.predictions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["circle", "cross", "square"]
    evaluation = json.loads(folder.evaluation.read_text())
    best = json.loads(folder.run.read_text())["best"]["epoch"]
    line = folder.read_metrics()[best - 1]
    for split in ("validation", "test"):
        mine = [row for row in rows if row["split"] == split]
        truth, answers = [row["label"] for row in mine], [row["predicted"] for row in mine]
        probabilities = np.array([[float(row[name]) for name in names] for row in mine])
        assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert answers == [names[index] for index in probabilities.argmax(axis=1)]
        assert line[f"{split}_accuracy"] == pytest.approx(accuracy_score(truth, answers))
        probabilities /= probabilities.sum(axis=1, keepdims=True)  # of six decimals
        assert line[f"{split}_loss"] == pytest.approx(log_loss(truth, probabilities, labels=names), abs=1e-4)
        if split == "validation":
            assert line["validation_balanced_accuracy"] == pytest.approx(
                balanced_accuracy_score(truth, answers)
            )
        else:
            assert evaluation["accuracy"] == pytest.approx(accuracy_score(truth, answers))
            assert (evaluation["split"], evaluation["images"]) == ("test", len(mine))
    assert len(rows) == 18


def test_evaluation_has_the_contracts_keys(make_plan: MakePlan, train: Train) -> None:
    evaluation = json.loads(train(make_plan(epochs=1)).evaluation.read_text())
    wanted = (
        "split images classes accuracy accuracy_interval balanced_accuracy macro_f1 auroc majority_accuracy "
        "accuracy_top5 loss calibration_error per_class confusion_matrix device backend precision"
    )
    assert set(wanted.split()) <= evaluation.keys()
    of_class = evaluation["per_class"]["circle"]
    assert {"precision", "recall", "recall_interval", "f1", "images"} <= of_class.keys()
    assert (evaluation["device"], evaluation["backend"], evaluation["precision"]) == ("cpu", "torch", "fp32")
    assert evaluation["accuracy_top5"] is None


def test_the_model_that_is_left_gives_the_figures_that_are_left(make_plan: MakePlan, train: Train) -> None:
    plan = make_plan(epochs=3, ema_decay=0.8)
    folder = train(plan)
    classifier = Classifier.load(folder.path, device="cpu", precision="fp32")
    samples = plan.data.split("test")
    answers = classifier.predict([plan.data.read(sample) for sample in samples])
    right = [
        answer.label == plan.data.class_names[sample.label]
        for answer, sample in zip(answers, samples, strict=True)
    ]
    assert json.loads(folder.evaluation.read_text())["accuracy"] == pytest.approx(np.mean(right))
    assert not plan.model.training


@pytest.mark.parametrize("metric", ["balanced_accuracy", "accuracy", "macro_f1", "auroc", "loss"])
def test_validation_chooses_the_weights(make_plan: MakePlan, train: Train, metric: str) -> None:
    said: list[EpochDone] = []
    plan = make_plan(epochs=6, metric=metric, learning_rate=2e-2)
    folder = train(plan, listen=lambda event: said.append(event) if isinstance(event, EpochDone) else None)
    lines = folder.read_metrics()
    value = f"validation_{metric}"
    sign = -1 if metric == "loss" else 1
    best = max(
        lines, key=lambda line: (sign * line[value], -line["validation_loss"])
    )  # of equals the lower loss
    run = json.loads(folder.run.read_text())
    assert run["best"] == {"epoch": best["epoch"], "metric": metric, "value": best[value]}
    assert [event.figures["epoch"] for event in said if event.best][-1] == run["best"]["epoch"]

    # A run that ends with that epoch's weights has them: the same steps, nothing chosen.
    weights: list[dict] = []

    def keep(event: Event) -> None:
        if isinstance(event, EpochDone):
            weights.append(
                {name: tensor.detach().clone() for name, tensor in plan_again.model.state_dict().items()}
            )

    plan_again = make_plan(epochs=6, metric=metric, learning_rate=2e-2)
    train(plan_again, "again", keep)
    kept = load_file(folder.weights)
    assert all(torch.equal(kept[name], tensor) for name, tensor in weights[run["best"]["epoch"] - 1].items())


def test_the_test_split_changes_nothing(make_plan: MakePlan, make_data: MakeData, train: Train) -> None:
    """With every test label wrong, the same weights are kept."""
    data = make_data()
    spoiled = tuple(replace(s, labels=((s.label + 1) % 3,)) if s.split == "test" else s for s in data.samples)
    runs = [
        train(make_plan(variant, epochs=5, learning_rate=1e-2), name)
        for name, variant in (
            ("right", data),
            ("wrong", replace(data, samples=spoiled)),
            ("none", make_data(test=0)),
        )
    ]
    assert len({folder.weights.read_bytes() for folder in runs}) == 1
    assert figures_of(runs[0])[-1]["test_loss"] != figures_of(runs[1])[-1]["test_loss"]


def test_without_validation_the_last_weights_are_kept(
    make_plan: MakePlan, make_data: MakeData, train: Train
) -> None:
    """Though the test split finds them the worst: its labels are those that the network unlearns."""
    data = make_data(validation=0, train=24, test=0)
    shown = tuple(
        replace(s, path=f"test/{s.path}", split="test", labels=((s.label + 1) % 3,)) for s in data.samples
    )
    reader = data.reader
    data = replace(
        data,
        samples=data.samples + shown,
        reader=lambda sample: reader(replace(sample, path=sample.path.removeprefix("test/"))),
    )
    last: dict[str, torch.Tensor] = {}

    def keep(event: Event) -> None:
        if isinstance(event, EpochDone):
            assert not event.best
            last.update({name: tensor.detach().clone() for name, tensor in plan.model.state_dict().items()})

    plan = make_plan(data, epochs=15, learning_rate=1e-2)
    folder = train(plan, listen=keep)
    losses = [line["test_loss"] for line in folder.read_metrics()]
    assert losses[-1] > min(losses)
    kept = load_file(folder.weights)
    assert all(torch.equal(kept[name], tensor) for name, tensor in last.items())
    assert json.loads(folder.run.read_text())["best"] == {"epoch": None, "metric": None, "value": None}


def test_without_test_the_validation_is_reported(
    make_plan: MakePlan, make_data: MakeData, train: Train
) -> None:
    folder = train(make_plan(make_data(test=0), epochs=1), "validation")
    assert json.loads(folder.evaluation.read_text())["split"] == "validation"
    folder = train(make_plan(make_data(test=0, validation=0), epochs=1), "train")
    assert json.loads(folder.evaluation.read_text())["split"] == "train"


def test_a_metric_that_validation_cannot_give_is_refused(make_plan: MakePlan, make_data: MakeData) -> None:
    with pytest.raises(DataError, match="--metric"):
        make_plan(make_data(validation=1), metric="auroc")


def test_a_recipe_in_steps_ends_with_that_step(make_plan: MakePlan, train: Train) -> None:
    folder = train(make_plan(steps=6, schedule="linear", learning_rate=0.01))
    lines = folder.read_metrics()
    assert [line["step"] for line in lines] == [4, 6]
    assert lines[-1]["learning_rate"] == pytest.approx(0.01 / 6)


def test_listeners_hear_of_every_step_and_epoch(make_plan: MakePlan, train: Train) -> None:
    events: list[Event] = []
    train(make_plan(epochs=2), listen=events.append)
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [(event.epoch, event.step, event.steps) for event in steps] == [
        (1 + step // 4, step + 1, 8) for step in range(8)
    ]
    assert all(event.images_per_second > 0 for event in steps)
    assert steps[-1].seconds_left == 0
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert [event.figures["epoch"] for event in epochs] == [1, 2]
    assert steps[3].loss == pytest.approx(epochs[0].figures["train_loss"])


def test_the_plan_leaves_the_weights_as_they_were(make_plan: MakePlan, make_model: Callable) -> None:
    plan = make_plan(precision="bf16")
    for name, tensor in make_model().state_dict().items():
        assert torch.equal(plan.model.state_dict()[name], tensor)
        assert tensor.dtype == torch.float32
    assert plan.seconds_per_step > 0
    assert plan.seconds > plan.seconds_per_step * plan.steps
    assert plan.disk_bytes > sum(4 * 4 * weight.numel() for weight in plan.model.parameters())


def test_the_plan_computes_one_batch_at_a_time(make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    step = plan_module.train_step
    monkeypatch.setattr(
        plan_module,
        "train_step",
        lambda learner, group: (groups.append(len(group)), step(learner, group))[1],
    )
    make_plan(accumulate=512)
    assert set(groups) == {1}  # and not the 512 batches of a whole update
    assert len(groups) < 20


def test_batches_larger_than_the_data_are_noted(make_plan: MakePlan) -> None:
    assert any(
        "256 images" in text and "26" in text for text in make_plan(batch_size=32, accumulate=8).notices
    )
    assert make_plan().notices == ()


def test_a_class_without_training_images_is_refused(make_plan: MakePlan, make_data: MakeData) -> None:
    with pytest.raises(DataError, match="square"):
        make_plan(make_data(train=2))


def test_a_time_limit_cuts_the_epochs(make_plan: MakePlan, train: Train) -> None:
    plan = make_plan(epochs=1000, time_limit=1.5)
    assert 1 <= plan.recipe.epochs < 1000
    assert any(f"{plan.recipe.epochs} epochs instead of 1000" in text for text in plan.notices)
    assert plan.seconds <= 1.5 or plan.recipe.epochs == 1
    assert make_plan(epochs=3, time_limit=1e6).recipe.epochs == 3


def test_a_time_limit_that_is_met_too_early_ends_the_training(make_plan: MakePlan, train: Train) -> None:
    events: list[Event] = []
    plan = replace(make_plan(epochs=2000), time_limit=0.5)  # as if the estimate had been wrong
    folder = train(plan, listen=events.append)
    assert 1 <= len(folder.read_metrics()) < 2000
    assert any(isinstance(event, Notice) and "time limit" in event.text for event in events)
    assert json.loads(folder.run.read_text())["state"] == "finished"
    assert folder.evaluation.exists()


def test_a_loss_that_is_not_finite_keeps_the_last_good_weights(
    make_plan: MakePlan, train: Train, tmp_path: Path
) -> None:
    plan = make_plan(epochs=3)
    good: dict[str, torch.Tensor] = {}

    def spoil(event: Event) -> None:
        if isinstance(event, EpochDone) and event.figures["epoch"] == 1:
            good.update({name: tensor.detach().clone() for name, tensor in plan.model.state_dict().items()})
        if isinstance(event, StepDone) and event.step == 6:
            with torch.no_grad():
                plan.model.head.weight.fill_(float("nan"))

    with pytest.raises(VitralError, match=r"finite in step 7\b.*lower --learning-rate"):
        train(plan, listen=spoil)
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in good.items())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "failed"


@pytest.mark.parametrize("splits", [{}, {"validation": 0}, {"validation": 0, "test": 0}])
def test_an_epochs_last_step_cannot_spoil_the_weights(
    make_plan: MakePlan, make_data: MakeData, train: Train, tmp_path: Path, splits: dict
) -> None:
    """Its loss is finite, its gradient is not, and what it leaves is never written over the last good weights."""
    plan = make_plan(make_data(**splits), epochs=3)
    good: dict[str, torch.Tensor] = {}

    def spoil(event: Event) -> None:
        if isinstance(event, EpochDone) and event.figures["epoch"] == 1:
            good.update({name: tensor.detach().clone() for name, tensor in plan.model.state_dict().items()})
        if isinstance(event, StepDone) and event.step == 7:
            plan.model.head.bias.register_hook(lambda gradient: gradient * float("inf"))

    with pytest.raises(VitralError, match=r"step 8\b"):
        train(plan, listen=spoil)
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in good.items())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "failed"


def test_a_huge_learning_rate_ends_with_advice(make_plan: MakePlan, train: Train, tmp_path: Path) -> None:
    plan = make_plan(epochs=5, optimizer="sgd", learning_rate=1e30, clip_norm=0.0)
    with pytest.raises(VitralError, match="--learning-rate") as caught:
        train(plan)
    assert "\n" not in str(caught.value)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "failed"


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total"),
            "2.50 GiB",
        ),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to "
                "allocate 3221225472 bytes. Error code 12"
            ),
            "3221225472 bytes",
        ),
        (MemoryError(), ""),
    ],
)
def test_out_of_memory_says_what_to_give(
    make_plan: MakePlan, train: Train, monkeypatch: pytest.MonkeyPatch, error: Exception, asked: str
) -> None:
    plan = make_plan(batch_size=6, accumulate=2)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(plan.model, "forward", fail)
    with pytest.raises(
        VitralError, match=f"not enough memory.*{asked}.*--batch-size 3 --accumulate 4.* 12 "
    ) as caught:
        train(plan)
    assert "\n" not in str(caught.value)
    with pytest.raises(VitralError, match="--batch-size 3 --accumulate 4"):
        plan_module._measure(plan)


def test_the_batch_size_advised_keeps_the_total(make_plan: MakePlan) -> None:
    for batch_size, accumulate in ((5, 1), (7, 3), (64, 8), (2, 1), (9, 2)):
        recipe = make_plan(batch_size=1).recipe.replace(batch_size=batch_size, accumulate=accumulate)
        words = memory.memory_advice(recipe, MemoryError()).split()
        smaller, more = (
            int(words[words.index(option) + 1].strip(",")) for option in ("--batch-size", "--accumulate")
        )
        assert smaller < batch_size
        assert smaller * more == recipe.total_batch
    assert "--image-size" in memory.memory_advice(recipe.replace(batch_size=1, accumulate=1), MemoryError())


def test_other_errors_come_through(
    make_plan: MakePlan, train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = make_plan()

    def fail(*_: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(plan.model, "forward", fail)
    with pytest.raises(RuntimeError, match="something else"):
        train(plan)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "failed"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_with_a_frozen_backbone_only_the_head_moves(
    make_plan: MakePlan, train: Train, precision: str
) -> None:
    plan = make_plan(freeze_backbone=True, precision=precision, ema_decay=0.5)
    before = {name: tensor.clone() for name, tensor in plan.model.state_dict().items()}
    after = load_file(train(plan).weights)
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved == {"head.weight", "head.bias"}


def test_training_ends_early_where_validation_finds_nothing_better(make_plan: MakePlan, train: Train) -> None:
    """A learning rate of next to nothing never betters the first epoch."""
    notices: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, Notice):
            notices.append(event.text)

    plan = make_plan(
        epochs=20, learning_rate=1e-12, early_stopping=3, metric="accuracy", freeze_backbone=True
    )
    folder = train(plan, listen=listen)
    epochs = folder.read_metrics()
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4]
    assert folder.read_run()["state"] == "finished"
    assert folder.read_run()["best"]["epoch"] == 1
    assert "no better accuracy in 3 epochs" in notices[0]


def test_early_stopping_waits_as_long_as_it_gets_better(make_plan: MakePlan, train: Train) -> None:
    folder = train(make_plan(epochs=12, early_stopping=2, metric="loss"))
    losses = [epoch["validation_loss"] for epoch in folder.read_metrics()]
    best = 0
    for epoch, loss in enumerate(losses):
        best = epoch if loss < losses[best] else best
        assert epoch - best < 2 or epoch == len(losses) - 1
    assert len(losses) == 12 or len(losses) - 1 - best == 2


def test_early_stopping_without_validation_is_refused(make_plan: MakePlan, make_data: MakeData) -> None:
    with pytest.raises(DataError, match="--validation"):
        make_plan(make_data(validation=0), early_stopping=2)
