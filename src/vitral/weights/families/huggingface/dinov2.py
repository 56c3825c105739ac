"""DINOv2 of transformers, bare or with a classifier; `dinov2_with_registers` reads by the same rules."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from vitral.images import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitral.model import ViTConfig
from vitral.weights.families.huggingface.common import (
    Names,
    blocks_of,
    class_names_of,
    clean_by,
    has_embeddings,
    image_size_of,
    inner_names,
    rules_by,
    setting,
)
from vitral.weights.families.huggingface.preprocessing import preprocessing_of
from vitral.weights.reading import Found, Reading
from vitral.weights.rules import Form, Rule, Tensors, both, same

TITLE = "transformers' DINOv2"
PREFIXES = ("dinov2.",)
USUAL = {"num_attention_heads": 12, "hidden_act": "gelu", "layer_norm_eps": 1e-6}
PREPROCESSING = Preprocessing((224, 224), "crop", IMAGENET_MEAN, IMAGENET_STD, "bicubic", 0.875)

SAVED = Names(
    patch="embeddings.patch_embeddings.projection",
    norm="layernorm",
    blocks="encoder.layer",
    attention_norm="norm1",
    query="attention.attention.query",
    key="attention.attention.key",
    value="attention.attention.value",
    out="attention.output.dense",
    mlp_norm="norm2",
    hidden=("mlp.fc1",),
    mlp_out="mlp.fc2",
    attention_scale="layer_scale1.lambda1",
    mlp_scale="layer_scale2.lambda1",
)
MEMORY = replace(
    SAVED, query="attention.q_proj", key="attention.k_proj", value="attention.v_proj", out="attention.o_proj"
)
# By naming, and by whether the MLP is gated.
NAMINGS = {
    ("saved", False): SAVED,
    ("saved", True): replace(SAVED, hidden=("mlp.weights_in",), mlp_out="mlp.weights_out"),
    ("memory", False): MEMORY,
    ("memory", True): replace(MEMORY, hidden=("mlp.gate_proj", "mlp.up_proj"), mlp_out="mlp.down_proj"),
}


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are DINOv2's, without registers."""
    inner = inner_names(names, PREFIXES)
    if "model_type" in config:
        return config["model_type"] == "dinov2" and has_embeddings(inner)
    return is_dinov2(inner) and "embeddings.register_tokens" not in inner


def is_dinov2(inner: Collection[str]) -> bool:
    """Whether these inner names are of DINOv2, with registers or without."""
    return {"embeddings.position_embeddings", "encoder.layer.0.norm1.weight"} <= set(inner)


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """Their tensors, all of them."""
    return clean_by(tensors, PREFIXES, "")


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors and config.json."""
    return read_as(found, form, TITLE, PREPROCESSING, position_interpolation="bicubic")


def read_as(found: Found, form: Form, house: str, preprocessing: Preprocessing, **fields: Any) -> Reading:
    """The same for those that share these rules; `fields` are those of `ViTConfig` in which they differ."""
    assumed: dict[str, str] = {}
    gated = any(".mlp.weights_" in name or ".mlp.gate_proj." in name for name in found.tensors)
    names = NAMINGS[form["naming"], gated]
    classified = any(name.startswith("classifier.") for name in found.tensors)
    values = blocks_of(found, names, USUAL, house, assumed)
    if gated:  # whatever `hidden_act` says
        values["activation"] = "silu"
        assumed.pop("activation", None)
    config = ViTConfig(
        **values,
        **fields,
        image_size=image_size_of(found, names, assumed, "embeddings.position_embeddings", 1),
        mask_token="embeddings.mask_token" in found.tensors,
        layer_scale=float(setting(found, "layerscale_value", 1.0)),
        gated_mlp=gated,
        pool="token_average" if classified else "token",
        num_classes=found.size("classifier.weight")[0] if classified else 0,
    )
    return Reading(
        config,
        preprocessing_of(found.processor, config, preprocessing, assumed),
        class_names_of(found, config.num_classes, assumed),
        assumed,
    )


def rules(config: ViTConfig, form: Form) -> Iterator[Rule]:
    """Their cleaned tensors for each of ours."""
    yield same("embedding.class_token", "embeddings.cls_token")
    if config.registers:
        yield same("embedding.registers", "embeddings.register_tokens")
    if config.mask_token:
        yield same("embedding.mask_token", "embeddings.mask_token")
    yield same("embedding.position.table", "embeddings.position_embeddings")
    yield from rules_by(config, NAMINGS[form["naming"], config.gated_mlp])
    if config.num_classes:
        yield from both("head", "classifier")
