"""Are the figures of several labels an image scikit-learn's, and the thresholds the best that there are?"""

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    hamming_loss,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from vitral.errors import DataError, WeightsError
from vitral.runs import choose_thresholds, evaluate_multi_label
from vitral.runs.multi_label import MEASURES, measure, weighted_average_precision

NAMES = ("açaí", "blue", "red", "round")


def answers(images: int, classes: int = 4, seed: int = 0, better: float = 1.5, ties: bool = False):
    """Targets, and probabilities that know something about them; rounded, they have many equals."""
    random = np.random.default_rng(seed)
    targets = (random.random((images, classes)) < np.linspace(0.2, 0.6, classes)).astype(np.float32)
    logits = random.normal(size=targets.shape) + better * (targets - 0.5)
    probabilities = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return targets, np.round(probabilities, 1) if ties else probabilities


@pytest.mark.parametrize("ties", [False, True])
def test_the_figures_are_scikit_learns(ties: bool) -> None:
    targets, probabilities = answers(200, ties=ties)
    thresholds = (0.3, 0.45, 0.5, 0.7)
    found = evaluate_multi_label(targets, probabilities, NAMES, thresholds, split="test")
    answered = probabilities.astype(float) >= np.array(thresholds)
    truth = targets.astype(bool)
    expected = {
        "mean_average_precision": average_precision_score(truth, probabilities, average="macro"),
        "chance_average_precision": truth.mean(),
        "accuracy": accuracy_score(truth, answered),
        "exact_match": accuracy_score(truth, answered),
        "label_accuracy": 1 - hamming_loss(truth, answered),
        "macro_f1": f1_score(truth, answered, average="macro"),
        "micro_f1": f1_score(truth, answered, average="micro"),
        "auroc": roc_auc_score(truth, probabilities, average="macro"),
        "loss": np.mean([log_loss(t, p) for t, p in zip(truth.T, probabilities.T, strict=True)]),
    }
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=1e-6)
    interval = binomtest(round(200 * found.accuracy), 200).proportion_ci(method="wilson")
    assert found.accuracy_interval == pytest.approx((interval.low, interval.high))
    for index, name in enumerate(NAMES):
        one, has, said = found.per_class[name], truth[:, index], answered[:, index]
        assert one.average_precision == pytest.approx(average_precision_score(has, probabilities[:, index]))
        assert one.precision == pytest.approx(precision_score(has, said))
        assert one.recall == pytest.approx(recall_score(has, said))
        assert one.f1 == pytest.approx(f1_score(has, said))
        assert (one.threshold, one.images) == (thresholds[index], has.sum())
        interval = binomtest(int((has & said).sum()), int(has.sum())).proportion_ci(method="wilson")
        assert one.recall_interval == pytest.approx((interval.low, interval.high))


def test_an_epochs_measures_are_those_of_an_evaluation_at_half() -> None:
    targets, probabilities = answers(100, seed=3)
    evaluation = evaluate_multi_label(targets, probabilities, NAMES, (0.5,) * 4, split="test")
    for name in MEASURES:
        assert measure(name, targets, probabilities) == pytest.approx(getattr(evaluation, name), rel=1e-6)


def test_the_file_holds_plain_values() -> None:
    targets, probabilities = answers(50)
    evaluation = evaluate_multi_label(targets, probabilities, NAMES, (0.5,) * 4, split="validation")
    content = json.loads(json.dumps(evaluation.to_dict(device="cpu", backend="torch", precision="fp32")))
    assert content["classes"] == list(NAMES)
    assert content["per_class"]["red"].keys() == {
        "average_precision",
        "precision",
        "recall",
        "recall_interval",
        "f1",
        "threshold",
        "images",
    }
    assert (content["device"], content["split"], content["groups"]) == ("cpu", "validation", None)


