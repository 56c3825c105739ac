"""The whole network beside timm's, with the same weights: outputs, gradients, noise and looks inside."""

import pytest
import torch

from vitral.model import VisionTransformer, create_model

timm = pytest.importorskip("timm")

NAMES = {
    "embedding.class_token": "cls_token",
    "embedding.position.table": "pos_embed",
    "embedding.patch": "patch_embed.proj",
    "attention_norm": "norm1",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "mlp_norm": "norm2",
    "mlp.hidden": "mlp.fc1",
    "mlp.out": "mlp.fc2",
}  # ours, theirs


def their_name(name):
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name


def twin(model, **options):
    """timm's network of the same architecture and weights."""
    config = model.config
    tokens = {"none": {"pos_embed": "none"}, "learned": {}}.get(
        config.position_embedding, {"no_embed_class": True}
    )
    peer = timm.models.VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        in_chans=config.channels,
        num_classes=config.num_classes,
        embed_dim=config.dim,
        depth=config.layers,
        num_heads=config.heads,
        mlp_ratio=config.mlp_dim / config.dim,
        class_token=config.class_token,
        global_pool={"token": "token", "average": "avg"}[config.pool],
        fc_norm=False,  # the final norm comes before the pooling, whichever that is
        final_norm=True,
        act_layer={"gelu": "gelu", "gelu_tanh": "gelu_tanh"}[config.activation],
        norm_layer=lambda dim, **_: torch.nn.LayerNorm(dim, eps=config.norm_epsilon),
        **tokens,
        **options,
    )
    tensors = {
        their_name(name): tensor for name, tensor in model.state_dict().items() if "_table" not in name
    }
    if model.embedding.position is not None:
        tensors["pos_embed"] = model.embedding.position()
    peer.load_state_dict(tensors)
    return peer.train(model.training)


ARCHITECTURES = {
    "class token": {},
    "class token, one channel, wide patches": {"image_size": (12, 20), "patch_size": (4, 5), "channels": 1},
    "five channels, tall patches": {"image_size": (14, 9), "patch_size": (7, 3), "channels": 5},
    "average": {"pool": "average", "class_token": False},
    "average beside a class token": {"pool": "average"},
    "tanh": {"activation": "gelu_tanh"},
    "another epsilon": {"norm_epsilon": 1e-3},
    "no positions": {"position_embedding": "none"},
    "positions of the patches only": {"position_embedding": "sincos_2d"},
    "average, positions by row and column": {
        "position_embedding": "learned_2d",
        "pool": "average",
        "class_token": False,
    },
    "no head": {"num_classes": 0},
}


@pytest.mark.parametrize("changes", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
@pytest.mark.parametrize("training", [False, True])
def test_logits_and_gradients_are_timms(small, lively, assert_same, changes, training):
    model = lively(small(**changes)).train(training)
    peer = twin(model)
    images = torch.randn(3, model.config.channels, *model.config.image_size, requires_grad=True)
    found, expected = model(images), peer(images)
    assert_same(found, expected)
    assert_same(model.forward_features(images), peer.forward_features(images))
    direction = torch.randn_like(expected)
    ours = dict(model.named_parameters())
    theirs = dict(peer.named_parameters())
    found_gradients = torch.autograd.grad(found, [images, *ours.values()], direction)
    expected_gradients = torch.autograd.grad(expected, [images, *theirs.values()], direction)
    expected_by_name = dict(zip(["images", *theirs], expected_gradients, strict=True))
    for name, gradient in zip(["images", *ours], found_gradients, strict=True):
        if "_table" not in name:  # two halves there are one table in timm
            assert_same(gradient, expected_by_name[their_name(name)])
    with torch.no_grad():
        assert_same(model(images), peer(images))


def test_fresh_network_is_timms_with_these_weights(small, assert_same):
    """Zeros in the class token, the biases and the head included."""
    torch.manual_seed(0)
    model = VisionTransformer(small()).eval()
    peer = twin(model)
    images = torch.randn(2, 3, 16, 24)
    assert_same(model.forward_features(images), peer.forward_features(images))
    assert torch.equal(model(images), peer(images))


def test_noise_falls_in_the_same_places_as_timms(small, lively, assert_same, monkeypatch):
    """The same seed gives the same training outputs only if every dropout draws in the same place and order."""
    monkeypatch.setattr("vitral.model.encoder.explicit_is_faster", lambda q: True)  # as timm's unfused
    config = small(dropout=0.2, attention_dropout=0.3, drop_path=0.5)
    model = lively(config).train()
    peer = twin(model, pos_drop_rate=0.2, proj_drop_rate=0.2, attn_drop_rate=0.3, drop_path_rate=0.5)
    for block in peer.blocks:
        block.attn.fused_attn = False
    images = torch.randn(16, 3, 16, 24)
    torch.manual_seed(1)
    found = model(images)
    torch.manual_seed(1)
    assert_same(found, peer(images))
    assert (found - model.eval()(images)).abs().max() > 0.1


@pytest.mark.parametrize("average", [False, True])
def test_attention_weights_are_timms(small, lively, assert_same, average):
    model = lively(small(pool="average" if average else "token", class_token=not average))
    peer = twin(model)
    expected = []
    for block in peer.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda module, inputs, output: expected.append(inputs[0]))
    images = torch.randn(2, 3, 16, 24)
    peer(images)
    _, found = model.forward_attention(images)
    assert len(found) == len(expected) == 3
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("average", [False, True])
def test_intermediate_maps_are_timms(small, lively, assert_same, norm, average):
    model = lively(small(pool="average" if average else "token", class_token=not average))
    images = torch.randn(2, 3, 16, 24)
    found = model.forward_intermediates(images, layers=(0, 2), norm=norm)
    expected = twin(model).forward_intermediates(
        images, indices=[0, 2], norm=norm, return_prefix_tokens=not average, intermediates_only=True
    )
    for (special, patches), theirs in zip(found, expected, strict=True):
        assert_same(patches, theirs if average else theirs[0])
        if average:
            assert special.shape == (2, 0, 32)
        else:
            assert_same(special, theirs[1])


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch32_224"])
def test_named_model_is_timms(lively, assert_same, name):
    """At full size, with the weights that timm itself draws."""
    torch.manual_seed(0)
    peer = timm.create_model(name, num_classes=10).eval()
    torch.nn.init.normal_(peer.head.weight)
    model = create_model(name, num_classes=10).eval()
    theirs = peer.state_dict()
    model.load_state_dict({name: theirs[their_name(name)] for name in model.state_dict()})
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert_same(model(images), peer(images))
