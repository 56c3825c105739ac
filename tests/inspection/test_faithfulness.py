"""Deletion and insertion, of a score whose curves are known."""

import numpy as np
import pytest
import torch

from vitral.errors import VitralError
from vitral.inspection import compared, faithfulness

GRID = (2, 3)
WEIGHTS = np.array([[5.0, 1.0, 0.0], [2.0, 0.0, 2.0]])


def bright(images: torch.Tensor) -> np.ndarray:
    """What is left of an image of ones, each patch of 4 x 2 pixels with its own weight: at most 10."""
    patches = images[:, 0].reshape(-1, 2, 4, 3, 2).mean(dim=(2, 4)).numpy()
    return (patches * WEIGHTS).sum(axis=(1, 2))


def test_curves_are_sums_of_the_patches_weights() -> None:
    found = faithfulness(bright, torch.ones(1, 8, 6), WEIGHTS)
    np.testing.assert_allclose(found.fractions, np.arange(7) / 6)
    expected = np.array([0, 5, 7, 9, 10, 10, 10]) / 10
    np.testing.assert_allclose(found.deletion, expected, atol=1e-6)
    np.testing.assert_allclose(found.insertion, expected, atol=1e-6)
    assert found.areas()["deletion"] == pytest.approx((0 / 2 + 0.5 + 0.7 + 0.9 + 1 + 1 + 1 / 2) / 6)


def test_the_worst_order_is_told_from_the_best_and_from_chance() -> None:
    image = torch.ones(1, 8, 6)
    best = faithfulness(bright, image, WEIGHTS).areas()
    worst = faithfulness(bright, image, -WEIGHTS).areas()
    assert worst["deletion"] < best["random_deletion"] < best["deletion"]
    assert worst["insertion"] < best["random_insertion"] < best["insertion"]
    # Of random orders a fraction takes that fraction of the weight on average.
    many = [faithfulness(bright, image, WEIGHTS, seed=seed) for seed in range(300)]
    mean = np.mean([one.random_deletion for one in many], axis=0)
    np.testing.assert_allclose(mean, many[0].fractions, atol=0.03)


def test_random_orders_come_from_the_seed() -> None:
    image = torch.ones(1, 8, 6)
    one, same, other = (faithfulness(bright, image, WEIGHTS, seed=seed).random_deletion for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_few_steps_still_end_with_everything_removed() -> None:
    found = faithfulness(bright, torch.ones(1, 8, 6), WEIGHTS, steps=4)
    np.testing.assert_allclose(found.fractions, np.array([0, 2, 3, 4, 6]) / 6)
    assert (found.deletion[-1], found.insertion[-1]) == (1, 1)


def test_many_images_have_an_interval_and_one_has_none() -> None:
    image = torch.ones(1, 8, 6)
    measured = [faithfulness(bright, image, WEIGHTS, seed=seed) for seed in range(20)]
    found = compared(measured)
    areas = [one.areas() for one in measured]
    differences = np.array([one["insertion"] - one["random_insertion"] for one in areas])
    assert found["images"] == 20
    assert found["insertion"]["difference"] == pytest.approx(differences.mean())
    half = (
        2.093024 * differences.std(ddof=1) / np.sqrt(20)
    )  # Student's t with 19 degrees of freedom, from a table
    low, high = differences.mean() - half, differences.mean() + half
    assert found["insertion"]["interval"] == pytest.approx([low, high], rel=1e-5)
    assert found["insertion"]["area"] == pytest.approx(areas[0]["insertion"])
    assert compared(measured[:1])["deletion"]["interval"] is None


def test_of_nothing_nothing_can_be_lost() -> None:
    with pytest.raises(VitralError, match="no probability here that could be lost"):
        faithfulness(lambda images: np.zeros(len(images)), torch.ones(1, 8, 6), WEIGHTS)
