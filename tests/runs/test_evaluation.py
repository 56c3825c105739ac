"""Are the figures of evaluation.json what other people's code and pencil and paper say they are?"""

import json
from math import log, nan

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from vitral.errors import DataError, WeightsError
from vitral.runs import evaluate_predictions

KEYS_OF_THE_CONTRACT = {
    "split", "images", "classes", "accuracy", "accuracy_interval", "balanced_accuracy", "macro_f1", "auroc",
    "majority_accuracy", "accuracy_top5", "loss", "calibration_error", "per_class", "confusion_matrix",
    "device", "backend", "precision",
}  # fmt: skip


def answers(images, classes, seed=0, skill=1.0):
    """Labels and probabilities of an imaginary network that is right more often than not."""
    random = np.random.default_rng(seed)
    labels = random.choice(classes, images, p=random.dirichlet(np.full(classes, 5.0)))
    logits = random.normal(size=(images, classes))
    logits[np.arange(images), labels] += skill
    exponentials = np.exp(logits)
    return labels, exponentials / exponentials.sum(axis=1, keepdims=True)


def as_json(evaluation):
    content = evaluation.to_dict(device="cpu", backend="torch", precision="fp32")
    return json.loads(json.dumps(content, allow_nan=False))


@pytest.mark.parametrize(("images", "classes"), [(40, 2), (333, 7), (900, 30)])
def test_every_figure_is_what_scikit_learn_says(images, classes):
    labels, probabilities = answers(images, classes)
    names = [f"class {index}" for index in range(classes)]
    answered = probabilities.astype(np.float32)  # as networks give them
    result = as_json(evaluate_predictions(labels, answered, names, split="test"))
    predicted = probabilities.argmax(axis=1)
    area = (
        metrics.roc_auc_score(labels, probabilities[:, 1])
        if classes == 2
        else metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
    )
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "macro_f1": metrics.f1_score(labels, predicted, average="macro"),
        "auroc": area,
        "loss": metrics.log_loss(labels, probabilities),
        "accuracy_top5": metrics.top_k_accuracy_score(labels, probabilities, k=5) if classes > 5 else None,
        "majority_accuracy": np.mean(labels == np.bincount(labels).argmax()),
    }
    for name, value in expected.items():
        assert result[name] == (value if value is None else pytest.approx(value, abs=1e-6)), name
    assert result["confusion_matrix"] == metrics.confusion_matrix(labels, predicted).tolist()
    report = metrics.classification_report(
        labels, predicted, target_names=names, output_dict=True, zero_division=0
    )
    for name, figures in result["per_class"].items():
        theirs = report[name]
        assert figures["images"] == theirs["support"]
        assert [figures[key] for key in ("precision", "recall", "f1")] == pytest.approx(
            [theirs["precision"], theirs["recall"], theirs["f1-score"]]
        )
    assert result.keys() >= KEYS_OF_THE_CONTRACT
    assert (result["split"], result["images"], result["classes"]) == ("test", images, names)
    assert (result["device"], result["backend"], result["precision"]) == ("cpu", "torch", "fp32")


