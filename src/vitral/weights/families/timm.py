"""timm's VisionTransformer: ViT of all sizes, DeiT plain, distilled and III, DINO, DINOv2, MAE, SigLIP, CLIP, hybrids.

Many training codes share these names, which began as theirs: `eva` and `facebook` read by the same rules.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
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
    for_channels,
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
    "head": "head",
}
POOLS = {"token": "token", "avg": "average", "map": "attention"}

# What only the architecture's name tells: which SigLIPs have the tanh form of GELU, where epsilon is 1e-5, and which
# networks have unusual heads.
TANH = re.compile(
    r"vit_(base_patch32_siglip|giantopt_patch16_siglip|so400m_patch16_siglip|large_patch16_siglip_(gap_)?512)"
)
WIDE_EPSILON = re.compile(r"vit_\w+_clip_|beit3_")
HEADS = {
    r"vit_base_patch16_gap_224": 16,
    r"vit_giantopt_patch16_siglip_\w+": 16,
    r"test_vit2?": 2,
    r"test_vit[34]": 3,
}

# What networks of timm's may have and ours have not: by a tensor that shows it, and where none does by the name.
STRANGE_TENSORS = {
    r"blocks\.0\.(in_norm|attns\.0)\..+": "parallel blocks",
    r"blocks\.0\.attn\.lambda_.+": "differential attention",
    r"blocks\.0\.attn\.[qk]_norm\..+": "norms of queries and keys",
    r"blocks\.0\.attn\.gate\..+": "gated attention",
    r"blocks\.0\.attn\.proj_l\..+": "talking heads",
    r".*rel(ative)?_pos.*": "relative positions",
    r"rope\.freqs": "rotary positions of learned frequencies",
}
STRANGE_NAMES = {
    r"vit_base_patch16_rpn_224|eva02_enormous_\w+": "norms after attention and MLP",
    r"vit_\w+_rope_(mixed_)?(ape_)?224": "the rotary positions of RoPE-ViT",
    r"vit_pe_\w+": "the rotary positions of the Perception Encoder",
    r"test_vit3": "a pooling that looks at registers",
}
# In the names of architectures that another class of timm's builds.
EVA = re.compile(r"eva02_|eva_giant_|dinov3|lingbot|_rope_|vit_pe_|sapiens2")
# What pretrained_cfg says and we use, beside names of classes.
PRETRAINED = ("input_size", "mean", "std", "crop_pct", "crop_mode", "interpolation")
# Arguments that must be as here where they are given.
USUAL = {"norm_layer": "layernorm", "attn_layer": "attn", "pool_include_prefix": False}


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are names of theirs; parallel blocks are, for `read` to refuse."""
    names = set(names)
    usual = {"blocks.0.norm1.weight", "blocks.0.attn.qkv.weight"} <= names
    return (
        (usual or bool({"blocks.0.in_norm.weight", "blocks.0.attns.0.norm.weight"} & names))
        and any(re.match(r"patch_embed\.(proj\.weight$|backbone\.)", name) for name in names)
        and not {"mask_token", "register_tokens", "storage_tokens", "decoder_embed.weight"} & names
        and not any(re.search(r"\.(gamma_1|q_bias|q_proj\.weight|mlp\.w12\.weight)$", name) for name in names)
        and not says_eva(config)
    )


