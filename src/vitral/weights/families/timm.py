"""timm's VisionTransformer: ViT of all sizes, DeiT plain, distilled and III, DINO, DINOv2, MAE, SigLIP, CLIP, hybrids.

Many training codes share these names, which began as theirs: `eva` and `facebook` read by the same rules.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vitral.errors import WeightsError
from vitral.images import HALF, Preprocessing
from vitral.model import ViTConfig
from vitral.weights.reading import (
    CLIP_MEAN,
    CLIP_STD,
    Found,
    Reading,
    class_names_for,
    grid_of,
    grid_without_table,
    heads_of,
)
from vitral.weights.rules import Form, Rule, Tensors, both, same

TITLE = "timm's VisionTransformer"

# Our names and theirs, where other houses that share the rest have others.
NAMES = {
    "registers": "reg_token",
    "mask_token": "mask_token",
    "attention_scale": "ls1.gamma",
    "mlp_scale": "ls2.gamma",
    "hidden": "mlp.fc1",
    "out": "mlp.fc2",
}
POOLS = {"token": "token", "avg": "average", "map": "attention"}

# Which SigLIPs have the tanh form of GELU, and which network has unusual heads, only the architecture's name tells.
TANH = re.compile(
    r"vit_(base_patch32_siglip|giantopt_patch16_siglip|so400m_patch16_siglip|large_patch16_siglip_(gap_)?512)"
)
HEADS = {"vit_base_patch16_gap_224": 16}


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are names of theirs."""
    return (
        {"blocks.0.norm1.weight", "blocks.0.attn.qkv.weight", "patch_embed.proj.weight"} <= set(names)
        and not {"mask_token", "register_tokens", "storage_tokens", "decoder_embed.weight"} & set(names)
        and not any(re.search(r"\.(gamma_1|q_bias|mlp\.w12\.weight)$", name) for name in names)
    )


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """Their tensors as they are."""
    return dict(tensors), {}


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors, and from timm's config.json where there is one."""
    assumed: dict[str, str] = {}
    name = str(found.config.get("architecture", ""))
    pretrained = found.config.get("pretrained_cfg") or {}
    arguments = {**found.config, **(found.config.get("model_args") or {})}
    clip = "norm_pre.weight" in found.tensors
    values = blocks_of(found, NAMES)
    size = arguments.get("img_size") or (pretrained.get("input_size") or [])[1:] or None
    values |= positions_of(found, values, assumed, size)
    values["heads"] = arguments.get("num_heads") or HEADS.get(name) or heads_of(found, values["dim"], TITLE)
    if not name:
        assumed["heads"] = "dim / 64, or as published for this dim"
        assumed["norm_epsilon"] = "timm's for CLIP" if clip else "timm's but for CLIP"
    values["norm_epsilon"] = 1e-5 if clip else 1e-6
    values["activation"] = "silu" if values["gated_mlp"] else _activation(name, arguments, assumed)
    values |= pooling_of(found, arguments.get("global_pool"))
    config = ViTConfig(**values, position_interpolation="bicubic_antialias")
    usual = Preprocessing(config.image_size, mean=HALF, std=HALF, crop_share=0.9)
    if clip:
        usual = Preprocessing(config.image_size, mean=CLIP_MEAN, std=CLIP_STD)
    preprocessing = preprocessing_of(pretrained, usual, assumed)
    return Reading(config, preprocessing, classes_of(found, config, assumed), assumed)


def blocks_of(found: Found, names: Mapping[str, str]) -> dict[str, Any]:
    """The fields of `ViTConfig` that the tensors alone settle."""
    tensors = found.tensors
    dim, channels, *patch = found.size("patch_embed.proj.weight")
    stem: dict[str, Any] = {}
    if any(name.startswith("patch_embed.backbone.") for name in tensors):
        stem = _stem_of(found)
        channels = stem.pop("channels")
    block = "blocks.0."
    hidden, mlp_dim = found.size(f"{block}{names['hidden']}.weight")[0], found.size(f"{block}{names['out']}.weight")[1]
    return stem | {
        "image_size": (0, 0),
        "patch_size": tuple(patch),
        "channels": channels,
        "layers": found.count(r"blocks\.(\d+)\."),
        "dim": dim,
        "mlp_dim": mlp_dim,
        "class_token": "cls_token" in tensors,
        "distillation_token": "dist_token" in tensors,
        "registers": found.size(names["registers"])[1] if names["registers"] in tensors else 0,
        "mask_token": names["mask_token"] in tensors,
        "patch_bias": "patch_embed.proj.bias" in tensors,
        "pre_norm": "norm_pre.weight" in tensors,
        "qkv_bias": "all" if f"{block}attn.qkv.bias" in tensors else "none",
        "norm_in_attention": f"{block}attn.norm.weight" in tensors,
        "norm_in_mlp": f"{block}mlp.norm.weight" in tensors,
        "gated_mlp": hidden == 2 * mlp_dim,
        "layer_scale": 1e-5 if f"{block}{names['attention_scale']}" in tensors else None,
    }


