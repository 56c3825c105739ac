"""The whole network, as its users hold it: shapes, named steps, other precisions, compilers, files."""

import copy
import io
import itertools
import pickle

import pytest
import torch

from vitral.errors import ConfigError, UsageError
from vitral.model import VisionTransformer

KINDS = ["none", "learned", "learned_2d", "sincos_2d", "rope"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("image_size", "patch_size", "channels"),
    [((16, 24), (8, 8), 3), ((12, 20), (4, 5), 1), ((14, 9), (7, 3), 5)],
)
def test_any_size_patch_and_number_of_channels(small, lively, kind, image_size, patch_size, channels):
    config = small(image_size=image_size, patch_size=patch_size, channels=channels, position_embedding=kind)
    model = lively(config)
    for batch in (1, 3):
        assert model(torch.randn(batch, channels, *image_size)).shape == (batch, 5)
    tokens = 1 + image_size[0] // patch_size[0] * (image_size[1] // patch_size[1])
    assert model.forward_features(torch.randn(1, channels, *image_size)).shape == (1, tokens, 32)


def test_images_of_a_batch_do_not_meet(small, lively, assert_same):
    model, images = lively(small()), torch.randn(3, 3, 16, 24)
    assert_same(torch.cat([model(image[None]) for image in images]), model(images))


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("representation_size", [None, 7])
def test_named_steps_put_together_are_the_whole(small, lively, average, representation_size):
    model = lively(small(pool="average" if average else "token", representation_size=representation_size))
    images = torch.randn(2, 3, 16, 24)
    features = model.forward_features(images)
    assert torch.equal(model.encode(model.embed(images)), features)
    assert torch.equal(model.forward_head(features), model(images))
    y = features[:, 1:].mean(dim=1) if average else features[:, 0]  # equation 4
    if representation_size:
        y = (y @ model.representation.weight.T + model.representation.bias).tanh()
    torch.testing.assert_close(model.head(y), model(images))


