"""timm's Eva: EVA, EVA-02 and its CLIP towers, DINOv3, and timm's own ViTs with rotary positions.

Two kinds of rotary positions. That of DINOv3 pairs numbers half a head apart, as ours does. That of EVA-02 pairs
neighbours, so the rows of its queries and keys change places here: both take the same numbers through the same turns.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitral.errors import WeightsError
from vitral.images import HALF, IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitral.model import ViTConfig
from vitral.weights.families import timm
from vitral.weights.reading import CLIP_MEAN, CLIP_STD, Found, Reading
from vitral.weights.rules import Form, Rule, Tensors, both, same

TITLE = "timm's Eva"
NAMES = timm.NAMES | {"attention_scale": "gamma_1", "mlp_scale": "gamma_2"}
APART = ("mlp.fc1_g", "mlp.fc1_x")  # gate and value, where they are layers of their own

# The two kinds of rotary positions, and the arguments that must be as here where they are given.
DINOV3, EVA02 = "dinov3", "cat"
USUAL: dict[str | None, dict[str, Any]] = {
    DINOV3: {"rope_type": DINOV3, "rope_temperature": 100, "rope_rotate_half": True},
    EVA02: {"rope_type": EVA02, "rope_temperature": 10_000, "rope_rotate_half": False},
    None: {},
}
ALWAYS = {"attn_type": "eva", "use_post_norm": False, "rope_grid_offset": 0, "rope_grid_indexing": "ij"}
GRID = (16, 16)  # on which all published networks of EVA-02's kind were pre-trained
HEADS = {1280: 20, 4096: 32}  # of DINOv3, where they are not as usual
# In an architecture's name.
LIKE_DINOV3, LIKE_EVA02 = re.compile("dinov3|lingbot"), re.compile("eva02|_rope_")


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are names of theirs."""
    shown = {"blocks.0.attn.q_bias", "blocks.0.attn.q_proj.weight", "blocks.0.gamma_1"} & set(names)
    usual = {"blocks.0.norm1.weight", "patch_embed.proj.weight"} <= set(names)
    return usual and (bool(shown) or timm.says_eva(config))


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """Their tensors as they are; the form says whether queries, keys and values are `fused` and the gate `packed`."""
    form = {
        "fused": "blocks.0.attn.qkv.weight" in tensors,
        "packed": f"blocks.0.{APART[0]}.weight" not in tensors,
    }
    return dict(tensors), form


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors, and from timm's config.json where there is one."""
    assumed: dict[str, str] = {}
    name, arguments, pretrained = timm.described(found)
    values = timm.blocks_of(found, NAMES if form["packed"] else NAMES | {"hidden": APART[0]})
    values["gated_mlp"] = values["gated_mlp"] or not form["packed"]
    kind = _rotary_kind(found, values, name, arguments, assumed)
    timm.refuse_strange(found, name, arguments, ALWAYS | USUAL[kind])
    _refuse_lookalikes(found, values["dim"], name)
    biased = "blocks.0.attn.q_bias" if form["fused"] else "blocks.0.attn.q_proj.bias"
    values["qkv_bias"] = "no_key" if biased in found.tensors else "none"
    values |= timm.positions_of(found, values, assumed, timm.image_size_of(arguments, pretrained))
    if kind is not None:
        values["position_embedding"] = "rope" if values["position_embedding"] == "none" else "learned_rope"
    if kind == EVA02:
        values["rope_grid"] = _rope_grid(values, name, arguments, assumed)
    known = HEADS.get(values["dim"]) if kind == DINOV3 else None
    values["heads"] = timm.heads_by(found, arguments, values["dim"], known)
    values["norm_epsilon"] = 1e-5 if (LIKE_DINOV3.search(name) if name else kind == DINOV3) else 1e-6
    if not name:
        assumed["heads"] = "dim / 64, or as published for this dim"
        assumed["norm_epsilon"] = "timm's for DINOv3" if kind == DINOV3 else "timm's but for DINOv3"
    values["activation"] = "silu" if values["gated_mlp"] else "gelu"
    values |= _pooling(found, kind, name, arguments, assumed)
    config = ViTConfig(**values, position_interpolation="bicubic_antialias")
    usual = _usual_preprocessing(config, kind)
    preprocessing = timm.preprocessing_of(pretrained, usual, config.channels, assumed)
    return Reading(config, preprocessing, timm.classes_of(found, config, assumed), assumed)


