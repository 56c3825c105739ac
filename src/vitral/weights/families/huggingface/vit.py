"""ViT of transformers, bare, with pooler, or with a classifier; `deit` and `vit_mae` read by the same rules."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from vitral.errors import WeightsError
from vitral.images import HALF, Preprocessing
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
from vitral.weights.rules import Form, Rule, Tensors, both, reshaped, same

TITLE = "transformers' ViT"
PREFIXES = ("vit.",)
DECODER = r"decoder\..*"  # of the pixels of masked patches
USUAL = {"num_attention_heads": 12, "hidden_act": "gelu", "layer_norm_eps": 1e-12}
PREPROCESSING = Preprocessing((224, 224), "stretch", HALF, HALF, "bilinear")

NAMINGS = {
    "saved": Names(
        patch="embeddings.patch_embeddings.projection",
        norm="layernorm",
        blocks="encoder.layer",
        attention_norm="layernorm_before",
        query="attention.attention.query",
        key="attention.attention.key",
        value="attention.attention.value",
        out="attention.output.dense",
        mlp_norm="layernorm_after",
        hidden=("intermediate.dense",),
        mlp_out="output.dense",
    ),
    "memory": Names(
        patch="embeddings.patch_embeddings.projection",
        norm="layernorm",
        blocks="layers",
        attention_norm="layernorm_before",
        query="attention.q_proj",
        key="attention.k_proj",
        value="attention.v_proj",
        out="attention.o_proj",
        mlp_norm="layernorm_after",
        hidden=("mlp.fc1",),
        mlp_out="mlp.fc2",
    ),
}


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are ViT's; without pooler and classifier the tensors may be ViTMAE's as well."""
    inner = inner_names(names, PREFIXES)
    if "model_type" in config:
        return config["model_type"] == "vit" and has_embeddings(inner)
    return is_vit(inner) and not {"embeddings.distillation_token", "decoder.decoder_embed.weight"} & inner


def is_vit(inner: Collection[str]) -> bool:
    """Whether these inner names are of ViT, DeiT or ViTMAE."""
    return "embeddings.position_embeddings" in inner and any(
        f"{names.blocks}.0.{names.attention_norm}.weight" in inner for names in NAMINGS.values()
    )


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """Their tensors but for a decoder; a pooler beside a classifier is left aside, as transformers does."""
    return clean_as(tensors, PREFIXES)


def clean_as(tensors: Mapping[str, Tensor], prefixes: Collection[str]) -> tuple[Tensors, Form]:
    """The same for those that share these rules."""
    classified = any(name.startswith(("classifier.", "cls_classifier.")) for name in tensors)
    return clean_by(tensors, prefixes, rf"{DECODER}|pooler\..*" if classified else DECODER)


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors and config.json."""
    return read_as(found, form, TITLE, USUAL, PREPROCESSING)


def read_as(
    found: Found,
    form: Form,
    house: str,
    usual: Mapping[str, Any],
    preprocessing: Preprocessing,
    distillation_token: bool = False,
) -> Reading:
    """The same for those that share these rules.

    Raises:
        WeightsError: the pooler has another activation than tanh.
    """
    assumed: dict[str, str] = {}
    names, tensors = NAMINGS[form["naming"]], found.tensors
    distilled = any(name.startswith(("cls_classifier.", "distillation_classifier.")) for name in tensors)
    pooler = any(name.startswith("pooler.") for name in tensors)
    classifier = "cls_classifier" if distilled else "classifier"
    classified = any(name.startswith(f"{classifier}.") for name in tensors)
    if pooler and setting(found, "pooler_act", "tanh") != "tanh":
        act = setting(found, "pooler_act", "tanh")
        raise WeightsError(f"these weights have a pooler with activation {act!r}: vitral's has tanh only")
    if not (pooler or classified or distilled):
        assumed["pool"] = "the class token: there is neither pooler nor classifier"
    config = ViTConfig(
        **blocks_of(found, names, usual, house, assumed),
        image_size=image_size_of(
            found, names, assumed, "embeddings.position_embeddings", 1 + int(distillation_token)
        ),
        distillation_token=distillation_token,
        mask_token="embeddings.mask_token" in tensors,
        pool="distilled" if distilled else "token",
        num_classes=found.size(f"{classifier}.weight")[0] if classified or distilled else 0,
        representation_size=found.size("pooler.dense.weight")[0] if pooler else None,
        position_interpolation="bicubic",
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
    if config.distillation_token:
        yield same("embedding.distillation_token", "embeddings.distillation_token")
    if config.mask_token:
        shapes = (1, config.dim), (1, 1, config.dim)
        yield reshaped("embedding.mask_token", "embeddings.mask_token", *shapes)
    yield same("embedding.position.table", "embeddings.position_embeddings")
    yield from rules_by(config, NAMINGS[form["naming"]])
    if config.representation_size is not None:
        yield from both("representation", "pooler.dense")
    if config.num_classes and config.pool == "distilled":
        yield from both("head", "cls_classifier")
        yield from both("distillation_head", "distillation_classifier")
    elif config.num_classes:
        yield from both("head", "classifier")
