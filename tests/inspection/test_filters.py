"""Do the components of the patch embedding's filters show what was put into them?"""

import numpy as np
import pytest
import torch

from vitral.errors import UsageError
from vitral.inspection import filter_components
from vitral.model import VisionTransformer, create_model


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_filters_made_of_two_pictures_have_these_as_components(small, channels: int) -> None:
    model = VisionTransformer(small(patch_size=(4, 8), channels=channels, dim=32))
    random = np.random.default_rng(0)
    pictures = np.zeros((2, 4, 8, channels))  # one in the upper half, one in the lower: at right angles
    pictures[0, :2], pictures[1, 2:] = random.normal(size=(2, 2, 8, channels))
    pictures /= np.sqrt((pictures**2).sum(axis=(1, 2, 3), keepdims=True))
    amounts = np.stack([np.tile([3.0, -3.0], 16), np.repeat([1.0, -1.0], 16)], axis=1)  # uncorrelated
    filters = np.einsum("dk,khwc->dchw", amounts, pictures) + 0.25
    with torch.no_grad():
        model.embedding.patch.weight.copy_(torch.from_numpy(filters))
    found = filter_components(model)
    assert found.filters == 32
    assert found.components.shape == (2, 4, 8, channels)
    np.testing.assert_allclose(found.variance, [0.9, 0.1], atol=1e-6)
    for component, picture in zip(found.components, pictures, strict=True):
        sign = np.sign(picture.ravel()[np.abs(picture).argmax()])
        np.testing.assert_allclose(component, sign * picture, atol=1e-6)


def test_as_many_components_as_the_paper_shows_or_as_there_can_be() -> None:
    assert filter_components(create_model("vit_mini_patch8_64")).components.shape == (28, 8, 8, 3)
    assert len(filter_components(create_model("vit_mini_patch2_8")).components) == 12
    assert len(filter_components(create_model("vit_mini_patch8_64"), 5).components) == 5


def test_a_hybrid_has_no_pixels_to_show() -> None:
    with pytest.raises(UsageError, match="no pixels to show"):
        filter_components(create_model("vit_tiny_r_s16_p8_224"))