def _rotary_kind(
    found: Found, values: Mapping[str, Any], name: str, arguments: Mapping[str, Any], assumed: dict[str, str]
) -> str | None:
    """Which rotary positions there are: the metadata's word, else by what goes together in published networks."""
    if arguments.get("use_rot_pos_emb") is False:
        return None
    if "rope_type" in arguments:
        kind = str(arguments["rope_type"])
        return kind if kind in USUAL else EVA02  # whose usual arguments then refuse it
    if name:
        if LIKE_DINOV3.search(name):
            return DINOV3
        return EVA02 if LIKE_EVA02.search(name) or arguments.get("use_rot_pos_emb") else None
    positions = "pos_embed" in found.tensors
    if positions and not values["gated_mlp"]:
        kind = None
    elif positions or not values["class_token"] or "norm.weight" not in found.tensors:
        kind = EVA02
    else:
        kind = DINOV3
    assumed["position_embedding"] = {
        None: "no rotary positions, as in EVA: the MLP has no gate",
        EVA02: "rotary as in EVA-02: by the learned positions, or the missing class token",
        DINOV3: "rotary as in DINOv3: by the class token, registers and no learned positions",
    }[kind]
    return kind


def _refuse_lookalikes(found: Found, dim: int, name: str) -> None:
    """Refuse what only a trait or two tell from networks that ours can be.

    Raises:
        WeightsError: this is one.
    """
    if "blocks.0.attn.qkv.bias" in found.tensors:
        raise WeightsError(
            "these weights have layer scales and a bias of the keys: either RoPE-ViT's, whose rotary positions vitral "
            'does not support, or DeiT III\'s, then say family="facebook", or --family facebook'
        )
    if "attn_pool.latent" in found.tensors:
        raise WeightsError("these weights pool special tokens by attention, which vitral does not support")
    if not name and dim == 1792:
        raise WeightsError(
            "these weights have the dim of EVA-02's largest, with norms after attention and MLP, which vitral does not "
            "support"
        )