def test_intervals_without_groups_are_wilsons():
    labels, probabilities = answers(211, 4)
    evaluation = evaluate_predictions(labels, probabilities, "abcd", split="test")
    right = probabilities.argmax(axis=1) == labels
    theirs = binomtest(int(right.sum()), 211).proportion_ci(method="wilson")
    assert evaluation.accuracy_interval == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    of_class = right[labels == 2]
    theirs = binomtest(int(of_class.sum()), len(of_class)).proportion_ci(method="wilson")
    assert evaluation.per_class["c"].recall_interval == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_a_small_case_by_hand():
    # Truth a a a b, answers a a b b.
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5 - 1e-9, 0.5 + 1e-9]])
    result = as_json(evaluate_predictions(np.array([0, 0, 0, 1]), probabilities, ("a", "b"), split="test"))
    assert result["accuracy"] == 0.75
    assert result["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["majority_accuracy"] == 0.75
    assert result["confusion_matrix"] == [[2, 1], [0, 1]]
    assert result["loss"] == pytest.approx(-(log(0.9) + log(0.6) + log(0.2) + log(0.5)) / 4)
    assert result["auroc"] == pytest.approx(2 / 3)  # of three pairs one is the wrong way round
    # Each answer has a bin of its own: |0.9-1|, |0.6-1|, |0.8-0|, |0.5-1|, each a quarter.
    assert result["calibration_error"] == pytest.approx((0.1 + 0.4 + 0.8 + 0.5) / 4)
    assert result["accuracy_top5"] is None


def test_calibration_of_answers_in_one_bin_compares_means():
    # Ten answers of 0.95, seven right: 0.25 too sure. Ten of 0.55, half right: 0.05 too sure.
    probabilities = np.array([[0.95, 0.05]] * 10 + [[0.55, 0.45]] * 10)
    labels = np.array([0] * 7 + [1] * 3 + [0] * 5 + [1] * 5)
    evaluation = evaluate_predictions(labels, probabilities, ("a", "b"), split="validation")
    assert evaluation.calibration_error == pytest.approx((0.25 + 0.05) / 2)


def test_calibration_agrees_with_scikit_learns_curve():
    labels, probabilities = answers(2000, 6, skill=0.5)
    evaluation = evaluate_predictions(labels, probabilities, "abcdef", split="test")
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    share_right, mean_confidence = calibration_curve(right, confidence, n_bins=15, strategy="uniform")
    images, _ = np.histogram(confidence, bins=15, range=(0, 1))
    theirs = np.average(abs(share_right - mean_confidence), weights=images[images > 0])
    assert evaluation.calibration_error == pytest.approx(theirs)


def test_unknown_classes_count_as_wrong_and_are_named():
    labels, probabilities = answers(300, 6)
    names = np.array(["a", "b", "c", "d", "e", "f"])
    # The model learned a to d; the data has e and f besides.
    inner = probabilities[:, :4] / probabilities[:, :4].sum(axis=1, keepdims=True)
    known = np.where(labels < 4, labels, -1)
    unknown = names[labels[labels >= 4]].tolist()
    evaluation = evaluate_predictions(known, inner, names[:4].tolist(), split="test", unknown=unknown)
    # scikit-learn, fed with names, knows nothing of models: these classes are simply never right.
    true, predicted = names[labels], names[inner.argmax(axis=1)]
    assert evaluation.images == 300
    assert evaluation.accuracy == pytest.approx(metrics.accuracy_score(true, predicted))
    assert evaluation.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(true, predicted))
    assert evaluation.macro_f1 == pytest.approx(metrics.f1_score(true, predicted, average="macro"))
    theirs = metrics.precision_score(true, predicted, labels=["b"], average=None)[0]
    assert evaluation.per_class["b"].precision == pytest.approx(theirs)
    assert evaluation.unknown_classes == {"e": int((true == "e").sum()), "f": int((true == "f").sum())}
    assert sum(map(sum, evaluation.confusion_matrix)) == 300 - len(unknown)
    inside = labels < 4
    assert evaluation.loss == pytest.approx(metrics.log_loss(labels[inside], inner[inside]))
    areas = [metrics.roc_auc_score(labels == index, inner[:, index]) for index in range(4)]
    assert evaluation.auroc == pytest.approx(np.mean(areas))


def test_a_split_of_unknown_classes_only_is_all_wrong():
    result = as_json(
        evaluate_predictions(
            np.array([-1, -1]), np.array([[0.5, 0.5], [1, 0]]), ["a", "b"], split="test", unknown=["x", "y"]
        )
    )
    assert (result["accuracy"], result["majority_accuracy"], result["balanced_accuracy"]) == (0, 0, 0)
    assert (result["loss"], result["auroc"]) == (None, None)
    assert result["missing_classes"] == ["a", "b"]
    assert result["unknown_classes"] == {"x": 1, "y": 1}


