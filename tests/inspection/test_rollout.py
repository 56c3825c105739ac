"""Does the rollout follow the paper, and does its heat lie where the network looked?"""

import numpy as np
import pytest
import torch

from vitral.images import Preprocessing
from vitral.inspection import heatmap, relevance, rollout


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
    by_token = relevance(rollout([attention] * 3), grid=(2, 3), special_tokens=1, pool="token")
    assert by_token.shape == (1, 2, 3)
    assert by_token[0].argmax() == 4
    # (1/2)^3 of every token stays itself, the rest comes from the one patch: 7/8 at the class token's row.
    assert by_token[0, 1, 1] == pytest.approx(7 / 8)
    by_average = relevance(
        rollout([attention[..., 1:, 1:]] * 3), grid=(2, 3), special_tokens=0, pool="average"
    )
    others = np.delete(by_average[0].ravel(), 4)
    np.testing.assert_allclose(others, 1 / 8 / 6)
    assert by_average[0, 1, 1] == pytest.approx(7 / 8 + 1 / 8 / 6)


def test_heat_fills_the_picture_and_ends_at_0_and_1() -> None:
    heat = heatmap(np.array([[0.1, 0.1], [0.1, 0.3]]), (60, 80))
    assert heat.shape == (60, 80)
    assert (heat.min(), heat.max()) == (0, 1)
    assert heat[59, 79] == 1
    assert heat[10, 10] == 0


def test_heat_lies_where_the_crop_was() -> None:
    shape = (40, 100)
    region = Preprocessing((32, 32), "crop").region(*shape)  # the middle 40 x 40 pixels
    heat = heatmap(np.array([[0.0, 1.0], [0.0, 1.0]]), shape, region)
    assert heat[:, :30].max() == 0
    assert heat[:, 70:].max() == 0
    assert heat[:, 62:70].min() == 1


def test_heat_leaves_the_padding_out() -> None:
    shape = (100, 40)
    region = Preprocessing((32, 32), "pad").region(*shape)  # 30 pixels beyond either side
    heat = heatmap(np.array([[1.0, 0.0], [1.0, 0.0]]), shape, region)
    assert heat.shape == shape
    assert heat[:, 0].min() > heat[:, 39].max()


def test_equal_relevance_shows_nothing() -> None:
    assert heatmap(np.full((2, 2), 0.25) + np.array([[0, 1e-17], [0, 0]]), (10, 10)).max() == 0