def says_eva(config: Mapping[str, Any]) -> bool:
    """Whether timm's config.json is of its class Eva, whose tensors may have the very same names."""
    arguments = config.get("model_args")
    named = re.search(EVA, str(config.get("architecture", "")))
    return bool(named) or (isinstance(arguments, Mapping) and "use_rot_pos_emb" in arguments)


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """Their tensors as they are."""
    return dict(tensors), {}


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors, and from timm's config.json where there is one."""
    assumed: dict[str, str] = {}
    name, arguments, pretrained = described(found)
    refuse_strange(found, name, arguments, USUAL)
    values = blocks_of(found, NAMES)
    values |= positions_of(found, values, assumed, image_size_of(arguments, pretrained))
    if values["position_embedding"] == "none" and not name:
        assumed["position_embedding"] = "none: there is no table, and nothing says that they are rotary"
    known = next((heads for names, heads in HEADS.items() if re.fullmatch(names, name)), None)
    if not name and values["dim"] == 1536 and not values["class_token"]:
        known = 16  # the largest SigLIP
    values["heads"] = heads_by(found, arguments, values["dim"], known)
    wide = WIDE_EPSILON.match(name) if name else values["pre_norm"] or values["norm_in_attention"]
    values["norm_epsilon"] = 1e-5 if wide and "norm_layer" not in arguments else 1e-6
    if not name:
        assumed["heads"] = "dim / 64, or as published for this dim"
        assumed["norm_epsilon"] = "timm's for CLIP and BEiT-3" if wide else "timm's but for CLIP and BEiT-3"
    values["activation"] = "silu" if values["gated_mlp"] else _activation(name, arguments, assumed)
    values |= pooling_of(found, str(arguments.get("global_pool") or ""), assumed)
    config = ViTConfig(**values, position_interpolation="bicubic_antialias")
    usual = Preprocessing(config.image_size, mean=HALF, std=HALF, crop_share=0.9)
    if values["pre_norm"]:
        usual = Preprocessing(config.image_size, mean=CLIP_MEAN, std=CLIP_STD)
    preprocessing = preprocessing_of(pretrained, usual, config.channels, assumed)
    return Reading(config, preprocessing, classes_of(found, config, assumed), assumed)


def described(found: Found) -> tuple[str, dict[str, Any], Mapping[str, Any]]:
    """The architecture's name, its arguments and pretrained_cfg in timm's config.json; in older ones all are one."""
    config = found.config
    arguments, pretrained = config.get("model_args"), config.get("pretrained_cfg")
    if not isinstance(pretrained, Mapping):
        pretrained = {name: config[name] for name in PRETRAINED if name in config}
    return (
        str(config.get("architecture") or ""),
        {**config, **(arguments if isinstance(arguments, Mapping) else {})},
        pretrained,
    )


