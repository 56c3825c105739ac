"""Rotary positions beside those of transformers' DINOv3."""

import pytest
import torch

from vitral.model.embedding import rotary_2d
from vitral.model.encoder import SelfAttention, rotate

dinov3 = pytest.importorskip("transformers.models.dinov3_vit.modeling_dinov3_vit")


@pytest.fixture(params=[((32, 40), (8, 8), 4), ((16, 24), (8, 8), 1), ((12, 20), (4, 5), 8)], ids=str)
def config(request, small):
    image_size, patch_size, heads = request.param
    return small(image_size=image_size, patch_size=patch_size, heads=heads, position_embedding="rope")


@pytest.fixture
def theirs(config):
    """transformers' configuration of the same attention."""
    return dinov3.DINOv3ViTConfig(
        image_size=config.image_size,
        patch_size=config.patch_size,
        hidden_size=config.dim,
        num_attention_heads=config.heads,
        key_bias=True,
        attn_implementation="eager",
    )


def test_angles_are_dinov3s(config, theirs, assert_same):
    peer = dinov3.DINOv3ViTRopePositionEmbedding(theirs).eval()
    cosine, sine = peer(torch.empty(1, 3, *config.image_size))
    found = rotary_2d(config)
    assert_same(found[0, 1:], cosine)
    assert_same(found[1, 1:], sine)
    q, k = torch.randn(2, 3, config.heads, 1 + config.patches, config.head_dim)
    for ours, expected in zip((q, k), dinov3.apply_rotary_pos_emb(q, k, cosine, sine), strict=True):
        assert_same(rotate(ours, found), expected)


def test_attention_with_rotation_is_dinov3s(config, theirs, assert_same):
    torch.manual_seed(0)
    attention = SelfAttention(config).eval()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    peer = dinov3.DINOv3ViTAttention(theirs).eval()
    ours = attention.state_dict()
    tensors = {}
    for kind in ("weight", "bias"):
        tensors |= {
            f"{part}_proj.{kind}": t for part, t in zip("qkv", ours[f"qkv.{kind}"].chunk(3), strict=True)
        }
        tensors[f"o_proj.{kind}"] = ours[f"out.{kind}"]
    peer.load_state_dict(tensors)
    rope = dinov3.DINOv3ViTRopePositionEmbedding(theirs).eval()(torch.empty(1, 3, *config.image_size))
    z = torch.randn(2, 1 + config.patches, config.dim)
    expected, weights = peer(z, position_embeddings=rope)
    found, found_weights = attention.forward_attention(z, rotary_2d(config))
    assert_same(found, expected)
    assert_same(found_weights, weights)
    assert_same(attention(z, rotary_2d(config)), expected)
