"""Small networks that the paper authors' own code built and ran: the same weights must give the same numbers."""

import json
import re

import numpy as np
import pytest
import torch

from vitral.model import VisionTransformer, ViTConfig

NAMES = [
    "vit_token",
    "vit_token_prelogits",
    "vit_gap_linen_names",
    "big_vision_gap",
    "big_vision_gap_sincos_scan",
    "big_vision_tok",
]


@pytest.fixture
def oracle(shared):
    """`oracle(name)`: the network with the authors' weights, and what theirs put out."""

    def read(name):
        folder = shared / "oracles"
        facts = json.loads((folder / f"{name}.json").read_text())
        tensors = dict(np.load(folder / f"{name}.npz"))
        model = VisionTransformer(configuration(facts)).eval()
        model.load_state_dict(translated(tensors, model.config))
        return model, dict(np.load(folder / f"{name}.expected.npz"))

    return read


def configuration(facts):
    return ViTConfig(
        image_size=facts["image_size"],
        patch_size=facts["patch_size"],
        layers=facts["depth"],
        dim=facts["dim"],
        mlp_dim=facts["mlp_dim"],
        heads=facts["heads"],
        num_classes=facts["num_classes"],
        pool={"cls": "token", "gap": "average"}[facts["pool"]],
        class_token=facts["pool"] == "cls",
        position_embedding=facts.get("position", "learned"),
        representation_size=facts["representation_size"],
        activation="gelu_tanh",
    )


def translated(tensors, config):
    """The authors' names and shapes into ours; a kernel is (in, out), of a query (dim, heads, head_dim)."""
    tensors = {name.removeprefix("params/"): torch.from_numpy(tensor) for name, tensor in tensors.items()}
    for name in [name for name in tensors if "/encoderblock/" in name]:  # all layers stacked
        for layer, tensor in enumerate(tensors.pop(name)):
            tensors[name.replace("/encoderblock/", f"/encoderblock_{layer}/")] = tensor

    def take(pattern):
        (name,) = [name for name in tensors if re.fullmatch(pattern, name)]
        return tensors.pop(name)

    def take_dense(ours, theirs):
        return {f"{ours}.weight": take(f"{theirs}/kernel").T, f"{ours}.bias": take(f"{theirs}/bias")}

    def take_norm(ours, theirs):
        return {f"{ours}.weight": take(f"{theirs}/scale"), f"{ours}.bias": take(f"{theirs}/bias")}

    found = take_norm("norm", "Transformer/encoder_norm") | take_dense("head", "head")
    found["embedding.patch.weight"] = take("embedding/kernel").permute(3, 2, 0, 1)
    found["embedding.patch.bias"] = take("embedding/bias")
    if config.class_token:
        found["embedding.class_token"] = take("cls")
    if config.position_embedding == "learned":
        table = take(r"(Transformer/posembed_input/)?pos_embedding")
        nothing = torch.zeros(1, config.special_tokens + config.patches - table.shape[1], config.dim)
        found["embedding.position.table"] = torch.cat(
            [nothing, table], dim=1
        )  # big_vision's class token has none
    if config.representation_size:
        found |= take_dense("representation", "pre_logits")
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}.", f"Transformer/encoderblock_{layer}/"
        attention = theirs + r"MultiHeadDotProductAttention_\d"
        parts = [f"{attention}/{part}" for part in ("query", "key", "value")]
        found[f"{ours}attention.qkv.weight"] = torch.cat(
            [take(f"{part}/kernel").flatten(1).T for part in parts]
        )
        found[f"{ours}attention.qkv.bias"] = torch.cat([take(f"{part}/bias").flatten() for part in parts])
        found[f"{ours}attention.out.weight"] = take(f"{attention}/out/kernel").flatten(0, 1).T
        found[f"{ours}attention.out.bias"] = take(f"{attention}/out/bias")
        found |= take_norm(f"{ours}attention_norm", f"{theirs}LayerNorm_0")
        found |= take_norm(f"{ours}mlp_norm", f"{theirs}LayerNorm_[12]")
        found |= take_dense(f"{ours}mlp.hidden", rf"{theirs}MlpBlock_\d/Dense_0")
        found |= take_dense(f"{ours}mlp.out", rf"{theirs}MlpBlock_\d/Dense_1")
    assert not tensors, "a tensor of the authors' was left out"
    return found


def as_batch(images):
    """(batch, height, width, channels) as JAX has it to (batch, channels, height, width)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_authors(oracle, assert_same, name):
    model, expected = oracle(name)
    images = as_batch(expected["images"])
    logits = torch.from_numpy(expected["logits"])
    assert_same(model(images), logits)
    with torch.no_grad():
        assert_same(model(images), logits)
        assert_same(model.forward_head(model.forward_attention(images)[0]), logits)


def test_positions_and_logits_at_another_resolution_are_the_authors(oracle, assert_same):
    model, expected = oracle("vit_token")
    model.resize(48)
    assert_same(model.embedding.position(), torch.from_numpy(expected["new_position_embedding"]))
    assert_same(model(as_batch(expected["new_images"])), torch.from_numpy(expected["new_logits"]))


def test_exact_gelu_would_not_do(oracle):
    """The authors' GELU is the tanh form; the outputs are fine enough to tell."""
    model, expected = oracle("vit_token")
    exact = VisionTransformer(model.config.replace(activation="gelu")).eval()
    exact.load_state_dict(model.state_dict())
    difference = exact(as_batch(expected["images"])) - torch.from_numpy(expected["logits"])
    assert difference.abs().max() > 1e-5 * np.abs(expected["logits"]).max()