def test_classes_without_an_image_are_named_and_spoil_no_mean():
    # No c and no d in the split; one image of b is called c.
    probabilities = np.array([[0.8, 0.1, 0.1, 0], [0.2, 0.7, 0.1, 0], [0.1, 0.2, 0.7, 0]])
    result = as_json(evaluate_predictions(np.array([0, 1, 1]), probabilities, list("abcd"), split="test"))
    assert result["missing_classes"] == ["c", "d"]
    assert result["balanced_accuracy"] == 0.75
    assert result["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)  # c was answered, and wrongly
    assert result["auroc"] == 1.0  # of a and b, which can be measured
    nothing = {"recall": None, "recall_interval": None, "images": 0}
    assert result["per_class"]["c"] == {"precision": 0, "f1": 0} | nothing
    assert result["per_class"]["d"] == {"precision": None, "f1": None} | nothing


def test_one_class_in_the_split_leaves_nothing_to_rank():
    evaluation = evaluate_predictions(np.array([0, 0]), np.array([[0.9, 0.1]] * 2), ["a", "b"], split="test")
    assert evaluation.auroc is None
    assert evaluation.accuracy_interval[0] < 0.5 < evaluation.accuracy_interval[1] == 1.0


def test_a_probability_of_zero_for_the_truth_stays_a_number():
    evaluation = evaluate_predictions(np.array([1]), np.array([[1.0, 0.0]]), ["a", "b"], split="test")
    assert 50 < evaluation.loss < 1000
    assert evaluation.accuracy == 0


def test_equal_probabilities_answer_alike_in_top1_and_top5():
    evaluation = evaluate_predictions(np.arange(8), np.full((8, 8), 1 / 8), list("abcdefgh"), split="test")
    assert evaluation.accuracy == 1 / 8
    assert evaluation.accuracy_top5 == 5 / 8


def test_ten_photographs_of_each_patient_are_worth_less_than_as_many_patients():
    labels = np.repeat([0, 1] * 20, 10)
    right = np.repeat([True] * 30 + [False] * 10, 10)
    probabilities = np.eye(2)[np.where(right, labels, 1 - labels)]
    patients = [f"patient {number}" for number in np.repeat(np.arange(40), 10)]
    grouped = evaluate_predictions(labels, probabilities, ["a", "b"], split="test", groups=patients)
    alone = evaluate_predictions(labels, probabilities, ["a", "b"], split="test")
    one_each = binomtest(30, 40).proportion_ci(method="wilson")
    width = grouped.accuracy_interval[1] - grouped.accuracy_interval[0]
    assert grouped.accuracy == alone.accuracy == 0.75
    assert one_each.high - one_each.low < width < 1.1 * (one_each.high - one_each.low)
    assert grouped.groups == 40
    interval = grouped.per_class["a"].recall_interval
    assert interval[1] - interval[0] > width  # only twenty patients have class a


def test_groups_of_one_image_and_unnamed_groups_are_no_groups():
    labels, probabilities = answers(50, 3)
    plain = evaluate_predictions(labels, probabilities, "abc", split="test")
    for groups in ([str(number) for number in range(50)], [""] * 50):
        assert evaluate_predictions(labels, probabilities, "abc", split="test", groups=groups) == plain
    assert plain.groups is None


def test_no_image_is_an_error_that_names_the_split():
    with pytest.raises(DataError, match="validation split has no image"):
        evaluate_predictions(np.zeros(0, int), np.zeros((0, 2)), ["a", "b"], split="validation")


def test_answers_that_are_no_numbers_are_an_error():
    with pytest.raises(WeightsError, match="--precision fp32"):
        evaluate_predictions(np.array([0]), np.array([[nan, 0.5]]), ["a", "b"], split="test")


@pytest.mark.parametrize(
    ("labels", "names", "extra"),
    [
        ([0, 2], ["a", "b"], {}),
        ([0, -1], ["a", "b"], {}),
        ([0, -1], ["a", "b"], {"unknown": ["a"]}),
        ([0, 1], ["a", "a"], {}),
        ([0, 1], ["a", "b", "c"], {}),
        ([0, 1], ["a", "b"], {"groups": ["one"]}),
    ],
)
def test_arguments_that_do_not_belong_together_give_no_figures(labels, names, extra):
    with pytest.raises(ValueError, match=r"."):
        evaluate_predictions(np.array(labels), np.full((2, 2), 0.5), names, split="test", **extra)
