"""Do the 95 % intervals hold the truth 95 times in a hundred, also with few or unequal groups?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import binomtest, ttest_rel
from sklearn.metrics import average_precision_score

from vitral.errors import DataError
from vitral.runs import paired_difference, paired_precision
from vitral.runs.intervals import effective_images, wilson_interval


@given(some.integers(1, 5000).flatmap(lambda n: some.tuples(some.integers(0, n), some.just(n))))
def test_wilson_agrees_with_scipy(case):
    right, images = case
    theirs = binomtest(right, images).proportion_ci(method="wilson")
    assert wilson_interval(right / images, images) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize("groups", [6, 15, 60])
@pytest.mark.parametrize("likeness", [0.05, 0.4, 0.9])
@pytest.mark.parametrize("accuracy", [0.7, 0.95])
def test_interval_by_groups_holds_the_true_accuracy(groups, likeness, accuracy):
    """Groups of 1 to 7 images, beta-binomial with a known mean: the truth is known, the coverage is counted."""
    random = np.random.default_rng(1)
    a, b = accuracy * (1 / likeness - 1), (1 - accuracy) * (1 / likeness - 1)
    trials, held, held_naively = 400, 0, 0
    for _ in range(trials):
        codes = np.repeat(np.arange(groups), random.integers(1, 8, groups))
        right = random.random(len(codes)) < random.beta(a, b, groups)[codes]
        low, high = wilson_interval(right.mean(), effective_images(right, codes))
        held += low <= accuracy <= high
        low, high = wilson_interval(right.mean(), len(right))
        held_naively += low <= accuracy <= high
    assert held / trials >= 0.92  # 0.95 less three standard errors of 400 trials
    if likeness > 0.3:
        assert held_naively < held


def test_interval_by_groups_has_the_closed_form_width_when_groups_are_alike_to_a_known_degree():
    """Equal groups of m images with intra-class correlation r: n images are worth n / (1 + (m - 1) r)."""
    random = np.random.default_rng(2)
    groups, size, likeness, accuracy = 4000, 6, 0.3, 0.6
    scale = 1 / likeness - 1
    chance = random.beta(accuracy * scale, (1 - accuracy) * scale, groups)
    codes = np.repeat(np.arange(groups), size)
    right = random.random(groups * size) < chance[codes]
    expected = groups * size / (1 + (size - 1) * likeness)
    assert effective_images(right, codes) == pytest.approx(expected, rel=0.05)  # both are random


def test_copies_of_an_image_add_nothing():
    right = np.random.default_rng(3).random(500) < 0.8
    codes = np.repeat(np.arange(500), 4)
    assert effective_images(np.repeat(right, 4), codes) == pytest.approx(500, rel=0.01)


def test_all_right_counts_groups_not_images():
    low, high = wilson_interval(1.0, effective_images(np.ones(300, bool), np.repeat(np.arange(30), 10)))
    theirs = binomtest(30, 30).proportion_ci(method="wilson")
    assert high == 1.0
    assert theirs.low - 0.02 < low <= theirs.low


def test_one_group_says_next_to_nothing():
    low, high = wilson_interval(0.9, effective_images(np.arange(10) > 0, np.zeros(10, int)))
    assert high - low > 0.7


@pytest.mark.parametrize("likeness", [None, 0.6])
@pytest.mark.parametrize(("better", "worse"), [(0.10, 0.02), (0.03, 0.03)])
def test_paired_difference_holds_the_true_difference(better, worse, likeness):
    """Images that only one of two models gets right come with known chances, alone or in groups of five."""
    random = np.random.default_rng(4)
    trials, held, images = 500, 0, 200
    for _ in range(trials):
        outcome = random.choice([1, -1, 0], images, p=[better, worse, 1 - better - worse])
        groups = None
        if likeness is not None:
            codes = np.repeat(np.arange(images // 5), 5)
            of_group = outcome[: images // 5][codes]
            outcome = np.where(random.random(images) < likeness, of_group, outcome)
            groups = codes.astype(str).tolist()
        a_right = (outcome == 1) | ((outcome == 0) & (random.random(images) < 0.7))
        result = paired_difference(a_right, (a_right & (outcome == 0)) | (outcome == -1), groups)
        low, high = result.interval
        held += low <= better - worse <= high
    assert held / trials >= 0.92


def test_paired_difference_by_hand():
    # a alone is right on 12 images of 100, b alone on 4. Agresti and Min: half an image more in each cell.
    a = np.array([True] * 12 + [False] * 4 + [True] * 60 + [False] * 24)
    b = np.array([False] * 12 + [True] * 4 + [True] * 60 + [False] * 24)
    result = paired_difference(a, b)
    centre = 8 / 102
    half = 1.959964 * np.sqrt(12.5 + 4.5 - 8**2 / 102) / 102
    assert (result.images, result.difference) == (100, pytest.approx(0.08))
    assert result.interval == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_runs_that_answer_alike_are_not_proven_equal():
    right = np.arange(30) % 3 > 0
    result = paired_difference(right, right)
    assert result.difference == 0
    assert result.interval[0] == -result.interval[1] < -0.01


def test_no_shared_image_is_an_error():
    with pytest.raises(DataError, match="share no image"):
        paired_difference(np.zeros(0, bool), np.zeros(0, bool))


def test_paired_difference_of_shares_is_that_of_paired_means():
    """Each of 400 images with the share of five trainings that are right: the paired t interval, but for two images."""
    random = np.random.default_rng(11)
    ease = random.beta(2, 1, 400)
    a, b = (
        (random.random((400, 5)) < np.clip(ease + shift, 0, 1)[:, None]).mean(axis=1) for shift in (0.08, 0)
    )
    result = paired_difference(a, b)
    low, high = ttest_rel(a, b).confidence_interval(0.95)
    assert result.difference == pytest.approx((low + high) / 2)
    assert result.interval == pytest.approx((low, high), abs=2e-3)
    assert result.groups is None


def test_paired_difference_says_on_how_many_groups_it_stands():
    right = np.arange(12) % 3 > 0
    assert paired_difference(right, ~right, ["p", "p", "q"] * 4).groups == 2
    assert paired_difference(right, ~right, ["p", "p", *[""] * 10]).groups == 11
    assert paired_difference(right, ~right, [""] * 12).groups is None


def test_paired_precision_holds_the_true_difference():
    """Two models that rank many images; the difference on all is the truth, and intervals come from a few of them."""
    random = np.random.default_rng(5)
    truth = random.random((20_000, 2)) < 0.3
    first, second = (random.normal(0, 1, truth.shape) + strength * truth for strength in (2.0, 1.5))
    expected = np.mean(
        [
            average_precision_score(truth[:, index], first[:, index])
            - average_precision_score(truth[:, index], second[:, index])
            for index in (0, 1)
        ]
    )
    trials, held = 60, 0
    for _ in range(trials):
        some = random.choice(len(truth), 150, replace=False)
        low, high = paired_precision(truth[some], first[some], second[some]).interval
        held += low <= expected <= high
    assert held / trials >= 0.88
    whole = paired_precision(truth[:3000], first[:3000], first[:3000])
    assert whole.difference == 0
    assert whole.interval[0] < 0 < whole.interval[1]