def positions_of(
    found: Found, values: Mapping[str, Any], assumed: dict[str, str], image_size: Any
) -> dict[str, Any]:
    """The image size, from the table of positions, and how many special tokens it counts.

    Where special tokens have positions at all, all have, unless they are registers: of those, timm's own never do.
    """
    layers = values.get("resnet_layers")
    stride = 1 if layers is None else 4 * 2 ** max(len(layers) - 1, 0)
    reach = (values["patch_size"][0] * stride, values["patch_size"][1] * stride)
    before = int(values["class_token"]) + int(values["distillation_token"])
    special = before + values["registers"]
    if "pos_embed" not in found.tensors:
        grid, counted = grid_without_table(found, reach, assumed, image_size), None
        kind = "none"
    else:
        likeliest = (0, special, before) if values["registers"] else (before, 0)
        grid, counted = grid_of(found, found.size("pos_embed")[1], likeliest, reach, image_size)
        kind = "learned"
    return {
        "image_size": (grid[0] * reach[0], grid[1] * reach[1]),
        "position_embedding": kind,
        "special_positions": None if counted in (None, before) else counted,
    }


def pooling_of(found: Found, asked: str | None) -> dict[str, Any]:
    """The fields of `ViTConfig` about the head."""
    tensors = found.tensors
    after = "fc_norm.weight" in tensors
    if "head_dist.weight" in tensors:
        pool = "distilled"
    elif "attn_pool.latent" in tensors:
        pool = "attention"
    elif asked in POOLS:
        pool = POOLS[asked]
    elif asked:
        raise WeightsError(f"these weights pool by {asked!r}, which vitral does not: it knows {', '.join(POOLS)}")
    else:
        pool = "average" if after or "cls_token" not in tensors else "token"
    classes = found.size("head.weight")[0] if "head.weight" in tensors else 0
    return {"pool": pool, "norm_after_pool": after, "num_classes": classes}


def preprocessing_of(pretrained: Mapping[str, Any], usual: Preprocessing, assumed: dict[str, str]) -> Preprocessing:
    """timm's pretrained_cfg as ours; what it leaves out is as usual."""
    if not pretrained:
        assumed["mean"] = assumed["std"] = assumed["crop_share"] = "as usual for these weights, which files do not say"
        return usual
    fits = {"center": "crop", "squash": "stretch", "border": "pad"}
    interpolation = pretrained.get("interpolation", usual.interpolation)
    return Preprocessing(
        usual.size,
        fits.get(pretrained.get("crop_mode", "center"), "crop"),
        tuple(pretrained.get("mean", usual.mean)),
        tuple(pretrained.get("std", usual.std)),
        interpolation if interpolation in ("bicubic", "bilinear", "nearest") else "bicubic",
        min(float(pretrained.get("crop_pct") or usual.crop_share), 1.0),
        len(tuple(pretrained.get("mean", usual.mean))),
    )


def classes_of(found: Found, config: ViTConfig, assumed: dict[str, str]) -> tuple[str, ...]:
    """Names of the classes; of CLIP's towers the outputs are an embedding, not classes."""
    pretrained = found.config.get("pretrained_cfg") or {}
    names = found.config.get("label_names") or pretrained.get("label_names")
    described = found.config.get("label_descriptions") or pretrained.get("label_descriptions") or {}
    if names:
        names = [described.get(one, one) for one in (names.values() if isinstance(names, Mapping) else names)]
    tag = str(pretrained.get("tag", ""))
    if config.pre_norm and tag and "_ft_" not in tag and not names:
        return ()
    return class_names_for(config.num_classes, assumed, names)


def rules(config: ViTConfig, form: Form) -> Iterator[Rule]:
    """Their tensors for each of ours."""
    return rules_by(config, NAMES)


def rules_by(config: ViTConfig, names: Mapping[str, str]) -> Iterator[Rule]:
    """The same for every house that shares timm's names but for those in `names`."""
    if config.resnet_layers is not None:
        yield from _stem_rules(config.resnet_layers)
    yield same("embedding.patch.weight", "patch_embed.proj.weight")
    if config.patch_bias:
        yield same("embedding.patch.bias", "patch_embed.proj.bias")
    if config.class_token:
        yield same("embedding.class_token", "cls_token")
    if config.distillation_token:
        yield same("embedding.distillation_token", "dist_token")
    if config.registers:
        yield same("embedding.registers", names["registers"])
    if config.mask_token:
        yield same("embedding.mask_token", names["mask_token"])
    if config.position_embedding in ("learned", "learned_rope"):
        yield same("embedding.position.table", "pos_embed")
    if config.pre_norm:
        yield from both("embedding.norm", "norm_pre")
    for layer in range(config.layers):
        yield from _block_rules(config, f"blocks.{layer}", names)
    yield from both("norm", "fc_norm" if config.norm_after_pool else "norm")
    if config.pool == "attention":
        yield from _pooling_rules(config.dim)
    if config.num_classes:
        yield from both("head", "head")
        if config.pool == "distilled":
            yield from both("distillation_head", "head_dist")


