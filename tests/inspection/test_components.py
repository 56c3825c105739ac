"""Do equal features get equal colours, in all images, and different ones different ones?"""

import numpy as np
from sklearn.decomposition import PCA

from vitral.inspection import feature_components


def test_one_object_has_one_colour_in_all_images() -> None:
    """An object left in one image and right in the other, on the same ground."""
    kinds = np.array([[[0, 1, 1], [0, 1, 1]], [[1, 1, 0], [1, 1, 0]]])
    features = np.random.default_rng(0).normal(size=(2, 16))[kinds]
    found = feature_components(features)
    assert found.colours.shape == (2, 2, 3, 3)
    assert np.unique(found.colours.reshape(-1, 3), axis=0).shape == (2, 3)
    np.testing.assert_array_equal(found.colours[0][:, 0], found.colours[1][:, 2])
    np.testing.assert_array_equal(found.colours[..., 1:], 0.5)  # one direction is all there is
    np.testing.assert_allclose(found.variance, [1, 0, 0])


def test_colours_are_the_components_of_scikit_learn_between_two_percentiles() -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(3, 6, 5, 20)) * np.linspace(4, 1, 20) + 3
    found = feature_components(features.astype(np.float32))
    peer = PCA(3, svd_solver="full").fit(features.reshape(-1, 20))
    np.testing.assert_allclose(found.variance, peer.explained_variance_ratio_, rtol=1e-5)
    values = peer.transform(features.reshape(-1, 20))
    for place in range(3):
        colour = found.colours[..., place].ravel()
        middle = (colour > 0) & (colour < 1)
        assert 1 <= (colour == 0).sum() <= 2  # 1 % of 90 patches
        assert 1 <= (colour == 1).sum() <= 2
        assert abs(np.corrcoef(values[middle, place], colour[middle])[0, 1]) > 1 - 1e-6


def test_one_odd_patch_does_not_take_the_colours_from_the_others() -> None:
    features = np.random.default_rng(2).normal(size=(1, 20, 20, 8))
    features[0, 0, 0] = 1000
    colours = feature_components(features).colours[0].reshape(-1, 3)[1:]
    assert colours[:, 0].std() > 0.1


def test_the_same_again_gives_the_same_colours() -> None:
    features = np.random.default_rng(3).normal(size=(1, 4, 4, 6))
    first, second = feature_components(features), feature_components(features.copy())
    np.testing.assert_array_equal(first.colours, second.colours)