def test_always_answering_the_commonest_combination_is_the_baseline() -> None:
    targets = np.array([[1, 0, 1]] * 4 + [[1, 0, 0]] * 3 + [[0, 0, 0]] * 2)
    found = evaluate_multi_label(targets, np.full((9, 3), 0.5), "abc", (0.6,) * 3, split="test")
    assert (found.majority_label, found.majority_accuracy) == ("a|c", 4 / 9)
    always = np.tile([True, False, True], (9, 1))
    assert found.majority_accuracy == accuracy_score(targets, always)
    assert found.accuracy == 2 / 9  # nothing is answered, rightly where nothing is


def test_a_class_without_an_image_spoils_no_mean() -> None:
    targets, probabilities = answers(60, seed=5)
    targets[:, 1] = 0
    thresholds = (0.5, 1.0, 0.5, 0.5)
    found = evaluate_multi_label(targets, probabilities, NAMES, thresholds, split="test")
    kept = [0, 2, 3]
    assert found.mean_average_precision == pytest.approx(
        average_precision_score(targets[:, kept], probabilities[:, kept])
    )
    assert found.chance_average_precision == pytest.approx(targets[:, kept].mean())
    assert found.auroc == pytest.approx(roc_auc_score(targets[:, kept], probabilities[:, kept]))
    assert found.macro_f1 == pytest.approx(
        f1_score(targets[:, kept], probabilities[:, kept] >= 0.5, average="macro")
    )
    assert found.missing_classes == ("blue",)
    nothing = found.per_class["blue"]
    assert (nothing.average_precision, nothing.precision, nothing.recall, nothing.f1) == (None,) * 4


def test_images_without_any_label_have_no_average_precision() -> None:
    found = evaluate_multi_label(np.zeros((5, 2)), np.full((5, 2), 0.1), "ab", (0.5, 0.5), split="test")
    assert (found.mean_average_precision, found.mean_average_precision_interval) == (None, None)
    assert (found.macro_f1, found.micro_f1, found.auroc) == (None, None, None)
    assert (found.accuracy, found.majority_label, found.majority_accuracy) == (1, "", 1)


def test_labels_that_the_model_does_not_know_are_mistakes() -> None:
    targets = np.array([[1, 0], [1, 1], [0, 0]])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.7], [0.2, 0.3]])
    unknown = [["x"], [], ["y", "x"]]
    found = evaluate_multi_label(targets, probabilities, "ab", (0.5, 0.5), split="test", unknown=unknown)
    truth = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]])  # a, b, x, y
    answered = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert found.accuracy == accuracy_score(truth, answered)
    assert found.label_accuracy == pytest.approx(1 - hamming_loss(truth, answered))
    assert found.macro_f1 == pytest.approx(f1_score(truth, answered, average="macro"))
    assert found.micro_f1 == pytest.approx(f1_score(truth, answered, average="micro"))
    assert found.mean_average_precision == 1.0
    assert found.unknown_classes == {"x": 2, "y": 1}
    assert (found.majority_label, found.majority_accuracy) == ("a|b", 1 / 3)


def test_what_the_draws_compute_is_scikit_learns_with_weights() -> None:
    targets, probabilities = answers(40, seed=2, ties=True)
    weights = np.random.default_rng(0).integers(0, 4, (6, 40))
    for has, scores in zip(targets.T > 0, probabilities.T, strict=True):
        found = weighted_average_precision(has, scores, weights.astype(float))
        assert found == pytest.approx(
            [average_precision_score(has, scores, sample_weight=one) for one in weights]
        )
    none = weighted_average_precision(np.array([True, False]), np.array([0.5, 0.4]), np.array([[0.0, 2.0]]))
    assert np.isnan(none).all()


def test_the_interval_holds_what_many_images_give_about_as_often_as_it_says() -> None:
    many = evaluate_multi_label(*answers(20_000, seed=99), NAMES, (0.5,) * 4, split="test")
    true = many.mean_average_precision
    assert many.mean_average_precision_interval is not None
    low, high = many.mean_average_precision_interval
    assert low < true < high < low + 0.02
    inside, widths = 0, []
    for seed in range(40):
        found = evaluate_multi_label(*answers(60, seed=seed), NAMES, (0.5,) * 4, split="test")
        low, high = found.mean_average_precision_interval
        assert low < found.mean_average_precision < high
        inside, widths = inside + (low <= true <= high), [*widths, high - low]
    assert 35 <= inside <= 40  # 38 are expected
    assert 0.1 < np.mean(widths) < 0.25


