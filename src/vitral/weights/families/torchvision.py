"""torchvision's VisionTransformer: vit_b_16 to vit_h_14, SWAG, and what people fine-tuned from them.

Two details differ from file to file (`Form`): what the MLP's two layers are called, "0" and "3" or, before torchvision
0.13, "linear_1" and "linear_2"; and whether the head is `heads.head` or, replaced by a layer of one's own, `heads`.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from vitral.errors import WeightsError
from vitral.images import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitral.model import ViTConfig
from vitral.weights.reading import Found, Reading, class_names_for, for_channels, grid_of, heads_of
from vitral.weights.rules import Form, Rule, Tensors, both, same

TITLE = "torchvision's VisionTransformer"
LAYER = "encoder.layers.encoder_layer_"
OLD, NEW = ["linear_1", "linear_2"], ["0", "3"]


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are names of theirs."""
    return {"class_token", "encoder.pos_embedding", f"{LAYER}0.self_attention.in_proj_weight"} <= set(names)


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """Their tensors as they are, and how MLP and head are called."""
    mlp = OLD if f"{LAYER}0.mlp.linear_1.weight" in tensors else NEW
    return dict(tensors), {"mlp": mlp, "head": "heads" if "heads.weight" in tensors else "heads.head"}


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors; preprocessing and class names as torchvision lists them beside its weights."""
    assumed: dict[str, str] = {}
    if any(name.startswith("conv_proj.conv_") for name in found.tensors):
        raise WeightsError(
            "these weights have a convolutional stem other than the paper's: vitral does not read them"
        )
    dim, channels, *patch = found.size("conv_proj.weight", 4)
    grid, _ = grid_of(
        found, found.size("encoder.pos_embedding")[1], (1,), (patch[0], patch[1]), {}
    )  # always a square
    head, representation = f"{form['head']}.weight", "heads.pre_logits.weight"
    config = ViTConfig(
        image_size=(grid[0] * patch[0], grid[1] * patch[1]),
        patch_size=(patch[0], patch[1]),
        channels=channels,
        layers=found.count(rf"{LAYER}(\d+)\."),
        dim=dim,
        mlp_dim=found.size(f"{LAYER}0.mlp.{form['mlp'][0]}.weight")[0],
        heads=heads_of(found, dim, TITLE),
        num_classes=found.size(head)[0] if head in found.tensors else 0,
        representation_size=found.size(representation)[0] if representation in found.tensors else None,
        position_interpolation="bicubic_corners",
    )
    listed = found.config.get("torchvision") or {}
    if not listed:
        usual = "torchvision's usual, which its files do not say"
        assumed |= dict.fromkeys(("mean", "std", "interpolation", "crop_share"), usual)
        assumed["heads"] = "dim / 64, or as published for this dim"
    names = class_names_for(config.num_classes, assumed, listed.get("categories"))
    return Reading(config, _preprocessing(config, listed), names, assumed)


def _preprocessing(config: ViTConfig, listed: Mapping[str, Any]) -> Preprocessing:
    """As their table says it, see `vitral.weights.source`; without it, as most of their weights have it."""
    mean = for_channels(listed.get("mean", IMAGENET_MEAN), config.channels)
    std = for_channels(listed.get("std", IMAGENET_STD), config.channels)
    interpolation, share = listed.get("interpolation", "bilinear"), 224 / 256
    if listed:
        share = listed["crop_size"] / listed["resize_size"]
    return Preprocessing(config.image_size, "crop", mean, std, interpolation, share, config.channels)


def rules(config: ViTConfig, form: Form) -> Iterator[Rule]:
    """Their tensors for each of ours."""
    yield from both("embedding.patch", "conv_proj")
    yield same("embedding.class_token", "class_token")
    yield same("embedding.position.table", "encoder.pos_embedding")
    hidden, out = form["mlp"]
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"{LAYER}{layer}"
        yield from both(f"{ours}.attention_norm", f"{theirs}.ln_1")
        for kind in ("weight", "bias"):
            yield same(f"{ours}.attention.qkv.{kind}", f"{theirs}.self_attention.in_proj_{kind}")
        yield from both(f"{ours}.attention.out", f"{theirs}.self_attention.out_proj")
        yield from both(f"{ours}.mlp_norm", f"{theirs}.ln_2")
        yield from both(f"{ours}.mlp.hidden", f"{theirs}.mlp.{hidden}")
        yield from both(f"{ours}.mlp.out", f"{theirs}.mlp.{out}")
    yield from both("norm", "encoder.ln")
    if config.representation_size is not None:
        yield from both("representation", "heads.pre_logits")
    if config.num_classes:
        yield from both("head", form["head"])


def form_for(config: ViTConfig) -> Form:
    """The naming of today's torchvision, for an architecture of any origin."""
    return {"mlp": NEW, "head": "heads.head"}


def dress(tensors: Tensors, form: Form) -> Tensors:
    """Cleaned tensors in a form: the inverse of `clean`, which changes nothing."""
    return tensors
