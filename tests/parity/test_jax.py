"""Small networks that the paper authors' own code built and ran: the same weights must give the same numbers."""

import json

import numpy as np
import pytest
import torch

from vitral.model import VisionTransformer
from vitral.weights import convert, load_model, read_checkpoint

NAMES = {
    "vit_token": "ViT",
    "vit_token_prelogits": "ViT with pre_logits",
    "vit_gap_linen_names": "ViT, average pooling",
    "hybrid_resnet_1_1": "hybrid",
    "hybrid_root_only": "hybrid, root alone",
    "big_vision_gap": "big_vision, average pooling",
    "big_vision_gap_sincos_scan": "big_vision, sincos2d, scanned blocks",
    "big_vision_tok": "big_vision, class token",
    "big_vision_map": "big_vision, attention pooling",
}


@pytest.fixture(params=NAMES)
def oracle(request, shared):
    """The file of a network, what it is, and what the authors' code made of it."""
    folder = shared / "oracles"
    facts = json.loads((folder / f"{request.param}.json").read_text())
    return folder / f"{request.param}.npz", facts, dict(np.load(folder / f"{request.param}.expected.npz"))


def as_batch(images):
    """(batch, height, width, channels) as JAX has it to (batch, channels, height, width)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_logits_are_the_authors(oracle, agree):
    file, facts, expected = oracle
    network = NAMES[file.stem]
    # Fixed positions tell no size; where positions are learned the size follows from them.
    size = facts["image_size"] if facts.get("position") == "sincos_2d" else None
    model = load_model(file, image_size=size)
    assert model.config.image_size == (facts["image_size"],) * 2
    images, logits = as_batch(expected["images"]), expected["logits"]
    agree("jax", network, model(images), logits, peer="the authors' code")
    with torch.no_grad():
        agree("jax", network, model(images), logits, peer="the authors' code")
        again = model.forward_head(model.forward_attention(images)[0])
        agree("jax", network, again, logits, peer="the authors' code")


def test_positions_and_logits_at_another_resolution_are_the_authors(oracle, agree):
    file, facts, expected = oracle
    if not facts.get("new_image_size"):
        pytest.skip("the authors' code ran this one at one resolution only")
    model = load_model(file, image_size=facts["new_image_size"])
    position = model.embedding.position()
    agree("jax", NAMES[file.stem], position, expected["new_position_embedding"], peer="the authors' code")
    logits = model(as_batch(expected["new_images"]))
    agree("jax", NAMES[file.stem], logits, expected["new_logits"], peer="the authors' code")


def test_architecture_is_read_off(oracle):
    file, facts, _ = oracle
    config = read_checkpoint(file).config
    assert (config.layers, config.dim, config.mlp_dim, config.heads) == (
        facts["depth"], facts["dim"], facts["mlp_dim"], facts["heads"],
    )  # fmt: skip
    assert config.patch_size == (facts["patch_size"],) * 2
    assert config.num_classes == facts["num_classes"]
    assert config.pool == {"cls": "token", "gap": "average", "map": "attention"}[facts["pool"]]
    assert config.representation_size == facts["representation_size"]
    assert config.resnet_layers == (
        None if facts.get("resnet_layers") is None else tuple(facts["resnet_layers"])
    )


def test_tensors_come_back_bit_for_bit(oracle, agree, tmp_path):
    """The authors' code cannot be asked, so its own files are: arrays, names, shapes and types, all of them."""
    file, _, _ = oracle
    convert(file, tmp_path / "out.npz", "jax")
    theirs, back = dict(np.load(file)), dict(np.load(tmp_path / "out.npz"))
    assert back.keys() == theirs.keys()
    for name, array in theirs.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back[name], array)
    found, expected = (np.concatenate([arrays[name].ravel() for name in theirs]) for arrays in (back, theirs))
    agree("jax", NAMES[file.stem], found, expected, peer="the authors' code", way="out", tolerance=0)


def test_exact_gelu_would_not_do(shared):
    """The authors' GELU is the tanh form; the outputs are fine enough to tell."""
    model = load_model(shared / "oracles" / "vit_token.npz")
    expected = dict(np.load(shared / "oracles" / "vit_token.expected.npz"))
    exact = VisionTransformer(model.config.replace(activation="gelu")).eval()
    exact.load_state_dict(model.state_dict())
    difference = exact(as_batch(expected["images"])) - torch.from_numpy(expected["logits"])
    assert difference.abs().max() > 1e-5 * np.abs(expected["logits"]).max()
