"""Do filters for other channels answer as before to an image that is equal in all of them?"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vitral.images import Preprocessing
from vitral.model import VisionTransformer, ViTConfig
from vitral.weights import Checkpoint, adapt_filters

Lively = Callable[..., VisionTransformer]


def checkpoint(model: VisionTransformer) -> Checkpoint:
    half = (0.5,) * model.config.channels
    seen = Preprocessing(model.config.image_size, mean=half, std=half, channels=model.config.channels)
    return Checkpoint(model.config, seen, (), model.state_dict())


@pytest.mark.parametrize("colours", [None, (2, 1, 0), (0, 3, 1)])
@pytest.mark.parametrize(
    ("before", "after"), [(3, 5), (3, 1), (3, 2), (3, 13), (1, 3), (1, 5), (5, 4), (5, 3)]
)
def test_a_grey_image_gives_the_same_answer_in_any_number_of_channels(
    small: Callable[..., ViTConfig],
    lively: Lively,
    assert_same: Callable[[Tensor, Tensor], None],
    before: int,
    after: int,
    colours: tuple[int, ...] | None,
) -> None:
    if colours and (before != 3 or after <= max(colours)):
        pytest.skip("no network of RGB for so many channels")
    model = lively(small(channels=before))
    fitted = adapt_filters(checkpoint(model), after, colours).model()
    assert fitted.config.channels == after
    grey = torch.randn(4, 1, *model.config.image_size)
    with torch.no_grad():
        expected = model(grey.expand(-1, before, -1, -1))
        assert_same(fitted(grey.expand(-1, after, -1, -1)), expected)


def test_named_colours_keep_their_own_filters(small: Callable[..., ViTConfig], lively: Lively) -> None:
    model = lively(small(channels=3))
    own = model.state_dict()["embedding.patch.weight"]
    fitted = adapt_filters(checkpoint(model), 5, (3, 2, 0)).tensors["embedding.patch.weight"]
    for channel, expected in ((3, own[:, 0]), (2, own[:, 1]), (0, own[:, 2])):
        torch.testing.assert_close(fitted[:, channel], expected * 3 / 5)
    for channel in (1, 4):
        torch.testing.assert_close(fitted[:, channel], (own[:, 0] + own[:, 1] + own[:, 2]) / 5)


def test_three_channels_in_another_order_give_the_same_answer(
    small: Callable[..., ViTConfig], lively: Lively, assert_same: Callable[[Tensor, Tensor], None]
) -> None:
    model = lively(small(channels=3))
    images = torch.randn(2, 3, *model.config.image_size)
    with torch.no_grad():
        fitted = adapt_filters(checkpoint(model), 3, (2, 1, 0)).model()
        assert_same(fitted(images.flip(1)), model(images))
    assert adapt_filters(checkpoint(model), 3).tensors.keys() == model.state_dict().keys()
    same = checkpoint(model)
    assert adapt_filters(same, 3) is same


def test_everything_else_stays_in_hybrids_too(small: Callable[..., ViTConfig], lively: Lively) -> None:
    config = small(image_size=(64, 64), patch_size=1, resnet_layers=(1,), channels=3)
    model = lively(config)
    before = checkpoint(model)
    after = adapt_filters(before, 4)
    changed = {name for name, tensor in after.tensors.items() if tensor is not before.tensors[name]}
    assert changed == {"embedding.stem.root.weight"}
    assert after.model()(torch.zeros(1, 4, 64, 64)).shape == (1, 5)
