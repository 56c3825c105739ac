"""Do the probes give what scikit-learn, a direct solve and leaving out one by one give, to the last digits?"""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from vitral.transfer import calibrated, least_squares, logistic, nearest_neighbours, targets_of
from vitral.transfer.probes import VOTE_TEMPERATURE, LinearProbe, votes

STRENGTHS = [0.1, 1.0, 10.0, 100.0, 1000.0]
SHAPES = {"more images than numbers": (120, 20), "fewer": (60, 150)}


def clouds(images: int, dim: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds of points far from the origin, unequally many a class."""
    generator = np.random.default_rng(seed)
    shares = 1 / np.arange(1, classes + 1)
    drawn = generator.choice(classes, images - classes, p=shares / shares.sum())
    labels = np.concatenate([np.arange(classes), drawn])
    middles = generator.normal(0, 0.8, (classes, dim))
    features = middles[labels] + generator.normal(0, 1, (images, dim)) * generator.uniform(0.2, 3, dim) + 5
    labels[classes::6] = generator.integers(
        0, classes, len(labels[classes::6])
    )  # so that nothing is learned by heart
    return features.astype(np.float32), labels


def solved(features: np.ndarray, targets: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Ridge with a free intercept by its normal equations, the intercept a column of ones."""
    x = np.column_stack([np.asarray(features, np.float64), np.ones(len(features))])
    penalty = strength * np.eye(x.shape[1])
    penalty[-1, -1] = 0
    solution = np.linalg.solve(x.T @ x + penalty, x.T @ targets)
    return solution[:-1].T, solution[-1]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("strength", [1.0, 300.0])
def test_least_squares_agrees_with_a_direct_solve(shape: tuple[int, int], strength: float) -> None:
    features, labels = clouds(*shape)
    probe = least_squares(features, targets_of(labels, 3), [strength])
    weight, bias = solved(features, targets_of(labels, 3), strength)
    np.testing.assert_allclose(probe.weight, weight, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(probe.bias, bias, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(probe.scores(features), features @ weight.T + bias, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_least_squares_chooses_and_answers_as_scikit_learn(shape: tuple[int, int], classes: int) -> None:
    features, labels = clouds(*shape, classes=classes, seed=classes)
    theirs = RidgeClassifierCV(alphas=STRENGTHS).fit(features.astype(np.float64), labels)
    ours = least_squares(features, targets_of(labels, classes), STRENGTHS)
    assert ours.strength == theirs.alpha_
    assert STRENGTHS[0] < ours.strength
    # Of two classes scikit-learn keeps the second one's row.
    rows = slice(1, 2) if classes == 2 else slice(None)
    np.testing.assert_allclose(ours.weight[rows], np.atleast_2d(theirs.coef_), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.bias[rows], np.atleast_1d(theirs.intercept_), rtol=1e-6, atol=1e-9)
    other, _ = clouds(40, shape[1], classes, seed=9)
    assert ours.scores(other).argmax(axis=1).tolist() == theirs.predict(other.astype(np.float64)).tolist()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("grouped", [False, True])
def test_left_out_scores_are_those_of_probes_that_left_out(shape: tuple[int, int], grouped: bool) -> None:
    features, labels = clouds(*shape)
    targets = targets_of(labels, 3)
    groups = np.random.default_rng(1).integers(0, 25, len(labels)) if grouped else None
    probe = least_squares(features, targets, [20.0], groups)
    expected = np.empty_like(targets)
    for group in np.unique(groups) if groups is not None else range(len(labels)):
        out = groups == group if groups is not None else np.arange(len(labels)) == group
        weight, bias = solved(features[~out], targets[~out], 20.0)
        expected[out] = features[out] @ weight.T + bias
    np.testing.assert_allclose(probe.held_out, expected, rtol=1e-6, atol=1e-6)


def test_groups_change_what_is_chosen() -> None:
    """Copies of an image must not confirm one another, or the weakest strength looks best."""
    features, labels = clouds(60, 200)
    doubled, twice = np.repeat(features, 2, axis=0), np.repeat(labels, 2)
    groups = np.repeat(np.arange(60), 2)
    strengths = [10.0**exponent for exponent in range(-4, 6)]
    fooled = least_squares(doubled, targets_of(twice, 3), strengths)
    aware = least_squares(doubled, targets_of(twice, 3), strengths, groups)
    plain = least_squares(features, targets_of(labels, 3), strengths)
    assert fooled.strength == strengths[0] < aware.strength
    # Every image twice at twice the strength is every image once.
    twice_as_strong = least_squares(doubled, targets_of(twice, 3), [2 * one for one in strengths], groups)
    assert twice_as_strong.strength == pytest.approx(2 * plain.strength)
    np.testing.assert_allclose(twice_as_strong.held_out[::2], plain.held_out, rtol=1e-6, atol=1e-6)


def test_strengths_follow_the_features_unit() -> None:
    features, labels = clouds(60, 100)
    one = least_squares(features, targets_of(labels, 3))
    thousand = least_squares(1000 * features.astype(np.float64), targets_of(labels, 3))
    assert thousand.strength == pytest.approx(1e6 * one.strength)
    np.testing.assert_allclose(1000 * thousand.weight, one.weight, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_logistic_agrees_with_a_general_minimiser(shape: tuple[int, int], classes: int) -> None:
    features, labels = clouds(*shape, classes=classes)
    x = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    strength = 30.0
    probe = logistic(features, labels, classes, [strength])

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: classes * x.shape[1]].reshape(classes, -1), flat[classes * x.shape[1] :]
        logs = log_softmax(x @ weight.T + bias, axis=1)
        wrong = np.exp(logs) - np.eye(classes)[labels]
        # scikit-learn penalises the difference of two classes' rows: |w|^2, here twice |w/2|^2 of each.
        factor = 2.0 if classes == 2 else 1.0
        value = -logs[np.arange(len(labels)), labels].sum() + factor * strength / 2 * (weight**2).sum()
        return value, np.concatenate([(wrong.T @ x + factor * strength * weight).ravel(), wrong.sum(axis=0)])

    start = np.zeros(classes * (x.shape[1] + 1))
    best = minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 5000}
    )
    weight = best.x[: classes * x.shape[1]].reshape(classes, -1)
    scores = x @ weight.T + best.x[classes * x.shape[1] :]
    np.testing.assert_allclose(
        log_softmax(probe.scores(features), axis=1), log_softmax(scores, axis=1), atol=1e-2
    )


def test_logistic_is_scikit_learns_and_chooses_by_log_loss() -> None:
    features, labels = clouds(150, 12)
    x = features.astype(np.float64)
    strengths = [1e-3, 1.0, 30.0, 3000.0]
    probe = logistic(features, labels, 3, strengths, seed=4)
    theirs = LogisticRegression(C=1 / probe.strength, max_iter=5000, tol=1e-8).fit(x - x.mean(axis=0), labels)
    np.testing.assert_allclose(probe.weight, theirs.coef_, atol=5e-3)
    parts = StratifiedKFold(5, shuffle=True, random_state=4)
    centred = x - x.mean(axis=0)
    losses = {
        strength: -cross_val_score(
            LogisticRegression(C=1 / strength, max_iter=5000),
            centred,
            labels,
            cv=parts,
            scoring="neg_log_loss",
        ).mean()
        for strength in strengths
    }
    assert probe.strength == min(losses, key=lambda one: losses[one])
    assert probe.strength not in (strengths[0], strengths[-1])
    assert probe.held_out is not None
    # The left-out answers are worse than the learned ones, and better than knowing the classes' shares alone.
    learned = log_loss(labels, np.exp(log_softmax(probe.scores(features), axis=1)))
    left_out = log_loss(labels, np.exp(log_softmax(probe.held_out, axis=1)))
    shares = np.bincount(labels) / len(labels)
    assert learned < left_out < -(shares * np.log(shares)).sum()


def test_logistic_keeps_groups_in_one_fold() -> None:
    features, labels = clouds(30, 200)
    strengths = [1e-3, 1.0, 1e3]
    doubled, twice = np.repeat(features, 2, axis=0), np.repeat(labels, 2)
    fooled = logistic(doubled, twice, 3, strengths)
    aware = logistic(doubled, twice, 3, strengths, np.repeat(np.arange(30), 2))
    assert fooled.strength == 1e-3 < aware.strength


def test_one_image_a_class_is_enough_for_an_answer() -> None:
    features, labels = np.eye(3, dtype=np.float32), np.arange(3)
    for probe in (least_squares(features, targets_of(labels, 3)), logistic(features, labels, 3)):
        settled = calibrated(probe, labels)
        assert settled.scores(features).argmax(axis=1).tolist() == [0, 1, 2]
    assert logistic(features, labels, 3).held_out is None
    assert nearest_neighbours(features, labels, 3).neighbours == 1


@pytest.mark.parametrize("classes", [2, 4])
def test_neighbours_agree_with_scikit_learn(classes: int) -> None:
    features, labels = clouds(150, 10, classes)
    other, _ = clouds(60, 10, classes, seed=5)
    theirs = {
        k: KNeighborsClassifier(
            k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / VOTE_TEMPERATURE)
        )
        for k in (1, 3, 9, 20)
    }
    ours = nearest_neighbours(features, labels, classes, tuple(theirs))
    cosines = other / np.linalg.norm(other, axis=1, keepdims=True) @ ours.bank.T
    for k, model in theirs.items():
        expected = model.fit(features, labels).predict_proba(other)
        np.testing.assert_allclose(votes(cosines, ours.targets, k), expected, atol=1e-4)
    # Leaving out one by one, by their means.
    right = {}
    for k, model in theirs.items():
        answers = []
        for index in range(len(labels)):
            rest = np.arange(len(labels)) != index
            answers.append(model.fit(features[rest], labels[rest]).predict(features[index : index + 1])[0])
        right[k] = float((np.array(answers) == labels).mean())
    assert ours.neighbours == max(right, key=lambda k: right[k])
    assert (ours.held_out.argmax(axis=1) == labels).mean() == pytest.approx(right[ours.neighbours], abs=0.011)


def test_neighbours_of_ones_own_group_do_not_vote() -> None:
    features, labels = clouds(60, 30)
    doubled, twice, groups = np.repeat(features, 2, axis=0), np.repeat(labels, 2), np.repeat(np.arange(60), 2)
    assert (nearest_neighbours(doubled, twice, 3).held_out.argmax(axis=1) == twice).mean() == 1
    aware = nearest_neighbours(doubled, twice, 3, groups=groups)
    alone = nearest_neighbours(features, labels, 3)
    assert (aware.held_out.argmax(axis=1) == twice).mean() < 1
    assert aware.held_out[::2].argmax(axis=1).tolist() == aware.held_out[1::2].argmax(axis=1).tolist()
    assert (
        abs(
            (alone.held_out.argmax(axis=1) == labels).mean() - (aware.held_out.argmax(axis=1) == twice).mean()
        )
        < 0.2
    )


def test_calibration_changes_no_answer_and_makes_probabilities_true() -> None:
    generator = np.random.default_rng(0)
    # Labels drawn from softmax(scores): the scale that makes them most likely is 1, whatever they are multiplied by.
    scores = generator.normal(0, 2, (4000, 3))
    chances = np.exp(log_softmax(scores, axis=1))
    labels = (chances.cumsum(axis=1) < generator.random((4000, 1))).sum(axis=1)
    wrong_scale = LinearProbe(np.eye(3) * 0.05, np.array([0.05, 0.0, 0.0]), 1.0, scores * 0.05)
    settled = calibrated(wrong_scale, labels)
    assert settled.held_out is not None
    np.testing.assert_allclose(settled.held_out, scores, rtol=0.08)
    np.testing.assert_allclose(settled.weight / settled.bias[0], np.eye(3), atol=1e-12)
    others = generator.normal(0, 1, (50, 3))
    assert (
        settled.scores(others).argmax(axis=1).tolist() == wrong_scale.scores(others).argmax(axis=1).tolist()
    )


def test_faultless_answers_do_not_make_a_probe_infinitely_sure() -> None:
    labels = np.arange(60) % 3
    probe = LinearProbe(np.eye(3), np.zeros(3), 1.0, targets_of(labels, 3))
    settled = calibrated(probe, labels)
    surest = np.exp(log_softmax(settled.held_out, axis=1)).max()
    assert 0.95 < surest < 0.999


def test_no_warning_where_features_are_all_the_same() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features, labels = np.ones((6, 4), np.float32), np.arange(6) % 2
        for probe in (least_squares(features, targets_of(labels, 2)), logistic(features, labels, 2)):
            assert np.isfinite(calibrated(probe, labels).weight).all()
