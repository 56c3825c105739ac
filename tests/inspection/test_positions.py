"""Is the similarity of positions that of the tables, and do its numbers say what the paper's figure shows?"""

import numpy as np
import pytest
import torch

from vitral.errors import UsageError
from vitral.inspection import position_pattern, position_similarity
from vitral.model import VisionTransformer


def test_fixed_sines_and_cosines_are_as_similar_as_the_cosines_of_their_distance(small) -> None:
    """sin a sin b + cos a cos b = cos (a - b): only how far two patches are apart counts, along each axis alone."""
    grid, dim = (3, 5), 32
    model = VisionTransformer(small(image_size=(24, 40), dim=dim, position_embedding="sincos_2d"))
    frequencies = 10_000.0 ** -(np.arange(dim // 4) / (dim // 4 - 1))
    found = position_similarity(model)
    assert found.shape == (*grid, *grid)
    for row, column, other_row, other_column in np.ndindex(*grid, *grid):
        down, across = np.cos((row - other_row) * frequencies), np.cos((column - other_column) * frequencies)
        expected = (down.sum() + across.sum()) / (dim // 2)
        assert found[row, column, other_row, other_column] == pytest.approx(expected, abs=1e-6)


def test_rows_and_columns_learned_apart_share_a_half(small) -> None:
    """Of tables of rows and columns at right angles, a patch shares half with its row, half with its column."""
    model = VisionTransformer(small(image_size=(24, 32), dim=8, position_embedding="learned_2d"))
    position = model.embedding.position
    assert position is not None
    with torch.no_grad():
        position.row_table.copy_(torch.eye(3, 4))
        position.column_table.copy_(torch.eye(4))
    similarity = position_similarity(model)
    expected = np.full((3, 4), 0.0)
    expected[1], expected[:, 2], expected[1, 2] = 0.5, 0.5, 1.0
    np.testing.assert_allclose(similarity[1, 2], expected, atol=1e-12)
    pattern = position_pattern(similarity)
    assert (pattern.same_row, pattern.same_column, pattern.elsewhere) == pytest.approx((0.5, 0.5, 0.0))


@pytest.mark.parametrize(
    "changes", [{}, {"registers": 2}, {"special_positions": 0}, {"class_token": False, "pool": "average"}]
)
@pytest.mark.parametrize("kind", ["learned", "learned_rope"])
def test_special_tokens_are_no_patches(small, kind: str, changes: dict) -> None:
    """Six vectors at 0, 60, 120 … degrees, whatever stands before them."""
    model = VisionTransformer(small(position_embedding=kind, **changes))
    position = model.embedding.position
    assert position is not None
    angles = np.arange(6) * np.pi / 3
    with torch.no_grad():
        position.table.normal_()
        patches = position.table[0, position.special :]
        patches.zero_()
        patches[:, :2] = 5 * torch.tensor(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    expected = np.cos(angles[:, None] - angles).reshape(2, 3, 2, 3)
    np.testing.assert_allclose(position_similarity(model), expected, atol=1e-6)


def test_a_resized_network_shows_its_interpolated_positions(small) -> None:
    model = VisionTransformer(small(position_embedding="learned"))
    model.resize((32, 40))
    assert position_similarity(model).shape == (4, 5, 4, 5)


@pytest.mark.parametrize(
    ("kind", "why"), [("rope", "rotary positions turn"), ("none", "no position embedding")]
)
def test_networks_that_add_no_position_are_told_so(small, kind: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        position_similarity(VisionTransformer(small(position_embedding=kind)))


def test_shares_of_neighbours_are_counted() -> None:
    """On 1 x 3 patches: the first resembles the last one most, the others their neighbour. Chance: 4 pairs of 6."""
    row = np.array([[1.0, 0.1, 0.8], [0.3, 1.0, 0.2], [0.4, 0.7, 1.0]])
    pattern = position_pattern(row.reshape(1, 3, 1, 3))
    assert pattern.nearest_in_4 == pattern.nearest_in_8 == pytest.approx(2 / 3)
    assert pattern.chance_4 == pattern.chance_8 == pytest.approx(4 / 6)
    assert pattern.same_row == pytest.approx((0.1 + 0.8 + 0.3 + 0.2 + 0.4 + 0.7) / 6)
    assert (pattern.same_column, pattern.elsewhere) == (None, None)


def test_a_corner_counts_among_8_and_not_among_4() -> None:
    """On 2 x 2 patches each resembles the one across the corner most."""
    similarity = np.array([[1, 0, 0, 0.5], [0, 1, 0.5, 0], [0, 0.5, 1, 0], [0.5, 0, 0, 1]]).reshape(
        2, 2, 2, 2
    )
    pattern = position_pattern(similarity)
    assert (pattern.nearest_in_4, pattern.nearest_in_8) == (0, 1)
    assert (pattern.chance_4, pattern.chance_8) == pytest.approx((2 / 3, 1))
    assert (pattern.same_row, pattern.same_column, pattern.elsewhere) == (0, 0, 0.5)


def test_a_single_patch_resembles_no_other(small) -> None:
    with pytest.raises(UsageError, match="a single patch"):
        position_similarity(VisionTransformer(small(image_size=8)))