def test_a_perfect_ranking_of_few_images_is_not_taken_for_certain() -> None:
    targets, _ = answers(20)
    found = evaluate_multi_label(targets, targets * 0.8 + 0.1, NAMES, (0.5,) * 4, split="test")
    assert found.mean_average_precision == 1.0
    assert found.mean_average_precision_interval == pytest.approx(found.accuracy_interval)


def test_intervals_count_groups_and_are_the_same_each_time() -> None:
    targets, probabilities = answers(30, seed=1)
    targets, probabilities = np.repeat(targets, 10, axis=0), np.repeat(probabilities, 10, axis=0)
    patients = [f"patient {number}" for number in np.repeat(np.arange(30), 10)]
    alone, grouped, again = (
        evaluate_multi_label(targets, probabilities, NAMES, (0.5,) * 4, split="test", groups=groups)
        for groups in (None, patients, patients)
    )
    assert again == grouped
    assert grouped.groups == 30
    assert grouped.mean_average_precision == alone.mean_average_precision
    for name in ("mean_average_precision_interval", "accuracy_interval"):
        (low, high), (near, far) = getattr(grouped, name), getattr(alone, name)
        assert high - low > 2 * (far - near)  # about the square root of 10


def test_thresholds_are_the_best_by_f1_that_a_search_finds() -> None:
    for seed in range(6):
        targets, probabilities = answers(25, seed=seed, ties=seed % 2 == 0)
        thresholds = choose_thresholds(targets, probabilities)
        for has, scores, threshold in zip(targets.T, probabilities.T.astype(float), thresholds, strict=True):
            tried = [f1_score(has, scores >= cut) for cut in np.unique(scores)]
            assert f1_score(has, scores >= threshold) == pytest.approx(max(tried))
            assert not np.any(np.abs(scores - threshold) < 1e-9) or threshold == 0


def test_a_threshold_lies_half_way_and_near_a_half_among_equals() -> None:
    scores = np.array([[0.9], [0.7], [0.2], [0.1]])
    assert choose_thresholds(np.array([[1], [1], [0], [0]]), scores) == pytest.approx([0.45])
    # Answering one or all four: F1 is 2/3 both times.
    assert choose_thresholds(np.array([[1], [0], [0], [1]]), scores) == pytest.approx([0.8])
    assert choose_thresholds(np.array([[0], [1], [0], [0]]), scores) == pytest.approx([0.45])


@pytest.mark.parametrize("everywhere", [0, 1])
def test_where_there_is_nothing_to_part_the_threshold_is_a_half(everywhere: int) -> None:
    assert choose_thresholds(np.full((3, 1), everywhere), np.array([[0.9], [0.8], [0.7]])) == (0.5,)


def test_no_image_and_no_numbers_are_errors() -> None:
    with pytest.raises(DataError, match="validation split has no image"):
        evaluate_multi_label(np.zeros((0, 2)), np.zeros((0, 2)), "ab", (0.5, 0.5), split="validation")
    with pytest.raises(WeightsError, match="--precision fp32"):
        evaluate_multi_label(np.ones((1, 2)), np.array([[np.nan, 0.5]]), "ab", (0.5, 0.5), split="test")


@pytest.mark.parametrize(
    ("targets", "thresholds", "extra"),
    [
        (np.zeros((2, 3)), (0.5, 0.5), {}),
        (np.zeros((2, 2)), (0.5,), {}),
        (np.zeros((2, 2)), (0.5, 0.5), {"unknown": [[]]}),
        (np.zeros((2, 2)), (0.5, 0.5), {"groups": ["one"]}),
    ],
)
def test_arguments_that_do_not_belong_together_give_no_figures(targets, thresholds, extra) -> None:
    with pytest.raises(ValueError, match=r"."):
        evaluate_multi_label(targets, np.full((2, 2), 0.5), "ab", thresholds, split="test", **extra)
