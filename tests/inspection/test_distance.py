"""Is the attention distance what somebody would measure on the image with a ruler?"""

import math

import numpy as np
import pytest
import torch

from vitral.inspection import attention_distance, patch_distances, uniform_distance


def looking(targets: list[int], tokens: int, special: int = 0) -> np.ndarray:
    """One image, one head: patch i gives all its weight to patch targets[i], special tokens to everything."""
    attention = np.zeros((1, 1, tokens, tokens))
    attention[0, 0, :special] = 1 / tokens
    for query, key in enumerate(targets):
        attention[0, 0, special + query, special + key] = 1
    return attention


def test_patches_that_look_at_themselves_look_nowhere() -> None:
    assert attention_distance(looking(list(range(6)), 6), (2, 3), (16, 16)) == [[0]]


def test_patches_that_look_to_the_right_look_one_width_far() -> None:
    """Patches 8 high and 14 wide, in 2 rows of 4; the last of a row looks at its first, three widths away."""
    attention = looking([1, 2, 3, 0, 5, 6, 7, 4], 8)
    assert attention_distance(attention, (2, 4), (8, 14))[0, 0] == pytest.approx((14 * 3 + 3 * 14) / 4)


def test_patches_that_look_down_look_one_height_far() -> None:
    attention = looking([3, 4, 5, 0, 1, 2], 6)
    assert attention_distance(attention, (2, 3), (8, 14))[0, 0] == pytest.approx(8)


def test_a_diagonal_is_measured_by_pythagoras() -> None:
    attention = looking(
        [3, 3, 3, 0], 4
    )  # 3-4-5 triangles: from the upper left 50, upper right 30, lower left 40
    assert attention_distance(attention, (2, 2), (30, 40))[0, 0] == pytest.approx((50 + 30 + 40 + 50) / 4)


def test_looking_at_all_of_a_row_alike_reaches_a_third_of_it() -> None:
    """The mean of |i - j| over 1..n twice is (n^2 - 1) / 3n."""
    for patches in (1, 2, 7, 24):
        expected = 10 * (patches**2 - 1) / (3 * patches)
        for grid in ((1, patches), (patches, 1)):
            uniform = np.full((2, 3, patches, patches), 1 / patches)
            np.testing.assert_allclose(attention_distance(uniform, grid, (10, 10)), expected, rtol=1e-6)
            assert uniform_distance(grid, (10, 10)) == pytest.approx(expected)


def test_looking_at_all_of_an_image_alike_is_the_mean_over_all_pairs() -> None:
    rows, columns, height, width = 3, 5, 14, 8
    total = 0.0
    for row in range(rows):
        for column in range(columns):
            for other_row in range(rows):
                for other_column in range(columns):
                    total += math.dist(
                        (row * height, column * width), (other_row * height, other_column * width)
                    )
    expected = total / (rows * columns) ** 2
    uniform = torch.full((1, 2, 15, 15), 1 / 15)
    np.testing.assert_allclose(
        attention_distance(uniform, (rows, columns), (height, width)), expected, rtol=1e-6
    )
    assert uniform_distance((rows, columns), (height, width)) == pytest.approx(expected)


def test_a_fine_grid_comes_near_the_mean_distance_in_a_square() -> None:
    """Of two random points of a unit square: (2 + sqrt 2 + 5 ln(1 + sqrt 2)) / 15."""
    expected = (2 + math.sqrt(2) + 5 * math.log(1 + math.sqrt(2))) / 15
    assert uniform_distance((40, 40), (1, 1)) / 40 == pytest.approx(expected, rel=1e-3)


def test_special_tokens_have_no_place() -> None:
    """Whatever class token and register do, and whatever is given to them, patches look one width far."""
    attention = looking([1, 0, 3, 2], 6, special=2)
    attention[0, 0, 2:] *= np.array([[0.1], [0.5], [0.9], [1.0]])
    attention[0, 0, 2:, 0] = [0.9, 0.5, 0.1, 0.0]
    assert attention_distance(attention, (2, 2), (16, 16))[0, 0] == pytest.approx(16)


def test_queries_that_look_at_no_patch_are_passed_over() -> None:
    attention = looking([1, 1], 3, special=1)
    attention[0, 0, 2] = [1, 0, 0]
    assert attention_distance(attention, (1, 2), (16, 16))[0, 0] == 16
    attention[0, 0, 1] = [1, 0, 0]
    assert np.isnan(attention_distance(attention, (1, 2), (16, 16))[0, 0])


def test_images_and_heads_are_told_apart() -> None:
    attention = np.zeros((2, 2, 2, 2))
    attention[0, 0] = attention[1, 1] = [[0, 1], [1, 0]]
    attention[0, 1] = attention[1, 0] = np.eye(2)
    np.testing.assert_array_equal(attention_distance(attention, (1, 2), (7, 7)), [[7, 0], [0, 7]])
    half = torch.from_numpy(attention).to(torch.bfloat16).requires_grad_()
    np.testing.assert_array_equal(attention_distance(half, (1, 2), (7, 7)), [[7, 0], [0, 7]])


def test_distances_of_patches_in_pixels() -> None:
    expected = [[0, 4, 3, 5], [4, 0, 5, 3], [3, 5, 0, 4], [5, 3, 4, 0]]
    np.testing.assert_array_equal(patch_distances((2, 2), (3, 4)), expected)
