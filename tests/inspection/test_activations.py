"""Is what is kept of a pass through the network what the network itself says, layer by layer?"""

import numpy as np
import pytest
import torch

from vitral.inspection import Activations, activations, attention_distance, batch_size
from vitral.model import config_for

KINDS = [
    {"registers": 2, "layer_scale": 0.5},
    {"class_token": False, "pool": "average", "norm_after_pool": True},
    {"position_embedding": "rope", "patch_size": (8, 4)},
    {"feature_layers": 2},
]


@pytest.mark.parametrize("changes", KINDS, ids=[next(iter(kind)) for kind in KINDS])
def test_what_is_kept_is_what_the_network_says(small, lively, changes: dict) -> None:
    """Attention weights and layers as the model itself hands them out, whose peers are compared in tests/parity."""
    model = lively(small(**changes))
    config = model.config
    images = torch.randn(2, 3, *config.image_size, generator=torch.Generator().manual_seed(0))
    found = activations(model, images)
    with torch.no_grad():
        _, weights = model.forward_attention(images)
        layers = model.forward_intermediates(images)
        last = model.forward_features(images)[:, config.special_tokens :, -config.dim :]
    assert found.distances.shape == (2, 3, 4)
    assert found.patch_norms.shape == (2, 3, *config.grid)
    assert found.special_norms.shape == (2, 3, config.special_tokens)
    for index, (attention, (special, patches)) in enumerate(zip(weights, layers, strict=True)):
        distance = attention_distance(attention, config.grid, config.reach)
        np.testing.assert_allclose(found.distances[:, index], distance, rtol=1e-5)
        expected = np.sqrt((patches.double() ** 2).sum(dim=1).numpy())
        np.testing.assert_allclose(found.patch_norms[:, index], expected, rtol=1e-5)
        expected = np.sqrt((special.double() ** 2).sum(dim=2).numpy())
        np.testing.assert_allclose(found.special_norms[:, index], expected, rtol=1e-5)
    assert found.features is not None
    np.testing.assert_allclose(found.features.reshape(2, config.patches, -1), last.numpy(), atol=1e-5)


def test_images_in_batches_are_as_all_at_once(small, lively) -> None:
    model = lively(small())
    images = torch.randn(5, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    whole = activations(model, images)
    first, second = activations(model, images[:2]), activations(model, images[2:])
    parts = Activations.joined([first, second.with_features_of(1)])
    np.testing.assert_allclose(parts.distances, whole.distances, rtol=1e-5)
    np.testing.assert_allclose(parts.patch_norms, whole.patch_norms, rtol=1e-5)
    assert whole.features is not None
    assert parts.features is not None
    np.testing.assert_allclose(parts.features, whole.features[:3], atol=1e-5)
    assert activations(model, images, features=False).features is None
    assert second.with_features_of(0).features is None


def test_the_mean_passes_over_heads_that_look_nowhere() -> None:
    distances = np.array([[[10.0, np.nan]], [[20.0, np.nan]], [[np.nan, np.nan]]])
    empty = np.zeros((3, 1, 0))
    np.testing.assert_array_equal(Activations(distances, empty, empty, None).mean_distances(), [[15, np.nan]])


def test_long_sequences_go_in_small_batches() -> None:
    """At 518 pixels and patches of 14, a layer of 6 heads has 6 x 1,370^2 x 4 bytes of weights an image: 45 MB."""
    assert batch_size(config_for("vit_small_patch14_518")) == 256 * 2**20 // 45_045_600
    assert batch_size(config_for("vit_tiny_patch16_224")) == 32
    assert batch_size(config_for("vit_giant_patch14_224", image_size=2072)) == 1


def test_a_network_with_other_images_is_refused(small, lively) -> None:
    from vitral.errors import ConfigError

    with pytest.raises(ConfigError, match="built for 16x24"):
        activations(lively(small()), torch.zeros(1, 3, 24, 16))
