"""Are the figures of folds and seeds those that scikit-learn finds for their answers?"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, log_loss, roc_auc_score

from vitral.data import Sample, write_splits
from vitral.errors import UsageError, VitralError
from vitral.files import write_json
from vitral.runs import (
    Predictions,
    RunFolder,
    evaluate_predictions,
    kind_of,
    put_together,
    read_predictions,
    read_second_look,
    share_right,
    write_predictions,
)
from vitral.runs.intervals import repeated_interval

NAMES = ("pizza", "steak", "sushi")


def answers(draw: np.random.Generator, labels: np.ndarray, likeness: float = 1.5) -> np.ndarray:
    """float32 (images, classes), leaning towards the truth, as networks answer."""
    logits = draw.normal(0, 1, (len(labels), len(NAMES)))
    logits[np.arange(len(labels)), labels] += likeness
    odds = np.exp(logits)
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def write_part(
    whole: RunFolder, name: str, positions: Sequence[int], labels: np.ndarray, probabilities: np.ndarray
) -> None:
    """A finished run that answers the images at `positions`, and before them one that chose."""
    part = RunFolder(whole.path / name)
    truth = labels[list(positions)]
    evaluation = evaluate_predictions(truth, probabilities, NAMES, split="test")
    write_json(part.evaluation, evaluation.to_dict(device="cpu", backend="torch", precision="fp32"))
    write_predictions(
        part.predictions,
        Predictions(
            NAMES,
            ("chose.png", *(f"{index}.png" for index in positions)),
            ("pizza", *(NAMES[label] for label in truth)),
            ("validation", *["test"] * len(positions)),
            ("pizza", *(NAMES[answer] for answer in probabilities.argmax(axis=1))),
            np.concatenate([np.eye(3, dtype=np.float32)[:1], probabilities]),
        ),
    )
    part.write_run({"state": "finished", "seconds": 1.0, "notes": []})


def make_whole(
    folder: Path, kind: str, parts: Sequence[str], labels: np.ndarray, groups: Sequence[str]
) -> RunFolder:
    whole = RunFolder(folder)
    whole.write_run({"state": "running", "kind": kind, "parts": list(parts), "notes": []})
    samples = [
        Sample(f"{index}.png", (int(label),), "train", group, f"{index:064x}", None)
        for index, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]
    write_splits(whole.splits, samples, NAMES)
    return whole


@pytest.fixture
def folds(tmp_path: Path) -> tuple[RunFolder, np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """Three folds of 61 images in mixed order, with labels, probabilities and what each fold found."""
    draw = np.random.default_rng(5)
    labels = draw.choice(3, 61, p=[0.5, 0.3, 0.2])
    probabilities = answers(draw, labels)
    whole = make_whole(tmp_path / "run", "folds", ["fold-1", "fold-2", "fold-3"], labels, [""] * 61)
    order = draw.permutation(61)
    single = []
    for number in range(3):
        mine = order[number::3]
        write_part(whole, f"fold-{number + 1}", mine.tolist(), labels, probabilities[mine])
        single.append(RunFolder(whole.path / f"fold-{number + 1}").read_evaluation())
    return whole, labels, probabilities, single


def test_folds_are_measured_on_the_answers_of_all_together(folds) -> None:
    whole, labels, probabilities, single = folds
    found = put_together(whole)
    assert found == whole.read_evaluation()
    predicted = probabilities.argmax(axis=1)
    right = int((predicted == labels).sum())
    assert (found["kind"], found["split"], found["images"]) == ("folds", "test", 61)
    assert found["accuracy"] == pytest.approx(right / 61)
    theirs = binomtest(right, 61).proportion_ci(method="wilson")
    assert found["accuracy_interval"] == pytest.approx([theirs.low, theirs.high])
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found["confusion_matrix"] == confusion_matrix(labels, predicted).tolist()
    exact = probabilities.astype(np.float64)
    assert found["loss"] == pytest.approx(log_loss(labels, exact / exact.sum(axis=1, keepdims=True)), 1e-5)
    assert found["auroc"] == pytest.approx(
        np.mean([roc_auc_score(labels == index, probabilities[:, index]) for index in range(3)])
    )
    assert found["groups"] is None
    accuracies = [one["accuracy"] for one in single]
    assert [one["accuracy"] for one in found["runs"]] == accuracies
    assert [one["name"] for one in found["runs"]] == ["fold-1", "fold-2", "fold-3"]
    assert [one["images"] for one in found["runs"]] == [21, 20, 20]
    assert found["accuracy_mean"] == pytest.approx(np.mean(accuracies))
    mean = sum(accuracies) / 3
    assert found["accuracy_spread"] == pytest.approx((sum((a - mean) ** 2 for a in accuracies) / 2) ** 0.5)


def test_every_image_has_one_answer_in_the_order_of_splits_csv(folds) -> None:
    whole, labels, probabilities, _ = folds
    found = put_together(whole)
    kept = read_predictions(whole.predictions)
    assert kept.paths == tuple(f"{index}.png" for index in range(61))
    assert kept.labels == tuple(NAMES[label] for label in labels)
    assert set(kept.splits) == {"test"}
    np.testing.assert_array_equal(kept.probabilities.astype(np.float32), probabilities)
    doubtful = read_second_look(whole.second_look)
    assert found["second_look"] == len(doubtful) > 0
    assert all(one.label == NAMES[labels[int(one.path.removesuffix(".png"))]] for one in doubtful)


def test_a_confident_mistake_costs_what_it_costs_in_its_own_run(tmp_path: Path) -> None:
    """Six decimals would make a probability of one in a billion a nought, and the loss four times as large."""
    labels = np.array([0, 1, 0, 1])
    probabilities = np.array([[0.9, 0.1, 0], [1 - 1e-9, 1e-9, 0], [0.8, 0.2, 0], [0.3, 0.7, 0]], np.float32)
    whole = make_whole(tmp_path / "run", "folds", ["fold-1", "fold-2"], labels, [""] * 4)
    write_part(whole, "fold-1", [0, 1], labels, probabilities[:2])
    write_part(whole, "fold-2", [2, 3], labels, probabilities[2:])
    expected = -np.log([0.9, 1e-9, 0.8, 0.7]).mean()
    assert put_together(whole)["loss"] == pytest.approx(expected, rel=1e-6)


def test_groups_widen_the_interval_of_folds(tmp_path: Path) -> None:
    labels = np.repeat([0, 1, 2], 40)
    right = np.repeat(np.random.default_rng(1).random(24) < 0.7, 5)  # all five of a group, or none
    probabilities = np.eye(3, dtype=np.float32)[np.where(right, labels, (labels + 1) % 3)]
    intervals = []
    for name, groups in (
        ("alone", [""] * 120),
        ("grouped", [f"patient {index // 5}" for index in range(120)]),
    ):
        whole = make_whole(tmp_path / name, "folds", ["fold-1", "fold-2"], labels, groups)
        for number in range(2):
            mine = np.flatnonzero(np.arange(120) // 5 % 2 == number)
            write_part(whole, f"fold-{number + 1}", mine.tolist(), labels, probabilities[mine])
        intervals.append(put_together(whole)["accuracy_interval"])
    alone, grouped = (high - low for low, high in intervals)
    # 24 groups of five that stand or fall together are worth 24 images: about sqrt(5) times as wide.
    assert 1.8 < grouped / alone < 2.6
    assert whole.read_evaluation()["groups"] == 24


def make_seeds(
    folder: Path, labels: np.ndarray, probabilities: np.ndarray, groups: Sequence[str]
) -> RunFolder:
    """`probabilities` (seeds, images, classes)."""
    names = [f"seed-{seed}" for seed in range(len(probabilities))]
    whole = make_whole(folder, "seeds", names, labels, groups)
    for name, one in zip(names, probabilities, strict=True):
        write_part(whole, name, range(len(labels)), labels, one)
    return whole


def test_seeds_are_measured_as_means_over_the_seeds(tmp_path: Path) -> None:
    draw = np.random.default_rng(6)
    labels = draw.choice(3, 80, p=[0.5, 0.3, 0.2])
    probabilities = np.stack([answers(draw, labels) for _ in range(3)])
    whole = make_seeds(tmp_path / "run", labels, probabilities, [""] * 80)
    found = put_together(whole)
    predicted = probabilities.argmax(axis=2)
    accuracies = (predicted == labels).mean(axis=1)
    assert (found["kind"], found["images"]) == ("seeds", 80)
    assert found["accuracy"] == found["accuracy_mean"] == pytest.approx(accuracies.mean())
    assert found["accuracy_spread"] == pytest.approx(np.std(accuracies, ddof=1))
    assert found["balanced_accuracy"] == pytest.approx(
        np.mean([balanced_accuracy_score(labels, one) for one in predicted])
    )
    assert found["macro_f1"] == pytest.approx(
        np.mean([f1_score(labels, p, average="macro") for p in predicted])
    )
    assert found["confusion_matrix"] == sum(confusion_matrix(labels, one) for one in predicted).tolist()
    assert found["per_class"]["sushi"]["images"] == (labels == 2).sum()
    assert found["per_class"]["sushi"]["recall"] == pytest.approx((predicted == 2)[:, labels == 2].mean())
    low, high = found["per_class"]["sushi"]["recall_interval"]
    assert low < found["per_class"]["sushi"]["recall"] < high
    assert "second_look" not in found

    kept = read_predictions(whole.predictions)
    np.testing.assert_allclose(kept.probabilities, probabilities.mean(axis=0, dtype=np.float64), rtol=1e-6)
    averaged = probabilities.mean(axis=0).argmax(axis=1)
    assert kept.predicted == tuple(NAMES[answer] for answer in averaged)
    assert found["ensemble_accuracy"] == pytest.approx((averaged == labels).mean())
    shares = share_right(whole)
    assert shares == {
        f"{index}.png": pytest.approx((predicted == labels)[:, index].mean()) for index in range(80)
    }


def test_seeds_that_agree_are_worth_one_training(tmp_path: Path) -> None:
    draw = np.random.default_rng(7)
    labels = draw.choice(3, 300)
    one = answers(draw, labels)
    found = put_together(make_seeds(tmp_path / "run", labels, np.stack([one] * 4), [""] * 300))
    right = int((one.argmax(axis=1) == labels).sum())
    theirs = binomtest(right, 300).proportion_ci(method="wilson")  # of 300 images, not of 1,200 answers
    assert found["accuracy_interval"] == pytest.approx([theirs.low, theirs.high], abs=2e-3)


def test_the_interval_of_seeds_holds_the_truth(tmp_path: Path) -> None:
    """Images are hard or easy, seeds differ by luck; images are drawn anew many times."""
    draw = np.random.default_rng(8)
    held, held_naively, trials = 0, 0, 600
    for _ in range(trials):
        ease = draw.beta(1.4, 0.6, 120)  # mean 0.7
        right = draw.random((120, 3)) < ease[:, None]
        low, high = repeated_interval(right, None)
        held += low <= 0.7 <= high
        naive = binomtest(int(right.sum()), right.size).proportion_ci(method="wilson")
        held_naively += naive.low <= 0.7 <= naive.high
    assert held / trials >= 0.92  # 0.95 less three standard errors
    assert held_naively / trials < 0.88


def test_what_is_missing_or_does_not_fit_is_said(folds, tmp_path: Path) -> None:
    whole, *_ = folds
    (whole.path / "fold-2" / "run.json").write_text(json.dumps({"state": "interrupted"}))
    with pytest.raises(UsageError, match=r"has 2 of its 3 runs: `vitral train --resume .*run` makes fold-2"):
        put_together(whole)
    draw = np.random.default_rng(9)
    labels = draw.choice(3, 20)
    seeds = make_seeds(tmp_path / "seeds", labels, np.stack([answers(draw, labels)] * 2), [""] * 20)
    write_part(seeds, "seed-1", range(10), labels, answers(draw, labels[:10]))
    with pytest.raises(VitralError, match="seed-1 and seed-0 answered different images"):
        put_together(seeds)
    (seeds.path / "seed-1" / "predictions.csv").unlink()
    with pytest.raises(VitralError, match=r"predictions\.csv does not exist"):
        put_together(seeds)


def test_the_parts_go_with_the_whole_and_nothing_else_does(folds, tmp_path: Path) -> None:
    whole, *_ = folds
    assert kind_of(whole) == "folds"
    assert kind_of(RunFolder(whole.path / "fold-1")) is None
    assert kind_of(RunFolder(tmp_path)) is None
    for place in (whole.path / "fold-10", whole.path / "other", tmp_path / "beside"):
        RunFolder(place).write_run({"state": "finished"})
    (whole.path / "fold-3" / "mine.txt").write_text("keep me")
    assert [part.path.name for part in whole.parts()] == ["fold-1", "fold-2", "fold-3"]
    put_together(whole)
    whole.update_run(parts=["fold-1", "fold-2", "fold-3", "other", "../beside", 7])
    whole.clear()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {
        "run/fold-10/run.json",
        "run/other/run.json",
        "run/fold-3/mine.txt",
        "beside/run.json",
    }
