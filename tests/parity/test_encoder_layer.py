"""Equations 2 and 3 beside PyTorch's own encoder layer, with the same weights."""

import pytest
import torch

from vitral.model.encoder import EncoderBlock

NAMES = {
    "norm1": "attention_norm",
    "self_attn.in_proj_": "attention.qkv.",
    "self_attn.out_proj": "attention.out",
    "norm2": "mlp_norm",
    "linear1": "mlp.hidden",
    "linear2": "mlp.out",
}  # theirs, ours


def renamed(name):
    for theirs, ours in NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    raise KeyError(name)


@pytest.mark.parametrize(
    ("dim", "heads", "mlp_dim", "tokens", "epsilon"),
    [
        (32, 4, 64, 5, 1e-6),
        (48, 3, 96, 17, 1e-5),
        (64, 1, 40, 1, 1e-12),
        (64, 16, 256, 50, 1e-6),
        (36, 6, 36, 197, 1e-6),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_block_is_pytorchs_encoder_layer(small, assert_same, dim, heads, mlp_dim, tokens, epsilon, training):
    torch.manual_seed(0)
    peer = torch.nn.TransformerEncoderLayer(
        dim, heads, mlp_dim, 0.0, "gelu", layer_norm_eps=epsilon, batch_first=True, norm_first=True
    )
    for parameter in peer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    block = EncoderBlock(small(dim=dim, heads=heads, mlp_dim=mlp_dim, norm_epsilon=epsilon))
    block.load_state_dict({renamed(name): tensor for name, tensor in peer.state_dict().items()})
    block.train(training)
    peer.train(training)

    z = torch.randn(3, tokens, dim, requires_grad=True)
    found, expected = block(z), peer(z)
    assert_same(found, expected)
    direction = torch.randn_like(expected)
    found_gradients = torch.autograd.grad(found, [z, *block.parameters()], direction)
    expected_gradients = torch.autograd.grad(expected, [z, *peer.parameters()], direction)
    ours = dict(zip(["z", *dict(block.named_parameters())], found_gradients, strict=True))
    for name, gradient in zip(["z", *dict(peer.named_parameters())], expected_gradients, strict=True):
        assert_same(ours[name if name == "z" else renamed(name)], gradient)
    with torch.no_grad():  # PyTorch's fused path in evaluation, and ours
        assert_same(block(z), peer(z))