def test_features_come_after_the_final_norm(small, lively):
    model = lively(small())
    torch.nn.init.ones_(model.norm.weight)
    torch.nn.init.zeros_(model.norm.bias)
    features = model.forward_features(torch.randn(2, 3, 16, 24))
    torch.testing.assert_close(features.mean(dim=-1), torch.zeros(2, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.var(dim=-1, correction=0), torch.ones(2, 7), atol=1e-4, rtol=0)


@pytest.mark.parametrize("representation_size", [None, 7])
def test_without_classes_the_representation_comes_out(small, lively, representation_size):
    model = lively(small(num_classes=0, representation_size=representation_size))
    images = torch.randn(2, 3, 16, 24)
    assert model(images).shape == (2, representation_size or 32)
    if representation_size is None:
        assert torch.equal(model(images), model.forward_features(images)[:, 0])
    assert not any(name.startswith("head") for name in model.state_dict())


def test_layers_are_found_by_number_from_either_end(small, lively, assert_same):
    model, images = lively(small()), torch.randn(2, 3, 16, 24)
    _, every = model.forward_attention(images)
    for layers in [(0,), (2, 0), (-1,), (-3, 1), (1, 1), [], range(2), iter([1])]:
        expected = list(layers) if not hasattr(layers, "__next__") else [1]
        _, found = model.forward_attention(images, layers=layers)
        assert len(found) == len(expected)
        for weights, layer in zip(found, expected, strict=True):
            assert_same(weights, every[layer])
    maps = model.forward_intermediates(images)
    chosen = model.forward_intermediates(images, layers=(-1, 0))
    assert len(maps) == 3
    assert [torch.equal(a, b) for a, b in zip(chosen[0] + chosen[1], maps[2] + maps[0], strict=True)] == [
        True
    ] * 4
    for layer in (3, -4):
        with pytest.raises(UsageError, match=f"{layer}.* 3"):
            model.forward_attention(images, layers=[layer])
        with pytest.raises(UsageError, match=f"{layer}.* 3"):
            model.forward_intermediates(images, layers=[layer])


@pytest.mark.parametrize("average", [False, True])
def test_intermediate_maps_are_the_tokens_in_their_places(small, lively, average):
    model = lively(small(pool="average" if average else "token", class_token=not average))
    images = torch.randn(2, 3, 16, 24)
    ((special, patches),) = model.forward_intermediates(images, layers=(-1,), norm=True)
    features = model.forward_features(images)
    assert special.shape == (2, int(not average), 32)
    assert patches.shape == (2, 32, 2, 3)
    assert torch.equal(special, features[:, : int(not average)])
    for row, column in itertools.product(range(2), range(3)):
        assert torch.equal(patches[:, :, row, column], features[:, int(not average) + 3 * row + column])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("average", [False, True])
def test_gradient_reaches_every_parameter(small, lively, kind, average):
    pool = "average" if average else "token"
    model = lively(small(position_embedding=kind, pool=pool, representation_size=7)).train()
    model(torch.randn(2, 3, 16, 24)).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == []


def test_fresh_network_learns_with_its_head_first(small):
    """The head starts at zero, so nothing behind it moves before it has."""
    torch.manual_seed(0)
    model = VisionTransformer(small())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, labels = torch.randn(8, 3, 16, 24), torch.arange(8) % 5
    moved, losses = [], []
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        moved.append({name for name, p in model.named_parameters() if p.grad.abs().max() > 0})
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.tensor(5.0).log().item())
    assert moved[0] == {"head.weight", "head.bias"}
    assert moved[1] == {name for name, _ in model.named_parameters()}
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("kind", ["learned", "sincos_2d", "rope"])
def test_bfloat16_is_close_to_full_precision(small, lively, assert_same, kind):
    model, images = lively(small(position_embedding=kind)), torch.randn(4, 3, 16, 24)
    with torch.no_grad():
        expected = model(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(images)
        half = model.to(torch.bfloat16)(images.bfloat16())
    assert half.dtype == torch.bfloat16
    assert_same(mixed.float(), expected, tolerance=0.05)
    assert_same(half.float(), expected, tolerance=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_double_precision_is_kept(small, lively, kind):
    model = lively(small(position_embedding=kind)).double()
    assert model(torch.randn(1, 3, 16, 24, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("kind", ["learned", "learned_2d", "sincos_2d", "rope"])
@pytest.mark.parametrize("training", [False, True])
def test_compiles_as_one_graph(small, lively, assert_same, kind, training):
    noise = {"dropout": 0.1, "attention_dropout": 0.1, "drop_path": 0.1} if training else {}
    model, images = lively(small(position_embedding=kind, **noise)).train(training), torch.randn(2, 3, 16, 24)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager" if kind == "rope" else "eager")
    torch.manual_seed(0)
    found = compiled(images)
    torch.manual_seed(0)
    assert_same(found, model(images))
    found.sum().backward()


def test_looks_inside_compile_as_one_graph_too(small, lively):
    model, images = lively(small()), torch.randn(2, 3, 16, 24)
    torch.compiler.reset()
    for look in (model.forward_attention, model.forward_intermediates):
        found = torch.compile(look, fullgraph=True, backend="eager")(images, layers=(0, -1))
        expected = look(images, layers=(0, -1))
        for one, other in zip(
            torch.utils._pytree.tree_leaves(found), torch.utils._pytree.tree_leaves(expected), strict=True
        ):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", ["learned", "rope"])
def test_exported_network_takes_any_number_of_images(small, lively, assert_same, kind):
    model = lively(small(position_embedding=kind))
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(
            model, (torch.randn(2, 3, 16, 24),), dynamic_shapes={"images": {0: batch}}
        )
        for count in (1, 5):
            images = torch.randn(count, 3, 16, 24)
            assert_same(program.module()(images), model(images))


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_the_same_network(small, lively, kind):
    model, images = lively(small(position_embedding=kind)), torch.randn(2, 3, 16, 24)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    read = VisionTransformer(model.config).eval()
    read.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), read):
        assert torch.equal(other(images), model(images))
        assert other.config == model.config
    twin = copy.deepcopy(model)
    torch.nn.init.zeros_(twin.head.weight)
    assert model.head.weight.any()


def test_weights_hold_nothing_that_the_configuration_tells(small):
    """Fixed positions are computed, not kept: a checkpoint of one size is read at another."""
    for kind in ("sincos_2d", "rope", "none"):
        assert not any(
            "position" in name or "rotation" in name
            for name in VisionTransformer(small(position_embedding=kind)).state_dict()
        )


@pytest.mark.parametrize("num_classes", [0, 1, 3])
def test_new_head_starts_at_zero_on_what_was_learnt(small, lively, num_classes):
    model, images = lively(small(representation_size=7)), torch.randn(2, 3, 16, 24)
    features = model.forward_features(images)
    model.replace_head(num_classes)
    assert torch.equal(model.forward_features(images), features)
    assert model.config == small(num_classes=num_classes)  # the pre-training layer is gone
    if num_classes:
        assert torch.equal(model(images), torch.zeros(2, num_classes))
        assert all(parameter.requires_grad for parameter in model.head.parameters())
    else:
        assert torch.equal(model(images), features[:, 0])
    VisionTransformer(model.config).load_state_dict(model.state_dict())


def test_new_head_has_the_precision_of_the_network(small, lively):
    model = lively(small()).to(torch.bfloat16)
    model.replace_head(3)
    assert model(torch.randn(1, 3, 16, 24, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_impossible_head_is_refused_and_leaves_the_model_as_it_was(small, lively):
    model, images = lively(small(representation_size=7)), torch.randn(1, 3, 16, 24)
    before = model(images)
    with pytest.raises(ConfigError, match="num_classes"):
        model.replace_head(-1)
    assert torch.equal(model(images), before)
