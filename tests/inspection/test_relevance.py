"""Attention followed back through the layers, against sums over all paths and numbers made by hand."""

import numpy as np
import pytest
import torch

from vitral.errors import UsageError
from vitral.inspection import gradient_step, rollout, rollout_step, walk_back


def random_attention(layers: int, tokens: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, tokens, tokens, generator=generator).softmax(dim=-1) for _ in range(layers)]


def test_rollout_is_the_sum_over_all_paths_through_the_layers() -> None:
    """Independently: what reaches an output token is the sum, over all paths, of the products of their steps."""
    attentions = random_attention(layers=3, tokens=4)
    steps = [(a[1].mean(dim=0).double() + torch.eye(4)) / 2 for a in attentions]  # softmax rows sum to 1
    expected = np.zeros((4, 4))
    for output in range(4):
        for second in range(4):
            for first in range(4):
                for start in range(4):
                    path = steps[2][output, second] * steps[1][second, first] * steps[0][first, start]
                    expected[output, start] += float(path)
    np.testing.assert_allclose(rollout(attentions)[1], expected, rtol=1e-6)


def test_rollout_takes_half_precision_and_gradients() -> None:
    attentions = [a.to(torch.bfloat16).requires_grad_() for a in random_attention(2, 5)]
    np.testing.assert_allclose(rollout(attentions).sum(axis=-1), 1, rtol=1e-12)


def test_a_network_that_only_looks_at_one_patch_is_caught_doing_so() -> None:
    tokens, seen = 1 + 6, 1 + 4  # a class token, 2 x 3 patches, and of these the fifth
    attention = np.zeros((1, 2, tokens, tokens))
    attention[..., seen] = 1
    reached = rollout([attention] * 3)
    # (1/2)^3 of every token stays itself, the rest comes from the one patch: 7/8 at the class token's row.
    np.testing.assert_allclose(reached[0, 0], [1 / 8, 0, 0, 0, 0, 7 / 8, 0])
    np.testing.assert_allclose(reached[0, 2], [0, 0, 1 / 8, 0, 0, 7 / 8, 0])
    # An average of the patches, without a class token, takes a sixth of each of their rows.
    steps = [rollout_step(attention[..., 1:, 1:])] * 3
    by_average = walk_back(steps, np.full((1, 1, 6), 1 / 6))[0]
    np.testing.assert_allclose(np.delete(by_average, 4), 1 / 8 / 6)
    assert by_average[4] == pytest.approx(7 / 8 + 1 / 8 / 6)


def test_uniform_attention_has_the_closed_form() -> None:
    """((1 + J/n) / 2)^L = 2^-L (1 + (2^L - 1) J/n), J all ones: of each token 2^-L stays, the rest is spread evenly."""
    layers, tokens = 5, 7
    reached = rollout([np.full((1, 3, tokens, tokens), 1 / tokens)] * layers)
    expected = 2**-layers * (np.eye(tokens) + (2**layers - 1) / tokens)
    np.testing.assert_allclose(reached[0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("fusion", "heads"),
    [("mean", [[0.2, 0.8], [0.5, 0.5]]), ("max", [[0.4, 1], [0.9, 0.9]]), ("min", [[0, 0.6], [0.1, 0.1]])],
)
def test_heads_are_fused_as_asked(fusion: str, heads: list[list[float]]) -> None:
    attention = np.array([[[[0.4, 0.6], [0.9, 0.1]], [[0.0, 1.0], [0.1, 0.9]]]])
    mixed = np.array(heads) + np.eye(2)
    np.testing.assert_allclose(rollout_step(attention, fusion)[0], mixed / mixed.sum(axis=1, keepdims=True))


def test_the_smallest_weights_can_be_left_out() -> None:
    attention = np.array([[[[0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [0.05, 0.9, 0.05]]]])
    kept = np.array([[0, 0, 0.7], [0.3, 0.4, 0.3], [0, 0.9, 0]])  # 4 of 9 are less than 0.3
    expected = kept + np.eye(3)
    found = rollout_step(attention, discard=4 / 9)[0]
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(
        rollout_step(attention, discard=0.1), rollout_step(attention)
    )  # less than one of 9
    assert attention[0, 0, 0, 0] == 0.1  # what is asked about stays as it is


@pytest.mark.parametrize(("fusion", "discard"), [("median", 0.0), ("mean", 1.0), ("mean", -0.1)])
def test_what_makes_no_rollout_is_refused(fusion: str, discard: float) -> None:
    with pytest.raises(UsageError):
        rollout(random_attention(1, 3), fusion, discard)


def test_only_what_speaks_for_the_class_counts() -> None:
    attention = np.array([[[[0.5, 0.5], [0.2, 0.8]], [[1.0, 0.0], [0.5, 0.5]]]])
    gradient = np.array([[[[2.0, -9.0], [-1.0, 1.0]], [[1.0, 5.0], [4.0, -3.0]]]])
    np.testing.assert_allclose(gradient_step(attention, gradient)[0], [[1 + (1 + 1) / 2, 0], [1, 1 + 0.4]])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_walking_back_is_a_row_of_the_products(layers: int) -> None:
    """What the head sees of each of the last layers, times all layers below it."""
    generator = np.random.default_rng(0)
    steps, seen = generator.random((4, 2, 5, 5)), generator.random((2, layers, 5))
    expected = np.zeros((2, 5))
    for image in range(2):
        for place in range(layers):
            below = np.eye(5)
            for step in steps[: 4 - layers + place + 1]:
                below = step[image] @ below
            expected[image] += seen[image, place] @ below
    np.testing.assert_allclose(walk_back(steps[::-1], seen), expected)
