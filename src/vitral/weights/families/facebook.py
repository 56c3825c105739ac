"""facebookresearch's own files, all in timm's names or nearly: DeiT and DeiT III, DINO, DINOv2, MAE.

Those of plain names are theirs only if the training script's wrapper or the user says so, and timm's otherwise: the
networks are the same, preprocessing and the interpolation of positions are not.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from vitral.errors import WeightsError
from vitral.images import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitral.model import ViTConfig
from vitral.weights.families import timm
from vitral.weights.reading import Found, Reading, class_names_for, heads_of, take
from vitral.weights.rules import Form, Rule, Tensors

TITLE = "facebookresearch's code"
WRAPPERS = ("teacher", "model", "model_ema")  # of their training scripts, see `vitral.weights.tensors`

NAMES = timm.NAMES | {"registers": "register_tokens"}
LAYER_SCALE = {"attention_scale": "gamma_1", "mlp_scale": "gamma_2"}  # of DeiT III
GATED = {"hidden": "mlp.w12", "out": "mlp.w3"}  # of DINOv2's giant

# With their linear head, DINOv2's tensors stand behind a name of their own.
BACKBONE, LINEAR = "backbone.", "linear_head"
# Blocks in groups for training: the second number goes on from group to group.
GROUPED = re.compile(r"blocks\.\d+\.(\d+)\.")
DECODER = r"decoder_.*"
DINOV3 = "storage_tokens"  # a tensor that only DINOv3 has


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are names of theirs: timm's, without its config.json, count too; DINOv3's, for `read` to refuse."""
    names = {_plain(name) for name in names} if f"{LINEAR}.weight" in names else {*map(_ungrouped, names)}
    return (
        {"blocks.0.norm1.weight", "blocks.0.attn.qkv.weight", "patch_embed.proj.weight", "cls_token"} <= names
        and ("blocks.0.attn.qkv.bias" in names or DINOV3 in names)
        and not {"reg_token", "norm_pre.weight", "attn_pool.latent"} & names
        and "architecture" not in config
    )


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """Their tensors without MAE's decoder, the blocks in one row.

    The form says what layer scales are called, `gamma` (DeiT III) or `ls` (DINOv2), and whether there was a `decoder`:
    to that the mask token belongs then.
    """
    found = {_plain(name): tensor for name, tensor in tensors.items()}
    decoder = any(re.fullmatch(DECODER, name) for name in found)
    form = {"layer_scale": "gamma" if "blocks.0.gamma_1" in found else "ls", "decoder": decoder}
    return take(found.items(), rf"{DECODER}|mask_token") if decoder else found, form


def read(found: Found, form: Form) -> Reading:
    """The architecture that cleaned tensors show, and what their code takes for granted."""
    assumed = {
        "heads": "dim / 64, or as published for this dim",
        "activation": "as in their code",
        "norm_epsilon": "as in their code",
        "mean": "ImageNet's, as in their code",
        "std": "ImageNet's, as in their code",
        "crop_share": "as in their evaluation",
    }
    if DINOV3 in found.tensors:
        raise WeightsError(
            "these are DINOv3's own tensors, which vitral does not read: take transformers' or timm's"
        )
    timm.refuse_strange(found, "", {}, {})
    gated = "blocks.0.mlp.w12.weight" in found.tensors
    values = timm.blocks_of(found, _names(form, gated))
    before = int(values["class_token"]) + int(values["distillation_token"])
    values |= timm.positions_of(found, values, assumed, None, likeliest=(before, 0))
    values["heads"] = heads_of(found, values["dim"], TITLE)
    values["activation"] = "silu" if gated else "gelu"
    values |= _pooling(found, values["dim"], assumed)
    values["position_interpolation"] = _interpolation(found, form, values, assumed)
    config = ViTConfig(**values)
    preprocessing = Preprocessing(config.image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD, crop_share=0.875)
    return Reading(config, preprocessing, class_names_for(config.num_classes, assumed), assumed)


def _pooling(found: Found, dim: int, assumed: dict[str, str]) -> dict[str, Any]:
    """The fields about the head; DINOv2's linear one sees class token and average of the patches.

    Raises:
        WeightsError: it sees the class tokens of several layers.
    """
    if f"{LINEAR}.weight" not in found.tensors:
        return timm.pooling_of(found, "", assumed)
    classes, width = found.size(f"{LINEAR}.weight")
    if width != 2 * dim:
        raise WeightsError(
            "these weights have a linear head over several layers, which vitral does not support: take DINOv2's head "
            "of one layer"
        )
    return {"pool": "token_average", "num_classes": classes}


def _interpolation(found: Found, form: Form, values: Mapping[str, Any], assumed: dict[str, str]) -> str:
    """How their code brings the positions to another grid."""
    if values["registers"]:
        return "bicubic_antialias"
    if values["mask_token"] or "blocks.0.ls1.gamma" in found.tensors:
        return "bicubic_offset"
    if form["decoder"] or {"head.weight", "fc_norm.weight"} & found.tensors.keys():
        return "bicubic"
    # Encoders of DINO and of MAE have the same names; MAE's is published in a wrapper.
    wrapped = found.header.get("wrapper") in ("model", "model_ema")
    house = "MAE" if wrapped else "DINO"
    assumed["position_interpolation"] = f"that of {house}, by what the tensors stood in"
    return "bicubic" if wrapped else "bicubic_offset"


def rules(config: ViTConfig, form: Form) -> Iterator[Rule]:
    """Their cleaned tensors for each of ours."""
    names = _names(form, config.gated_mlp)
    return timm.rules_by(config, names | ({"head": LINEAR} if config.pool == "token_average" else {}))


def _names(form: Form, gated: bool) -> dict[str, str]:
    return NAMES | (LAYER_SCALE if form["layer_scale"] == "gamma" else {}) | (GATED if gated else {})


def _plain(name: str) -> str:
    return _ungrouped(name.removeprefix(BACKBONE))


def _ungrouped(name: str) -> str:
    return GROUPED.sub(r"blocks.\1.", name)
