"""Equation 1: patches, and where they come from."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch.nn import functional as F

from vitral.errors import ConfigError
from vitral.model import VisionTransformer
from vitral.model.embedding import (
    PatchEmbedding,
    cut_into_patches,
    resize_position_embedding,
    rotary_2d,
    sincos_2d,
)
from vitral.model.encoder import rotate

PATCHES = [((16, 16), (8, 8), 3), ((12, 20), (4, 5), 1), ((14, 9), (7, 3), 5), ((6, 4), (6, 4), 3)]


@pytest.mark.parametrize(("image_size", "patch_size", "channels"), PATCHES)
def test_convolution_and_flatten_and_project_are_one_map(
    small, assert_same, image_size, patch_size, channels
):
    config = small(image_size=image_size, patch_size=patch_size, channels=channels)
    torch.manual_seed(0)
    patch = PatchEmbedding(config)
    torch.nn.init.normal_(patch.weight)
    torch.nn.init.normal_(patch.bias)
    images = torch.randn(2, channels, *image_size)
    convolved = F.conv2d(images, patch.weight, patch.bias, stride=patch_size).flatten(2).transpose(1, 2)
    unfolded = F.unfold(images, patch_size, stride=patch_size).transpose(1, 2)  # another flatten
    assert_same(patch(images), convolved)
    assert_same(patch(images), unfolded @ patch.weight.flatten(1).T + patch.bias)
    assert torch.equal(cut_into_patches(images, patch_size), unfolded)


def test_memory_layout_of_the_images_does_not_matter(small, lively):
    model, images = lively(small()), torch.randn(2, 3, 16, 24)
    channels_last = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(channels_last), model(images))


@pytest.mark.parametrize("kind", ["none", "learned", "learned_2d", "sincos_2d", "rope"])
def test_tokens_are_class_token_and_patches_plus_their_positions(small, lively, kind):
    model = lively(small(position_embedding=kind))
    images = torch.randn(2, 3, 16, 24)
    tokens, patches = model.embed(images), model.embedding.patch(images)
    special = model.embedding.class_token.expand(2, -1, -1)
    expected = torch.cat([special, patches], dim=1)
    position = model.embedding.position
    if kind == "learned":  # the paper's table has a line for the class token
        expected = expected + position.table
    elif position is not None:
        expected[:, 1:] += position()
    assert (position is None) == (kind in ("none", "rope"))
    torch.testing.assert_close(tokens, expected)


@pytest.mark.parametrize("kind", ["learned", "learned_2d", "sincos_2d", "rope"])
@pytest.mark.parametrize("pool", ["token", "average"])
def test_network_sees_where_a_patch_is_unless_told_not_to(small, lively, kind, pool):
    """Without positions the network takes the image for a bag of patches; with them it must not."""
    images = torch.randn(1, 3, 16, 24)
    shuffled = images.roll((8, 8), dims=(2, 3))  # whole patches change places
    for position_embedding, sees in ((kind, True), ("none", False)):
        model = lively(small(position_embedding=position_embedding, pool=pool, class_token=pool == "token"))
        difference = (model(images) - model(shuffled)).abs().max() / model(images).abs().max()
        assert (difference > 1e-3) if sees else (difference < 1e-5)


@pytest.mark.parametrize("grid", [(2, 3), (7, 7), (1, 4)])
def test_sincos_2d_is_big_visions_formula(grid):
    rows, columns = grid
    for place, vector in enumerate(sincos_2d(grid, 16)[0].numpy()):
        expected = []
        for where in (place % columns, place // columns):  # x before y
            angles = [where / 10_000 ** (k / 3) for k in range(4)]
            expected += [np.sin(angle) for angle in angles] + [np.cos(angle) for angle in angles]
        np.testing.assert_allclose(vector, expected, atol=1e-6)
    assert sincos_2d(grid, 16).shape == (1, rows * columns, 16)


def test_learned_2d_is_the_sum_of_a_row_and_a_column(small, lively):
    """Appendix D.4: half of the numbers know only the column, the other half only the row."""
    model = lively(small(image_size=(32, 40), position_embedding="learned_2d"))
    table = model.embedding.position().unflatten(1, (4, 5))[0]  # (rows, columns, dim)
    x, y = table[..., :16], table[..., 16:]
    assert torch.equal(x, x[:1].expand_as(x))
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert len(x[0].unique(dim=0)) == 5
    assert len(y[:, 0].unique(dim=0)) == 4
    assert sum(p.numel() for p in model.embedding.position.parameters()) == (4 + 5) * 16
    centred = (table - table.mean(dim=(0, 1))).flatten(0, 1)
    assert torch.linalg.matrix_rank(centred) == (4 - 1) + (5 - 1)


def test_rope_gives_attention_the_offset_only(small):
    """The same query and key everywhere: their product may depend on how far apart they are, on nothing else."""
    config = small(image_size=(24, 40), position_embedding="rope", class_token=False, pool="average")
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, config.head_dim).expand(-1, config.patches, -1)
    logits = rotate(q, rotary_2d(config)) @ rotate(k, rotary_2d(config)).T
    rows, columns = config.grid
    by_offset: dict[tuple[int, int], list[float]] = {}
    for i in range(config.patches):
        for j in range(config.patches):
            offset = (i // columns - j // columns, i % columns - j % columns)
            by_offset.setdefault(offset, []).append(logits[i, j].item())
    assert len(by_offset) == (2 * rows - 1) * (2 * columns - 1)
    assert max(np.ptp(values) for values in by_offset.values()) < 1e-5
    assert np.std([values[0] for values in by_offset.values()]) > 0.1
    assert by_offset[0, 0][0] == pytest.approx((q[0] @ k[0]).item(), abs=1e-5)


def test_rope_leaves_lengths_and_the_class_token_alone(small):
    config = small(position_embedding="rope")
    q = torch.randn(2, 4, 1 + config.patches, config.head_dim)
    turned = rotate(q, rotary_2d(config))
    assert torch.equal(turned[:, :, 0], q[:, :, 0])
    torch.testing.assert_close(turned.norm(dim=-1), q.norm(dim=-1))
    assert (turned[:, :, 1:] - q[:, :, 1:]).abs().amax(dim=(0, 1, 3)).min() > 0.1


GRIDS = [((2, 3), (4, 6)), ((5, 4), (3, 7)), ((4, 4), (4, 5)), ((1, 3), (3, 1)), ((6, 6), (2, 2))]


@pytest.mark.parametrize(("old", "new"), GRIDS)
@pytest.mark.parametrize("special", [0, 1, 5])
def test_positions_are_interpolated_as_the_authors_zoom(old, new, special):
    torch.manual_seed(0)
    table = torch.randn(1, special + old[0] * old[1], 8)
    found = resize_position_embedding(table, old, new, special)
    grid = table[0, special:].reshape(*old, 8).numpy()
    zoomed = scipy.ndimage.zoom(grid, (new[0] / old[0], new[1] / old[1], 1), order=1)
    assert torch.equal(found[:, :special], table[:, :special])
    np.testing.assert_allclose(found[0, special:].numpy(), zoomed.reshape(-1, 8), atol=1e-5)


@pytest.mark.parametrize("kind", ["none", "learned", "learned_2d", "sincos_2d", "rope"])
@pytest.mark.parametrize("average", [False, True])
def test_resized_model_keeps_its_map_of_the_image(small, lively, kind, average):
    config = small(position_embedding=kind, pool="average" if average else "token", class_token=not average)
    model = lively(config)
    position = model.embedding.position
    before = None if position is None else position().detach().clone()
    model.resize((40, 32))
    assert model.config == config.replace(image_size=(40, 32))
    assert model(torch.randn(2, 3, 40, 32)).shape == (2, 5)
    with pytest.raises(ConfigError, match="40x32"):
        model(torch.randn(2, 3, 16, 24))
    if kind == "sincos_2d":
        assert torch.equal(position(), sincos_2d((5, 4), 32))
    elif kind == "rope":
        assert torch.equal(model.rotation, rotary_2d(model.config))
    elif position is not None:
        special = model.config.special_tokens if kind == "learned" else 0
        assert torch.equal(position()[:, :special], before[:, :special])
        zoomed = scipy.ndimage.zoom(before[0, special:].reshape(2, 3, 32).numpy(), (5 / 2, 4 / 3, 1), order=1)
        np.testing.assert_allclose(
            position()[0, special:].detach().numpy(), zoomed.reshape(20, 32), atol=1e-5
        )
        assert all(parameter.requires_grad for parameter in position.parameters())


def test_resizing_to_the_same_size_changes_nothing(small, lively):
    model, images = lively(small()), torch.randn(2, 3, 16, 24)
    before = model(images)
    model.resize((16, 24))
    assert torch.equal(model(images), before)


@pytest.mark.parametrize("kind", ["learned", "learned_2d", "sincos_2d", "rope"])
def test_resized_model_can_be_written_and_read(small, lively, kind):
    model = lively(small(position_embedding=kind))
    model.resize(32)
    images = torch.randn(2, 3, 32, 32)
    again = VisionTransformer(model.config).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(images), model(images))


def test_impossible_size_is_refused_and_leaves_the_model_as_it_was(small, lively):
    model, images = lively(small()), torch.randn(1, 3, 16, 24)
    before = model(images)
    with pytest.raises(ConfigError, match="33x33"):
        model.resize(33)
    assert torch.equal(model(images), before)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 3, 24, 16), ["24x16", "16x24", "resize"]),
        ((2, 1, 16, 24), ["3", "(2, 1, 16, 24)"]),
        ((3, 16, 24), ["batch"]),
    ],
)
def test_images_of_another_shape_are_refused_with_the_remedy(small, lively, shape, words):
    with pytest.raises(ConfigError) as refused:
        lively(small())(torch.randn(shape))
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_images_in_fp32_keep_their_levels_beside_weights_of_half_the_precision(small, kind):
    """4096 levels of 12 bits are 4096 different tokens; in bf16 the images alone would lose two of three."""
    config = small(image_size=(64, 64), patch_size=1, channels=1, dim=8, heads=2)
    patch = PatchEmbedding(config)
    torch.nn.init.ones_(patch.weight)
    ramp = (torch.arange(4096, dtype=torch.float64).reshape(1, 1, 64, 64) / 4095 - 0.45) / 0.25
    seen: list[torch.Tensor] = []
    patch.to(kind).weight.register_hook(seen.append)
    tokens = patch(ramp.float())
    assert tokens.dtype == kind
    exact = ramp.flatten()[:, None].expand(-1, 8)
    assert torch.equal(tokens[0], exact.float().to(kind))  # rounded once, behind the product
    tokens.float().square().sum().backward()
    assert seen[0].dtype == kind
    assert len(ramp.float().unique()) == 4096
    assert len(ramp.to(torch.bfloat16).unique()) < 4096 / 3
