"""Several labels an image: the loss and its weights, mixing, what of a recipe fits, what a training leaves."""

import csv
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from vitral.data import LabelledImages
from vitral.data.augment import Augmentation, mix
from vitral.data.loader import Batch
from vitral.errors import ConfigError, DataError
from vitral.inference import Classifier
from vitral.runs import RunFolder, choose_thresholds
from vitral.training import EpochDone, Event, Plan, Recipe, StepDone
from vitral.training.loop import train_step
from vitral.training.multi_label import balanced_weights, exact_matches, fitted_recipe, multi_label_loss
from vitral.training.plan import make_learner
from vitral.weights import read_checkpoint

Train = Callable[..., RunFolder]
MakePlan = Callable[..., Plan]
MakeData = Callable[..., LabelledImages]

# What an image of each class of the conftest's data is labelled with here, and every seventh with nothing.
LABELS = {0: (0,), 1: (0, 1), 2: (2,)}
SIGMOID = {"loss": "sigmoid", "metric": "mean_average_precision"}


@pytest.fixture
def several(make_data: MakeData) -> MakeData:
    """`several(train=26, …)`: the conftest's data, some images with two labels, some with none."""

    def make(**sizes: int) -> LabelledImages:
        data = make_data(**sizes)
        samples = [
            replace(sample, labels=() if index % 7 == 6 else LABELS[sample.label])
            for index, sample in enumerate(data.samples)
        ]
        return replace(data, samples=tuple(samples), multi_label=True)

    return make


