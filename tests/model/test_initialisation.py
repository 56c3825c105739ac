"""Is a fresh network drawn as the authors draw it? Distributions against SciPy's, with a seed: a wrong one fails."""

import math

import pytest
import scipy.stats
import torch

from vitral.model import VisionTransformer, create_model
from vitral.model.initialisation import initialise


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(0)
    return create_model("vit_tiny_patch16_224", layers=2, num_classes=10, representation_size=100)


def fits(weights, distribution):
    """Kolmogorov and Smirnov do not object."""
    return scipy.stats.kstest(weights.detach().flatten().numpy(), distribution.cdf).pvalue > 1e-3


def uniform(bound):
    return scipy.stats.uniform(-bound, 2 * bound)


def lecun_normal(inputs):
    """A normal cut off at two of its standard deviations, of variance 1 / inputs."""
    cut = scipy.stats.truncnorm(-2, 2)
    return scipy.stats.truncnorm(-2, 2, scale=inputs**-0.5 / cut.std())


@pytest.mark.parametrize("layer", [0, 1])
def test_queries_keys_values_and_output_are_each_xavier_uniform(fresh, layer):
    attention = fresh.blocks[layer].attention
    bound = math.sqrt(6 / (192 + 192))
    for weight in (*attention.qkv.weight.split(192), attention.out.weight):
        assert weight.shape == (192, 192)
        assert 0.999 * bound < weight.abs().max().item() <= bound
        assert fits(weight, uniform(bound))
    assert not fits(attention.qkv.weight, uniform(math.sqrt(6 / (192 + 3 * 192))))  # of one fused draw
    assert not attention.qkv.bias.any()
    assert not attention.out.bias.any()


@pytest.mark.parametrize("layer", [0, 1])
def test_mlp_is_xavier_uniform_with_tiny_normal_biases(fresh, layer):
    mlp = fresh.blocks[layer].mlp
    bound = math.sqrt(6 / (192 + 768))
    for linear in (mlp.hidden, mlp.out):
        assert 0.999 * bound < linear.weight.abs().max().item() <= bound
        assert fits(linear.weight, uniform(bound))
        assert fits(linear.bias, scipy.stats.norm(scale=1e-6))


def test_patch_embedding_and_pre_training_layer_are_lecun_normal(fresh):
    for weight, inputs in ((fresh.embedding.patch.weight, 16 * 16 * 3), (fresh.representation.weight, 192)):
        assert weight.std().item() == pytest.approx(inputs**-0.5, rel=0.02)
        assert fits(weight, lecun_normal(inputs))
        assert not fits(weight, scipy.stats.norm(scale=inputs**-0.5))  # not cut off
    assert not fresh.embedding.patch.bias.any()
    assert not fresh.representation.bias.any()


def test_positions_are_normal(fresh, small):
    assert fits(fresh.embedding.position.table, scipy.stats.norm(scale=0.02))
    torch.manual_seed(0)
    position = VisionTransformer(small(image_size=160, position_embedding="learned_2d")).embedding.position
    assert fits(position.row_table, scipy.stats.norm(scale=0.02))
    assert fits(position.column_table, scipy.stats.norm(scale=0.02))


def test_class_token_and_head_start_at_zero_and_norms_do_nothing(fresh):
    assert not fresh.embedding.class_token.any()
    assert not fresh.head.weight.any()
    assert not fresh.head.bias.any()
    norms = [module for module in fresh.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert len(norms) == 2 * 2 + 1
    assert all(norm.weight.eq(1).all() and not norm.bias.any() and norm.eps == 1e-6 for norm in norms)
    assert not fresh(torch.randn(2, 3, 224, 224)).any()


def test_seed_decides_every_weight(small, lively):
    """Whatever the weights were before; so none is forgotten."""
    config = small(representation_size=7)
    drawn = []
    for before in (lively(config, seed=1), lively(config, seed=2)):
        torch.manual_seed(4)
        initialise(before)
        drawn.append(before.state_dict())
    for name, tensor in drawn[0].items():
        assert torch.equal(tensor, drawn[1][name]), name

    torch.manual_seed(4)
    first = VisionTransformer(config).state_dict()
    torch.manual_seed(4)
    again = VisionTransformer(config).state_dict()
    torch.manual_seed(5)
    other = VisionTransformer(config).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.mlp.out.weight"], other["blocks.0.mlp.out.weight"])


def test_layers_are_drawn_independently(fresh):
    first, second = fresh.blocks
    assert (
        abs(
            torch.corrcoef(torch.stack([first.mlp.out.weight.flatten(), second.mlp.out.weight.flatten()]))[
                0, 1
            ]
        )
        < 0.02
    )
    q, k, v = first.attention.qkv.weight.split(192)
    assert torch.corrcoef(torch.stack([q.flatten(), k.flatten(), v.flatten()])).triu(1).abs().max() < 0.02


def test_a_hybrids_unit_starts_as_its_shortcut():
    """models_resnet.py: the last norm of a unit starts at scale 0, so what the unit adds is nothing."""
    model = create_model("vit_base_r50_s16_224", layers=1).eval()
    stage = model.embedding.stem.stages[0]
    x = torch.rand(2, 256, 8, 8)
    assert torch.equal(stage[1](x), x.relu())
