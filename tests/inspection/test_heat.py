"""Does the heat lie where the network looked?"""

import numpy as np
import pytest

from vitral.images import Preprocessing
from vitral.inspection import heatmap, patch_at, patch_box


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


def test_patches_are_found_where_they_were_cut() -> None:
    region = (30.0, 0.0, 70.0, 40.0)  # the middle of an image of 40 x 100 pixels
    assert patch_box((1, 0), (4, 8), region) == (30, 10, 35, 20)
    assert patch_at((34.9, 19.9), (4, 8), region) == (1, 0)
    assert patch_at((69, 39), (4, 8), region) == (3, 7)
    assert patch_at((29, 5), (4, 8), region) is None
    assert patch_at((70, 5), (4, 8), region) is None


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (37, 151)])
def test_boxes_hold_the_patches_own_pixels(fit: str, shape: tuple[int, int]) -> None:
    """Painted in the photograph, a patch's box is seen by the network in that patch and in no other."""
    preprocessing = Preprocessing((32, 48), fit, mean=(0, 0, 0), std=(1, 1, 1))
    grid, place = (4, 6), (2, 3)
    left, top, right, bottom = patch_box(place, grid, preprocessing.region(*shape))
    photo = np.zeros((*shape, 3), np.uint8)
    photo[round(top) : round(bottom), round(left) : round(right)] = 255
    seen = preprocessing(photo)[0].reshape(4, 8, 6, 8).mean(axis=(1, 3))
    assert np.unravel_index(seen.argmax(), grid) == place
    assert seen[place] > 3 * np.delete(seen.ravel(), 2 * 6 + 3).max()
