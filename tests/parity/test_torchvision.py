"""The whole network beside torchvision's, with the same weights: pre-training head, gradients and noise."""

import re

import pytest
import torch
import torchvision

NAMES = {
    "class_token": "embedding.class_token",
    "conv_proj": "embedding.patch",
    "encoder.pos_embedding": "embedding.position.table",
    "encoder.ln": "norm",
    "heads.pre_logits": "representation",
    "heads.head": "head",
    "ln_1": "attention_norm",
    "self_attention.in_proj_": "attention.qkv.",
    "self_attention.out_proj": "attention.out",
    "ln_2": "mlp_norm",
    "mlp.0": "mlp.hidden",
    "mlp.3": "mlp.out",
}  # theirs, ours


def our_name(name):
    if match := re.fullmatch(r"encoder\.layers\.encoder_layer_(\d+)\.(.*)", name):
        return f"blocks.{match[1]}.{our_name(match[2])}"
    start = next(start for start in NAMES if name.startswith(start))
    return NAMES[start] + name.removeprefix(start)


def twin(model):
    """torchvision's network of the same architecture and weights."""
    config = model.config
    peer = torchvision.models.VisionTransformer(
        image_size=config.image_size[0],
        patch_size=config.patch_size[0],
        num_layers=config.layers,
        num_heads=config.heads,
        hidden_dim=config.dim,
        mlp_dim=config.mlp_dim,
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        num_classes=config.num_classes,
        representation_size=config.representation_size,
    )
    ours = model.state_dict()
    peer.load_state_dict({name: ours[our_name(name)] for name in peer.state_dict()})
    return peer.train(model.training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("representation_size", [None, 24])
@pytest.mark.parametrize(("image_size", "patch_size"), [(24, 8), (20, 5)])
def test_logits_and_gradients_are_torchvisions(
    small, lively, assert_same, training, representation_size, image_size, patch_size
):
    config = small(image_size=image_size, patch_size=patch_size, representation_size=representation_size)
    model = lively(config).train(training)
    peer = twin(model)
    images = torch.randn(3, 3, image_size, image_size, requires_grad=True)
    found, expected = model(images), peer(images)
    assert_same(found, expected)
    direction = torch.randn_like(expected)
    ours, theirs = dict(model.named_parameters()), dict(peer.named_parameters())
    found_gradients = torch.autograd.grad(found, [images, *ours.values()], direction)
    expected_gradients = torch.autograd.grad(expected, [images, *theirs.values()], direction)
    by_name = dict(zip(["images", *ours], found_gradients, strict=True))
    assert len(by_name) == len(expected_gradients)
    for name, gradient in zip(["images", *theirs], expected_gradients, strict=True):
        assert_same(by_name[name if name == "images" else our_name(name)], gradient)
    with torch.no_grad():
        assert_same(model(images), peer(images))


def test_dropout_falls_in_the_same_places_as_torchvisions(small, lively, assert_same):
    """The same seed gives the same training outputs only if every dropout draws in the same place and order."""
    model = lively(small(image_size=32, dropout=0.3)).train()
    peer = twin(model)
    images = torch.randn(
        1, 3, 32, 32
    )  # one image: PyTorch's attention keeps several in another order of memory
    torch.manual_seed(1)
    found = model(images)
    torch.manual_seed(1)
    assert_same(found, peer(images))
    assert (found - model.eval()(images)).abs().max() > 0.1