def refuse_strange(found: Found, name: str, arguments: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """Refuse what ours have not.

    Args:
        found: the checkpoint.
        name: of the architecture, "" where nobody says it.
        arguments: that it was made with.
        usual: those of them that must be as here where they are given.

    Raises:
        WeightsError: there is something; the text names it.
    """
    tensors = found.tensors
    what = next((what for names, what in STRANGE_NAMES.items() if re.fullmatch(names, name)), None)
    for pattern, meaning in STRANGE_TENSORS.items():
        shown = next((tensor for tensor in tensors if re.fullmatch(pattern, tensor)), None)
        what = what or (shown and f"{meaning} ({shown})")
    if what is None and {"norm_pre.weight", "attn_pool.latent"} <= tensors.keys():
        what = "the rotary positions of the Perception Encoder"
    if what is None and "blocks.0.norm1.bias" not in tensors:
        what = "norms without biases (RMS norms)"
    for key, value in usual.items():
        if what is None and arguments.get(key) not in (None, value):
            what = f"{key} {arguments[key]!r}"
    if what is not None:
        raise WeightsError(f"these weights have {what}, which vitral does not support")
    if not {"norm.weight", "fc_norm.weight"} & tensors.keys():
        raise WeightsError("these weights have no norm after the last block, which vitral's networks have")


def heads_by(found: Found, arguments: Mapping[str, Any], dim: int, known: int | None) -> int:
    """The number of heads: the user's word, the metadata's, as `known` for the architecture, else by the dim.

    Raises:
        WeightsError: the metadata change the architecture's dim and do not say the heads, or the dim gives no hint.
    """
    said = found.overrides.heads or arguments.get("num_heads")
    if said is None and "embed_dim" in arguments:
        raise WeightsError(
            "config.json changes embed_dim and does not say num_heads: say heads=N, or --heads N"
        )
    return said or known or heads_of(found, dim, TITLE)


def image_size_of(arguments: Mapping[str, Any], pretrained: Mapping[str, Any]) -> Any:
    """The image size that the metadata say, as they write it."""
    channels_and_size = pretrained.get("input_size")
    size = channels_and_size[1:] if isinstance(channels_and_size, (list, tuple)) else None
    return arguments.get("img_size") or size or None


def blocks_of(found: Found, names: Mapping[str, str]) -> dict[str, Any]:
    """The fields of `ViTConfig` that the tensors alone settle."""
    tensors = found.tensors
    stem = _stem_of(found) if any(name.startswith("patch_embed.backbone.") for name in tensors) else {}
    dim, channels, *patch = found.size("patch_embed.proj.weight", 4)
    block = "blocks.0."
    hidden = found.size(f"{block}{names['hidden']}.weight")[0]
    mlp_dim = found.size(f"{block}{names['out']}.weight")[1]
    return {
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
    } | stem


def positions_of(
    found: Found,
    values: Mapping[str, Any],
    assumed: dict[str, str],
    image_size: Any,
    likeliest: tuple[int, ...] | None = None,
) -> dict[str, Any]:
    """The image size, from the table of positions, and how many special tokens it counts.

    Args:
        found: the checkpoint.
        values: its fields as `blocks_of` gives them.
        assumed: takes the notes.
        image_size: as the metadata say.
        likeliest: how many special tokens may have positions, the likeliest number first; timm's, where left out:
            all or none, and none where there are registers.
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
        likeliest = likeliest or ((0, special, before) if values["registers"] else (before, 0))
        grid, counted = grid_of(found, found.size("pos_embed")[1], likeliest, reach, assumed, image_size)
        kind = "learned"
    size = (grid[0] * reach[0], grid[1] * reach[1])
    if image_size is not None and list(size) != _sides(image_size):
        assumed["image_size"] = f"that of the whole patches; the metadata say {image_size}"
    return {
        "image_size": size,
        "position_embedding": kind,
        "special_positions": None if counted in (None, before) else counted,
    }


def pooling_of(found: Found, asked: str, assumed: dict[str, str]) -> dict[str, Any]:
    """The fields of `ViTConfig` about the head; `asked` is timm's global_pool, where the metadata say it.

    Raises:
        WeightsError: it is none of ours.
    """
    tensors = found.tensors
    after = "fc_norm.weight" in tensors
    if "dist_token" in tensors:
        pool = "distilled"
    elif "attn_pool.latent" in tensors:
        pool = "attention"
    elif asked in POOLS:
        pool = POOLS[asked]
    elif asked:
        known = ", ".join(POOLS)
        raise WeightsError(f"these weights pool by {asked!r}, which vitral does not: it knows {known}")
    elif after or "cls_token" not in tensors:
        pool = "average"
        if "cls_token" in tensors:
            assumed["pool"] = "the average of the patches, as usual where a norm follows the pooling"
    else:
        pool = "token"
        assumed["pool"] = "the class token, as usual where there is one and no norm after the pooling"
    classes = found.size("head.weight")[0] if "head.weight" in tensors else 0
    return {"pool": pool, "norm_after_pool": after, "num_classes": classes}


def preprocessing_of(
    pretrained: Mapping[str, Any], usual: Preprocessing, channels: int, assumed: dict[str, str]
) -> Preprocessing:
    """timm's pretrained_cfg as ours; what it leaves out is as usual, for other channels see `for_channels`."""
    said = {name: pretrained[name] for name in PRETRAINED if pretrained.get(name)}
    for theirs, ours in (("mean", "mean"), ("std", "std"), ("crop_pct", "crop_share")):
        if theirs not in said:
            assumed[ours] = "as usual for these weights, which files do not say"
    fits = {"center": "crop", "squash": "stretch", "border": "pad"}
    interpolation = said.get("interpolation", usual.interpolation)
    try:
        mean, std = (
            for_channels([float(number) for number in said.get(name, getattr(usual, name))], channels)
            for name in ("mean", "std")
        )
        return Preprocessing(
            usual.size,
            fits.get(str(said.get("crop_mode")), "crop"),
            mean,
            std,
            interpolation if interpolation in ("bicubic", "bilinear", "nearest") else "bicubic",
            min(float(said.get("crop_pct", usual.crop_share)), 1.0),
            channels,
        )
    except (TypeError, ValueError) as error:
        raise WeightsError(f"pretrained_cfg in config.json is damaged ({error}): fetch it again") from error


def classes_of(found: Found, config: ViTConfig, assumed: dict[str, str]) -> tuple[str, ...]:
    """Names of the classes; of CLIP's towers the outputs are an embedding, not classes."""
    pretrained = found.config.get("pretrained_cfg")
    pretrained = pretrained if isinstance(pretrained, Mapping) else {}
    names = found.config.get("label_names") or pretrained.get("label_names")
    described = found.config.get("label_descriptions") or pretrained.get("label_descriptions")
    if isinstance(names, Mapping):
        names = list(names.values())
    if isinstance(names, list) and isinstance(described, Mapping):
        names = [described.get(str(one), one) for one in names]
    tag, clip = (
        str(pretrained.get("tag", "")),
        config.pre_norm or "_clip_" in str(found.config.get("architecture")),
    )
    if clip and tag and "_ft_" not in tag and not names:
        return ()
    return class_names_for(config.num_classes, assumed, names if isinstance(names, list) else None)


def rules(config: ViTConfig, form: Form) -> Iterator[Rule]:
    """Their tensors for each of ours."""
    return rules_by(config, NAMES)


def attention_rules(config: ViTConfig, ours: str, theirs: str) -> Iterator[Rule]:
    """Queries, keys and values of a block in one layer."""
    yield same(f"{ours}.qkv.weight", f"{theirs}.qkv.weight")
    if config.qkv_bias == "all":
        yield same(f"{ours}.qkv.bias", f"{theirs}.qkv.bias")


def rules_by(
    config: ViTConfig,
    names: Mapping[str, str],
    attention: Callable[[ViTConfig, str, str], Iterator[Rule]] = attention_rules,
    hidden: Callable[[str, str], Iterator[Rule]] = both,
) -> Iterator[Rule]:
    """The same for every house that shares timm's names.

    Args:
        config: of the network.
        names: those that differ, see `NAMES`.
        attention: the rules of queries, keys and values, from our name of the attention and theirs.
        hidden: the rules of the MLP's first layer, likewise.
    """
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
        block = f"blocks.{layer}"
        yield from both(f"{block}.attention_norm", f"{block}.norm1")
        yield from attention(config, f"{block}.attention", f"{block}.attn")
        if config.norm_in_attention:
            yield from both(f"{block}.attention.norm", f"{block}.attn.norm")
        yield from both(f"{block}.attention.out", f"{block}.attn.proj")
        if config.layer_scale is not None:
            yield same(f"{block}.attention_scale.scale", f"{block}.{names['attention_scale']}")
            yield same(f"{block}.mlp_scale.scale", f"{block}.{names['mlp_scale']}")
        yield from both(f"{block}.mlp_norm", f"{block}.norm2")
        yield from hidden(f"{block}.mlp.hidden", f"{block}.{names['hidden']}")
        if config.norm_in_mlp:
            yield from both(f"{block}.mlp.norm", f"{block}.mlp.norm")
        yield from both(f"{block}.mlp.out", f"{block}.{names['out']}")
    yield from both("norm", "fc_norm" if config.norm_after_pool else "norm")
    if config.pool == "attention":
        yield from _pooling_rules(config.dim)
    if config.num_classes:
        yield from both("head", names["head"])
        if config.pool == "distilled":
            yield from both("distillation_head", "head_dist")


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
    root = next(
        (one for one in ("stem.", "") if f"patch_embed.backbone.{one}conv.weight" in found.tensors), None
    )
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
    asked = str(arguments.get("act_layer") or "")
    if asked:
        if asked not in known:
            raise WeightsError(f"these weights have the activation {asked!r}, which vitral does not know")
        return known[asked]
    if not name:
        assumed["activation"] = (
            "exact, as mostly in timm; some SigLIPs have gelu_tanh, OpenAI's CLIP quick_gelu"
        )
    if "quickgelu" in name:
        return "quick_gelu"
    return "gelu_tanh" if TANH.match(name) else "gelu"


def _sides(image_size: Any) -> list[int]:
    """Height and width of an image size that may be one number."""
    return list(image_size) if isinstance(image_size, (list, tuple)) else [image_size, image_size]
