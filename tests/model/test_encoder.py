"""Equations 2 and 3: attention that can be read out, dropout and stochastic depth where they belong."""

import pytest
import torch
import torchvision
from torch.nn import functional as F

from vitral.model.encoder import DropPath, EncoderBlock, SelfAttention

KINDS = ["learned", "rope"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_reading_attention_out_changes_neither_features_nor_gradients(
    small, lively, assert_same, kind, training
):
    model = lively(small(position_embedding=kind)).train(training)
    images = torch.randn(2, 3, 16, 24)
    direction = torch.randn(2, 7, 32)

    def outcome(features):
        model.zero_grad()
        (features * direction).sum().backward()
        return [features, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    fast, read = outcome(model.forward_features(images)), outcome(model.forward_attention(images)[0])
    assert len(fast) == len(read) > 30
    for one, other in zip(fast, read, strict=True):
        assert_same(one, other)
    with torch.no_grad():  # the fused kernel
        assert_same(model.forward_features(images), fast[0])


def test_fused_kernel_and_explicit_softmax_agree_with_gradients(small, assert_same, monkeypatch):
    """Whichever path the device takes, the network is the same."""
    torch.manual_seed(0)
    attention, z = SelfAttention(small()), torch.randn(2, 50, 32, requires_grad=True)
    found = {}
    for explicit in (True, False):
        monkeypatch.setattr("vitral.model.encoder.explicit_is_faster", lambda q, explicit=explicit: explicit)
        out = attention(z)
        found[explicit] = [out, *torch.autograd.grad(out.square().sum(), [z, *attention.parameters()])]
    for one, other in zip(found[True], found[False], strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_weights_are_shares(small, lively, kind):
    model = lively(small(position_embedding=kind))
    features, attentions = model.forward_attention(torch.randn(2, 3, 16, 24))
    assert features.shape == (2, 7, 32)
    assert [tuple(weights.shape) for weights in attentions] == [(2, 4, 7, 7)] * 3
    for weights in attentions:
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 4, 7))
        assert weights.std() > 0.01
        assert weights.requires_grad


def test_attention_weights_are_in_the_graph(small, lively):
    """An explanation differentiates the logits by them."""
    model = lively(small())
    features, attentions = model.forward_attention(torch.randn(1, 3, 16, 24))
    gradients = torch.autograd.grad(model.forward_head(features)[0, 2], attentions)
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_attention_weights_are_what_the_values_are_mixed_with(small):
    """One head whose values and output are the identity puts out its own weights times its input."""
    config = small(dim=8, heads=1)
    attention = SelfAttention(config)
    torch.nn.init.normal_(attention.qkv.weight)
    torch.nn.init.zeros_(attention.qkv.bias)
    torch.nn.init.zeros_(attention.out.bias)
    with torch.no_grad():
        attention.qkv.weight[16:] = attention.out.weight[:] = torch.eye(8)
    z = torch.randn(1, 5, 8)
    out, weights = attention.forward_attention(z)
    torch.testing.assert_close(out, weights[:, 0] @ z)
    torch.testing.assert_close(attention(z), out)


def test_dropout_of_the_encoder_layer_is_pytorchs_number_for_number(small, assert_same):
    """The same seed drops the same numbers only if the same places draw in the same order."""
    config = small(dropout=0.4)
    torch.manual_seed(0)
    block = EncoderBlock(config).train()
    peer = torch.nn.TransformerEncoderLayer(
        32, 4, 48, dropout=0.4, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).train()
    peer.self_attn.dropout = 0.0  # that of the attention weights, which is another field here
    pairs = {
        "self_attn.in_proj_weight": "attention.qkv.weight", "self_attn.in_proj_bias": "attention.qkv.bias",
        "self_attn.out_proj.weight": "attention.out.weight", "self_attn.out_proj.bias": "attention.out.bias",
        "linear1.weight": "mlp.hidden.weight", "linear1.bias": "mlp.hidden.bias",
        "linear2.weight": "mlp.out.weight", "linear2.bias": "mlp.out.bias",
        "norm1.weight": "attention_norm.weight", "norm1.bias": "attention_norm.bias",
        "norm2.weight": "mlp_norm.weight", "norm2.bias": "mlp_norm.bias",
    }  # fmt: skip
    peer.load_state_dict({theirs: block.state_dict()[ours] for theirs, ours in pairs.items()})
    z = torch.randn(1, 50, 32)  # one image: PyTorch keeps several in another order of memory
    torch.manual_seed(1)
    found = block(z)
    torch.manual_seed(1)
    assert_same(found, peer(z))
    assert (found - block.eval()(z)).abs().max() > 0.1


def test_dropout_follows_the_sum_of_patches_and_positions(small, lively):
    model = lively(small(dropout=0.25))
    images = torch.randn(64, 3, 16, 24)
    whole, dropped = model.embed(images), model.train().embed(images)
    gone = dropped == 0
    torch.testing.assert_close(dropped[~gone], whole[~gone] / 0.75)
    assert gone.float().mean().item() == pytest.approx(0.25, abs=0.015)
    assert gone[:, 0].any()  # the class token's too


def test_attention_dropout_falls_on_the_weights_only(small):
    """With equal keys each weight is 1/n; what is left of the values counts the weights that stayed."""
    config = small(dim=8, heads=1, attention_dropout=0.3)
    attention = SelfAttention(config).train()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        attention.qkv.bias[16:] = 1.0
        attention.out.weight[:] = torch.eye(8)
    torch.manual_seed(0)
    z = torch.randn(16, 40, 8)
    out, weights = attention.forward_attention(z)
    for mixed in (attention(z), out):
        stayed = mixed * 0.7 * 40  # of 40 weights, for every query
        torch.testing.assert_close(stayed, stayed.round(), atol=1e-3, rtol=0)
        assert stayed.mean().item() == pytest.approx(28, abs=0.5)
        assert stayed.std(dim=1).min() >= 0
        assert torch.equal(mixed[..., 0], mixed[..., 7])  # all numbers of a head share their fate
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 40))  # read out before the dropout


