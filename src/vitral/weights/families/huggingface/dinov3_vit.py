"""DINOv3's ViT of transformers: rotary positions, registers, and any of its layers without bias."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from vitral.errors import WeightsError
from vitral.images import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitral.model import ViTConfig
from vitral.weights.families.huggingface.common import (
    Names,
    biases_of,
    blocks_of,
    clean_by,
    has_config,
    has_embeddings,
    image_size_of,
    registers_of,
    rules_by,
    setting,
)
from vitral.weights.families.huggingface.preprocessing import preprocessing_of
from vitral.weights.reading import Found, Reading
from vitral.weights.rules import Form, Rule, Tensors, reshaped, same

TITLE = "transformers' DINOv3"
PREFIXES = ()
USUAL = {"num_attention_heads": 6, "hidden_act": "gelu", "layer_norm_eps": 1e-5}
PREPROCESSING = Preprocessing((224, 224), "stretch", IMAGENET_MEAN, IMAGENET_STD, "bilinear")
HEADS = {1280: 20, 4096: 32}  # ViT-H+ and ViT-7B
# What config.json says of each part's bias, and its default.
BIASES = {"query": True, "key": False, "value": True, "proj": True, "mlp": True}

SAVED = Names(
    patch="embeddings.patch_embeddings",
    norm="norm",
    blocks="layer",
    attention_norm="norm1",
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    out="attention.o_proj",
    mlp_norm="norm2",
    hidden=("mlp.up_proj",),
    mlp_out="mlp.down_proj",
    attention_scale="layer_scale1.lambda1",
    mlp_scale="layer_scale2.lambda1",
)
NAMINGS = {"saved": SAVED, "memory": replace(SAVED, blocks="model.layer")}


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are DINOv3's."""
    if "model_type" in config:
        return config["model_type"] == "dinov3_vit" and has_embeddings(names)
    return "embeddings.patch_embeddings.weight" in names and any(
        f"{one.blocks}.0.norm1.weight" in names for one in NAMINGS.values()
    )


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """Their tensors but for the angles' buffer; the form also says `biases`, the dense layers that have one."""
    found, form = clean_by(tensors, PREFIXES, r"rope_embeddings\..*")
    return found, form | {"biases": sorted(biases_of(found.keys(), NAMINGS[form["naming"]]))}


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors and config.json.

    Raises:
        WeightsError: rotary positions or biases that the model does not have, or config.json contradicts the tensors.
    """
    assumed: dict[str, str] = {}
    names = NAMINGS[form["naming"]]
    if (theta := setting(found, "rope_theta", 100.0)) != 100:
        raise WeightsError(f"these weights have rope_theta {theta}: vitral's rotary positions have 100")
    gated = any(".mlp.gate_proj." in name for name in found.tensors)
    # Published gated networks are SwiGLU, though the class's default is GELU in either case.
    usual = USUAL | {"hidden_act": "silu"} if gated and not has_config(found) else USUAL
    values = blocks_of(found, names, usual, TITLE, assumed, HEADS)
    values["qkv_bias"] = _qkv_bias(found, form["biases"])
    config = ViTConfig(
        **values,
        image_size=image_size_of(found, names, assumed, None),
        position_embedding="rope",
        registers=registers_of(found, 0),
        mask_token="embeddings.mask_token" in found.tensors,
        layer_scale=float(setting(found, "layerscale_value", 1.0)),
        gated_mlp=gated,
        num_classes=0,
    )
    return Reading(config, preprocessing_of(found.processor, config, PREPROCESSING, assumed), (), assumed)


def _qkv_bias(found: Found, biases: Collection[str]) -> str:
    if has_config(found):
        for part, usual in BIASES.items():
            there = ("out" if part == "proj" else part) in biases
            if setting(found, f"{part}_bias", usual) != there:
                state = "have one" if there else "have none"
                raise WeightsError(
                    f"config.json says {part}_bias {str(not there).lower()} and the tensors {state}: "
                    "take both from one source"
                )
    parts = {"query", "key", "value"} & set(biases)
    if "key" not in parts:
        return "no_key" if parts else "none"
    if len(parts) < 3:
        raise WeightsError(
            f"these weights have a bias for {' and '.join(sorted(parts))} alone, vitral's for all three"
        )
    return "all"


def rules(config: ViTConfig, form: Form) -> Iterator[Rule]:
    """Their cleaned tensors for each of ours."""
    names = NAMINGS[form["naming"]]
    if config.gated_mlp:
        names = replace(names, hidden=("mlp.gate_proj", "mlp.up_proj"))
    yield same("embedding.class_token", "embeddings.cls_token")
    if config.registers:
        yield same("embedding.registers", "embeddings.register_tokens")
    if config.mask_token:
        yield reshaped("embedding.mask_token", "embeddings.mask_token", (1, config.dim), (1, 1, config.dim))
    yield from rules_by(config, names, form["biases"])
