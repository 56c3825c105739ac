"""Are the principal components those of scikit-learn, and the same every time?"""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from vitral.inspection import principal_components


@pytest.mark.parametrize("shape", [(200, 12), (9, 40)], ids=["many vectors", "many numbers"])
def test_components_are_those_of_scikit_learn(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=shape) @ np.diag(np.linspace(3, 0.5, shape[1])) + 7
    components, share = principal_components(vectors, 5)
    peer = PCA(5, svd_solver="full").fit(vectors)
    np.testing.assert_allclose(share, peer.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(np.abs(components @ peer.components_.T), np.eye(5), atol=1e-7)


def test_the_number_of_largest_size_is_positive_whatever_the_sign_of_the_vectors() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 6))
    components, _ = principal_components(vectors, 3)
    mirrored, _ = principal_components(-vectors, 3)
    np.testing.assert_allclose(components, mirrored, atol=1e-9)
    assert (components.max(axis=1) > -components.min(axis=1)).all()


def test_there_are_no_more_components_than_the_vectors_span() -> None:
    flat = np.outer(np.arange(8.0), [3.0, 4.0, 0.0])
    components, share = principal_components(flat, 3)
    np.testing.assert_allclose(components, [[0.6, 0.8, 0.0]], atol=1e-9)
    np.testing.assert_allclose(share, [1.0])
    assert principal_components(np.ones((4, 3)), 2)[0].shape == (0, 3)