def test_everything_random_is_off_in_evaluation(small, lively):
    model = lively(small(dropout=0.5, attention_dropout=0.5, drop_path=0.5))
    images = torch.randn(2, 3, 16, 24)
    state = torch.get_rng_state()
    first = model(images)
    assert torch.equal(first, model(images))
    assert torch.equal(torch.get_rng_state(), state)
    calm = lively(small())
    calm.load_state_dict(model.state_dict())
    assert torch.equal(first, calm(images))


@pytest.mark.parametrize("field", ["dropout", "attention_dropout", "drop_path"])
def test_each_kind_of_noise_acts_in_training(small, lively, field):
    model = lively(small(**{field: 0.5})).train()
    images = torch.randn(8, 3, 16, 24)
    assert not torch.allclose(model(images), model(images))


def test_drop_path_is_torchvisions_stochastic_depth():
    branch = torch.randn(500, 3, 4)
    torch.manual_seed(0)
    found = DropPath(0.3).train()(branch)
    torch.manual_seed(0)
    torch.testing.assert_close(found, torchvision.ops.stochastic_depth(branch, 0.3, "row"))
    kept = found[:, 0, 0] != 0
    assert torch.equal(kept, found.abs().amax(dim=(1, 2)) != 0)  # the whole branch of an image or nothing
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.06)


def test_drop_path_keeps_the_expectation(small):
    """Over many images the noisy branch averages to the whole one."""
    torch.manual_seed(0)
    dropped = DropPath(0.4).train()(torch.ones(20_000, 1, 1))
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert DropPath(0.4).eval()(torch.ones(3, 1, 1)).eq(1).all()


def test_drop_path_grows_linearly_over_the_layers(small, lively):
    """Measured from outside: how often a layer leaves an image as it came, by both branches."""
    model = lively(small(layers=4, drop_path=0.6)).train()
    z = torch.randn(4000, 1, 32)
    torch.manual_seed(0)
    for block, rate in zip(model.blocks, (0.0, 0.2, 0.4, 0.6), strict=True):
        untouched = (block(z) == z).flatten(1).all(dim=1).float().mean().item()
        assert untouched == pytest.approx(rate**2, abs=0.03)


def test_gelu_is_exact_unless_the_tanh_form_is_asked_for(small):
    numbers = torch.linspace(-4, 4, 101)
    for activation, form in (("gelu", "none"), ("gelu_tanh", "tanh")):
        found = EncoderBlock(small(activation=activation)).mlp.activation(numbers)
        assert torch.equal(found, F.gelu(numbers, approximate=form))
    assert small().activation == "gelu"