def random_batch(images: int = 8, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(images, classes), torch.randint(2, (images, classes)).float()


def test_the_loss_is_one_cross_entropy_a_class() -> None:
    logits, targets = random_batch()
    for smoothing in (0.0, 0.2):
        smooth = torch.where(targets > 0, 1 - smoothing / 2, smoothing / 2)
        expected = F.binary_cross_entropy(logits.sigmoid(), smooth, reduction="none").sum(dim=1).mean()
        torch.testing.assert_close(multi_label_loss(logits, targets, smoothing, None), expected)
    far = multi_label_loss(torch.tensor([[200.0, -200.0]]), torch.tensor([[0.0, 1.0]]), 0.0, None)
    assert far.item() == pytest.approx(400)


def test_balanced_weights_are_scikit_learns_for_every_class() -> None:
    _, targets = random_batch(images=40)
    weights = balanced_weights(targets.sum(dim=0).int().tolist(), len(targets))
    for column, (no, yes) in zip(targets.T.numpy(), weights.T.tolist(), strict=True):
        expected = compute_class_weight("balanced", classes=np.array([0.0, 1.0]), y=column)
        assert [no, yes] == pytest.approx(expected.tolist())
    assert balanced_weights([4, 0], 4).tolist() == [[1, 1], [1, 1]]


def test_weights_weigh_as_repeated_answers_would() -> None:
    logits, targets = random_batch(images=6, classes=1)
    weights = torch.tensor([[2.0], [3.0]])  # of no and of yes
    times = torch.where(targets[:, 0] > 0, 3, 2)
    repeated = multi_label_loss(
        logits.repeat_interleave(times, 0), targets.repeat_interleave(times, 0), 0.1, None
    )
    found = multi_label_loss(logits, targets, 0.1, weights)
    torch.testing.assert_close(found * len(logits), repeated * times.sum())


def test_the_loss_of_a_mixed_image_is_the_mixed_loss() -> None:
    logits, one = random_batch()
    other, weights = one.flip(0), torch.rand(2, 5) + 0.5
    mixed = multi_label_loss(logits, 0.3 * one + 0.7 * other, 0.1, weights)
    apart = [multi_label_loss(logits, targets, 0.1, weights) for targets in (one, other)]
    torch.testing.assert_close(mixed, 0.3 * apart[0] + 0.7 * apart[1])


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_are_mixed_as_their_images_are(kind: str) -> None:
    _, targets = random_batch(images=8, classes=3)
    images = targets[:, :, None, None].expand(-1, -1, 16, 16).clone()  # what an image shows is its labels
    before = targets.clone()
    torch.manual_seed(3)
    mixed, shares = mix(images, targets, 3, Augmentation(**{kind: 1.0}))
    assert torch.equal(targets, before)
    assert ((shares > 0) & (shares < 1)).any()
    torch.testing.assert_close(mixed.mean(dim=(2, 3)), shares)
    same, kept = mix(images, targets, 3, Augmentation(**{kind: 1.0}, mix_probability=0.0))
    assert torch.equal(same, images)
    assert torch.equal(kept, targets)


def test_right_answers_have_every_label_right() -> None:
    logits, targets = random_batch(images=64, classes=2)
    expected = accuracy_score(targets.numpy(), (logits > 0).numpy(), normalize=False)
    assert 0 < expected < 64
    assert exact_matches(logits, targets).item() == expected
    shares = torch.tensor([[0.3, 1.0], [0.3, 0.0]])
    assert exact_matches(torch.tensor([[-1.0, 1.0], [1.0, 1.0]]), shares).item() == pytest.approx(0.7)


def test_a_recipe_is_fitted_unless_asked_for() -> None:
    usual = Recipe()
    fitted, notes = fitted_recipe(usual, True, ())
    assert (fitted.loss, fitted.metric) == ("sigmoid", "mean_average_precision")
    assert "sigmoid" in notes[0]
    assert "mean_average_precision" in notes[0]
    assert fitted_recipe(usual, False, ()) == (usual, [])
    chosen = usual.replace(loss="sigmoid", metric="macro_f1")
    assert fitted_recipe(chosen, True, ("loss", "metric")) == (chosen, [])
    with pytest.raises(ConfigError, match=r"softmax loss is for one label an image.* take sigmoid"):
        fitted_recipe(usual, True, ("loss",))
    with pytest.raises(ConfigError, match=r"balanced_accuracy is for one label.*mean_average_precision"):
        fitted_recipe(usual, True, ("metric",))
    with pytest.raises(ConfigError, match="mean_average_precision is for images with several labels"):
        fitted_recipe(usual.replace(metric="mean_average_precision"), False, ("metric",))


def test_a_plan_needs_what_fits(make_plan: MakePlan, several: MakeData) -> None:
    with pytest.raises(ConfigError, match="softmax loss"):
        make_plan(several(), metric="loss")
    with pytest.raises(ConfigError, match="several labels"):
        make_plan(metric="mean_average_precision")
    data = several()
    none = tuple(replace(one, labels=() if one.split == "validation" else one.labels) for one in data.samples)
    for metric in ("mean_average_precision", "macro_f1"):
        with pytest.raises(DataError, match=f"no validation image has a label, so there is no {metric}"):
            make_plan(replace(data, samples=none), loss="sigmoid", metric=metric)
    with pytest.raises(DataError, match="no auroc"):
        make_plan(replace(data, samples=none), loss="sigmoid", metric="auroc")
    make_plan(replace(data, samples=none), loss="sigmoid", metric="loss")


def test_a_step_says_the_mean_over_classes_and_learns_the_sum(make_plan: MakePlan, several: MakeData) -> None:
    plan = make_plan(
        several(),
        **SIGMOID,
        random_crop=0.0,
        flip="none",
        optimizer="sgd",
        momentum=0.0,
        learning_rate=0.1,
        clip_norm=0.0,
    )
    learner = make_learner(plan)
    batch = next(plan.batches.stream())
    plan.model.eval()  # no dropout
    before = plan.model.head.bias.detach().clone()
    logits = plan.model(learner.normalise(batch.images)).detach()
    loss, right = train_step(learner, [batch]).tolist()
    assert loss == pytest.approx(F.binary_cross_entropy_with_logits(logits, batch.labels).item(), rel=1e-5)
    assert right == ((logits > 0) == batch.labels.bool()).all(dim=1).sum().item()
    # The sum's gradient by a bias: sigmoid less target, mean over the images.
    expected = before - 0.1 * (logits.sigmoid() - batch.labels).mean(dim=0)
    torch.testing.assert_close(plan.model.head.bias.detach(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighted", ["none", "balanced"])
def test_accumulated_batches_are_one_big_batch(make_plan: MakePlan, several: MakeData, weighted: str) -> None:
    changes = {"optimizer": "sgd", "learning_rate": 0.5, "clip_norm": 0.0, "label_smoothing": 0.1}
    plan = make_plan(several(), **SIGMOID, **changes, class_weights=weighted, batch_size=12)
    for module in plan.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    start = {name: tensor.clone() for name, tensor in plan.model.state_dict().items()}
    batch = next(plan.batches.stream())
    parts = [Batch(batch.images[:9], batch.labels[:9]), Batch(batch.images[9:], batch.labels[9:])]
    found = []
    for group in ([batch], parts):
        plan.model.load_state_dict(start)
        learner = make_learner(plan)
        figures = train_step(learner, group)
        found.append(torch.cat([figures, *(w.detach().flatten() for w in learner.weights.master)]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


def rows_of(folder: RunFolder, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, answers and probabilities of predictions.csv, `(images, classes)`."""
    names = ["circle", "cross", "square"]
    with folder.predictions.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    truth, answers = (
        np.array([[name in row[column].split("|") for name in names] for row in rows])
        for column in ("label", "predicted")
    )
    return truth, answers, np.array([[float(row[name]) for name in names] for row in rows])


def test_the_figures_are_scikit_learns(make_plan: MakePlan, several: MakeData, train: Train) -> None:
    folder = train(make_plan(several(validation=20, test=20), **SIGMOID, epochs=4, mixup=0.5))
    best = json.loads(folder.run.read_text())["best"]
    line = folder.read_metrics()[best["epoch"] - 1]
    evaluation = json.loads(folder.evaluation.read_text())
    for split in ("validation", "test"):
        truth, answers, probabilities = rows_of(folder, split)
        precision = average_precision_score(truth, probabilities)
        assert line[f"{split}_mean_average_precision"] == pytest.approx(precision, abs=1e-5)
        assert line[f"{split}_accuracy"] == accuracy_score(truth, probabilities >= 0.5)
        loss = np.mean([log_loss(t, p) for t, p in zip(truth.T, probabilities.T, strict=True)])
        assert line[f"{split}_loss"] == pytest.approx(loss, abs=1e-5)
    assert best["metric"] == "mean_average_precision"
    assert best["value"] == line["validation_mean_average_precision"]
    assert evaluation["split"] == "test"
    assert evaluation["mean_average_precision"] == pytest.approx(precision, abs=1e-5)
    assert evaluation["accuracy"] == accuracy_score(truth, answers)
    assert evaluation["macro_f1"] == pytest.approx(f1_score(truth, answers, average="macro"))
    assert evaluation["auroc"] == pytest.approx(roc_auc_score(truth, probabilities))
    assert evaluation["device"] == "cpu"


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "auroc", "loss"])
def test_every_metric_chooses(make_plan: MakePlan, several: MakeData, train: Train, metric: str) -> None:
    folder = train(make_plan(several(), loss="sigmoid", metric=metric, epochs=3))
    values = [line[f"validation_{metric}"] for line in folder.read_metrics()]
    best = json.loads(folder.run.read_text())["best"]
    assert best["value"] == (min if metric == "loss" else max)(values)


def test_equally_good_rankings_are_told_apart_by_their_loss(
    make_plan: MakePlan, several: MakeData, train: Train
) -> None:
    folder = train(
        make_plan(several(), **SIGMOID, epochs=25, learning_rate=1e-2, random_crop=0.0, flip="none")
    )
    lines = folder.read_metrics()
    best = json.loads(folder.run.read_text())["best"]
    highest = max(line["validation_mean_average_precision"] for line in lines)
    equal = [line for line in lines if line["validation_mean_average_precision"] == highest]
    assert len(equal) > 1
    assert best["epoch"] == min(equal, key=lambda line: line["validation_loss"])["epoch"]
    assert best["epoch"] != equal[0]["epoch"]  # which a first-come rule would keep


def test_the_thresholds_are_those_of_validation_and_stand_in_config(
    make_plan: MakePlan, several: MakeData, train: Train
) -> None:
    folder = train(make_plan(several(validation=20), **SIGMOID, epochs=4))
    thresholds = json.loads(folder.config.read_text())["thresholds"]
    truth, answers, probabilities = rows_of(folder, "validation")
    assert list(thresholds) == ["circle", "cross", "square"]
    assert list(thresholds.values()) == pytest.approx(choose_thresholds(truth, probabilities), abs=1e-5)
    assert any(value != 0.5 for value in thresholds.values())
    for split in ("validation", "test"):
        _, answers, probabilities = rows_of(folder, split)
        assert np.array_equal(answers, probabilities >= np.array(list(thresholds.values())))
    per_class = json.loads(folder.evaluation.read_text())["per_class"]
    assert {name: one["threshold"] for name, one in per_class.items()} == thresholds
    assert Classifier.load(folder.path, precision="fp32").thresholds == tuple(thresholds.values())


@pytest.mark.parametrize("test", [9, 0])
def test_without_validation_nothing_is_chosen(
    make_plan: MakePlan, several: MakeData, train: Train, test: int
) -> None:
    folder = train(make_plan(several(validation=0, test=test), **SIGMOID, epochs=2))
    assert set(json.loads(folder.config.read_text())["thresholds"].values()) == {0.5}
    assert json.loads(folder.evaluation.read_text())["split"] == ("test" if test else "train")
    assert json.loads(folder.run.read_text())["best"] == {"epoch": None, "metric": None, "value": None}


def test_a_run_of_one_label_has_no_thresholds(make_plan: MakePlan, train: Train) -> None:
    folder = train(make_plan(epochs=1))
    assert "thresholds" not in json.loads(folder.config.read_text())
    assert read_checkpoint(folder.path).thresholds is None


def test_stopping_and_going_on_changes_nothing(make_plan: MakePlan, several: MakeData, train: Train) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    changes = SIGMOID | {"epochs": 4, "mixup": 0.5, "class_weights": "balanced"}
    whole = train(make_plan(several(), **changes), "whole")
    with pytest.raises(KeyboardInterrupt):
        train(make_plan(several(), **changes), "parts", listen=stop)
    halves = read_checkpoint(RunFolder(whole.path.parent / "parts").path)
    assert halves.thresholds == (0.5, 0.5, 0.5)  # until validation has chosen
    ended: list[bool] = []
    parts = train(
        make_plan(several(), **changes),
        "parts",
        listen=lambda event: ended.append(isinstance(event, EpochDone)),
        resume=True,
    )
    assert any(ended)
    for name in ("model.safetensors", "predictions.csv", "evaluation.json", "config.json"):
        assert (parts.path / name).read_bytes() == (whole.path / name).read_bytes(), name