def _rope_grid(
    values: Mapping[str, Any], name: str, arguments: Mapping[str, Any], assumed: dict[str, str]
) -> tuple[int, int]:
    """The grid in whose patches EVA-02's rotary positions are counted; the network's where the metadata say none."""
    if not name:
        assumed["rope_grid"] = "16 x 16, as in all published weights of this kind"
    usual = GRID if not name or LIKE_EVA02.search(name) else None
    (height, width), (rows, columns) = values["image_size"], values["patch_size"]
    grid = arguments.get("ref_feat_shape", usual) or (height // rows, width // columns)
    return (grid, grid) if isinstance(grid, int) else grid


def _pooling(
    found: Found, kind: str | None, name: str, arguments: Mapping[str, Any], assumed: dict[str, str]
) -> dict[str, Any]:
    """The fields about the head. timm averages DINOv3's patches, which its authors do not."""
    asked = str(arguments.get("global_pool") or "")
    if not asked and kind == DINOV3:
        asked = "token" if "lingbot" in name else "avg"
        assumed["pool"] = f"{asked}, timm's for these; DINOv3's authors take the class token"
    return timm.pooling_of(found, asked, assumed)


def _usual_preprocessing(config: ViTConfig, kind: str | None) -> Preprocessing:
    if kind == DINOV3:
        return Preprocessing(config.image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    if config.position_embedding == "rope":
        return Preprocessing(config.image_size, mean=HALF, std=HALF, crop_share=0.95)
    return Preprocessing(config.image_size, mean=CLIP_MEAN, std=CLIP_STD, crop_share=0.9)


def rules(config: ViTConfig, form: Form) -> Iterator[Rule]:
    """Their tensors for each of ours."""
    hidden = _gate_apart if config.gated_mlp and not form["packed"] else both
    return timm.rules_by(config, NAMES, partial(_attention, fused=form["fused"]), hidden)


def _attention(config: ViTConfig, ours: str, theirs: str, fused: bool) -> Iterator[Rule]:
    """Queries, keys and values, which have no bias of the keys."""
    turned = config.rope_grid is not None
    count = (config.heads, config.head_dim // 2)

    def ours_of(*parts: Tensor) -> Tensor:
        q, k, v = parts[0].chunk(3) if fused else parts
        return torch.cat([_apart(q, *count), _apart(k, *count), v]) if turned else torch.cat([q, k, v])

    def theirs_of(tensor: Tensor) -> list[Tensor]:
        q, k, v = tensor.chunk(3)
        parts = [_together(q, *count), _together(k, *count), v] if turned else [q, k, v]
        return [torch.cat(parts)] if fused else parts

    if fused and not turned:
        yield same(f"{ours}.qkv.weight", f"{theirs}.qkv.weight")
    else:
        weights = ("qkv.weight",) if fused else ("q_proj.weight", "k_proj.weight", "v_proj.weight")
        yield Rule(f"{ours}.qkv.weight", tuple(f"{theirs}.{one}" for one in weights), ours_of, theirs_of)
    if config.qkv_bias == "no_key":
        query, value = ("q_bias", "v_bias") if fused else ("q_proj.bias", "v_proj.bias")
        if turned:
            yield Rule(
                f"{ours}.query_bias",
                (f"{theirs}.{query}",),
                lambda bias: _apart(bias, *count),
                lambda bias: [_together(bias, *count)],
            )
        else:
            yield same(f"{ours}.query_bias", f"{theirs}.{query}")
        yield same(f"{ours}.value_bias", f"{theirs}.{value}")


def _apart(rows: Tensor, heads: int, half: int) -> Tensor:
    """Rows of neighbours that turn together, to half a head apart: `(heads * 2 * half, …)` in another order."""
    return rows.unflatten(0, (heads, half, 2)).transpose(1, 2).flatten(0, 2)


def _together(rows: Tensor, heads: int, half: int) -> Tensor:
    """The inverse of `_apart`."""
    return rows.unflatten(0, (heads, 2, half)).transpose(1, 2).flatten(0, 2)


def _gate_apart(ours: str, theirs: str) -> Iterator[Rule]:
    """The MLP's first layer from gate and value in layers of their own."""
    block = theirs.removesuffix(NAMES["hidden"])
    for kind in ("weight", "bias"):
        yield Rule(
            f"{ours}.{kind}",
            tuple(f"{block}{part}.{kind}" for part in APART),
            lambda *parts: torch.cat(parts),
            lambda tensor: tensor.chunk(2),
        )


def form_for(config: ViTConfig) -> Form:
    """A layout for a network of any origin: timm keeps the gate apart where a norm follows it."""
    return {"fused": True, "packed": not (config.gated_mlp and config.norm_in_mlp)}


def architecture_for(config: ViTConfig, form: Form) -> tuple[str, dict[str, Any]]:
    """A name of timm's registry and the arguments that make it this network, in this layout.

    Epsilon is settled by the name alone, and that with 1e-5 has layer scales.
    """
    name = "vit_small_patch16_dinov3" if config.norm_epsilon == 1e-5 else "eva02_tiny_patch14_224"
    kind = None if not config.rotary else DINOV3 if config.rope_grid is None else EVA02
    arguments = {
        "img_size": list(config.image_size),
        "patch_size": list(config.patch_size),
        "in_chans": config.channels,
        "num_classes": config.num_classes,
        "global_pool": "token" if config.pool == "token" else "avg",
        "embed_dim": config.dim,
        "depth": config.layers,
        "num_heads": config.heads,
        "qkv_bias": config.qkv_bias == "no_key",
        "qkv_fused": form["fused"],
        "mlp_ratio": (config.mlp_dim + 0.5) / config.dim,  # timm multiplies and cuts off
        "swiglu_mlp": config.gated_mlp,
        "swiglu_align_to": 0 if form["packed"] else 1,
        "scale_mlp": config.norm_in_mlp,
        "scale_attn_inner": config.norm_in_attention,
        "class_token": config.class_token,
        "num_reg_tokens": config.registers,
        "no_embed_class": config.positioned_tokens == 0,
        "use_abs_pos_emb": config.position_embedding in ("learned", "learned_rope"),
        "use_rot_pos_emb": config.rotary,
        "use_fc_norm": config.norm_after_pool,
        "dynamic_img_size": False,
        **USUAL[kind],
    }
    if config.layer_scale is not None:
        arguments["init_values"] = config.layer_scale
    if config.rope_grid is not None:
        arguments["ref_feat_shape"] = list(config.rope_grid)
    return name, arguments