def _block_rules(config: ViTConfig, block: str, names: Mapping[str, str]) -> Iterator[Rule]:
    yield from both(f"{block}.attention_norm", f"{block}.norm1")
    yield same(f"{block}.attention.qkv.weight", f"{block}.attn.qkv.weight")
    if config.qkv_bias == "all":
        yield same(f"{block}.attention.qkv.bias", f"{block}.attn.qkv.bias")
    if config.norm_in_attention:
        yield from both(f"{block}.attention.norm", f"{block}.attn.norm")
    yield from both(f"{block}.attention.out", f"{block}.attn.proj")
    if config.layer_scale is not None:
        yield same(f"{block}.attention_scale.scale", f"{block}.{names['attention_scale']}")
        yield same(f"{block}.mlp_scale.scale", f"{block}.{names['mlp_scale']}")
    yield from both(f"{block}.mlp_norm", f"{block}.norm2")
    yield from both(f"{block}.mlp.hidden", f"{block}.{names['hidden']}")
    if config.norm_in_mlp:
        yield from both(f"{block}.mlp.norm", f"{block}.mlp.norm")
    yield from both(f"{block}.mlp.out", f"{block}.{names['out']}")


def _pooling_rules(dim: int) -> Iterator[Rule]:
    """Attention pooling; they keep the query's projection apart from that of keys and values."""
    yield same("attention_pooling.query", "attn_pool.latent")
    for kind in ("weight", "bias"):
        yield Rule(
            f"attention_pooling.qkv.{kind}",
            (f"attn_pool.q.{kind}", f"attn_pool.kv.{kind}"),
            lambda *parts: torch.cat(parts),
            lambda tensor: tensor.split([dim, 2 * dim]),
        )
    yield from both("attention_pooling.out", "attn_pool.proj")
    yield from both("attention_pooling.norm", "attn_pool.norm")
    yield from both("attention_pooling.mlp.hidden", "attn_pool.mlp.fc1")
    yield from both("attention_pooling.mlp.out", "attn_pool.mlp.fc2")


def _stem_of(found: Found) -> dict[str, Any]:
    """The hybrid's ResNet: only the paper's own kind."""
    root = next((one for one in ("stem.", "") if f"patch_embed.backbone.{one}conv.weight" in found.tensors), None)
    stages = found.count(r"patch_embed\.backbone\.stages\.(\d+)\.")
    unit = r"patch_embed\.backbone\.stages\.{}\.blocks\.(\d+)\."
    if root is None or any(name.endswith("running_mean") for name in found.tensors):
        raise WeightsError(
            "these weights have a convolutional stem other than the paper's (no group norm): vitral does not read them"
        )
    return {
        "resnet_layers": tuple(found.count(unit.format(stage)) for stage in range(stages)),
        "resnet_form": "timm",
        "channels": found.size(f"patch_embed.backbone.{root}conv.weight")[1],
    }


def _stem_rules(layers: tuple[int, ...]) -> Iterator[Rule]:
    ours, theirs = "embedding.stem", "patch_embed.backbone"
    root = f"{theirs}.stem" if layers else theirs
    yield same(f"{ours}.root.weight", f"{root}.conv.weight")
    yield from both(f"{ours}.root_norm", f"{root}.norm")
    for stage, units in enumerate(layers):
        for unit in range(units):
            our_unit, their_unit = f"{ours}.stages.{stage}.{unit}", f"{theirs}.stages.{stage}.blocks.{unit}"
            for number in (1, 2, 3):
                yield same(f"{our_unit}.conv{number}.weight", f"{their_unit}.conv{number}.weight")
                yield from both(f"{our_unit}.norm{number}", f"{their_unit}.norm{number}")
            if unit == 0:
                yield same(f"{our_unit}.shortcut.weight", f"{their_unit}.downsample.conv.weight")
                yield from both(f"{our_unit}.shortcut_norm", f"{their_unit}.downsample.norm")


def _activation(name: str, arguments: Mapping[str, Any], assumed: dict[str, str]) -> str:
    known = {"gelu": "gelu", "gelu_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "quickgelu": "quick_gelu"}
    asked = arguments.get("act_layer")
    if asked:
        if asked not in known:
            raise WeightsError(f"these weights have the activation {asked!r}, which vitral does not know")
        return known[asked]
    if not name:
        assumed["activation"] = "exact, as most of timm's; some SigLIPs have gelu_tanh, OpenAI's CLIP quick_gelu"
    if "quickgelu" in name:
        return "quick_gelu"
    return "gelu_tanh" if TANH.match(name) else "gelu"
