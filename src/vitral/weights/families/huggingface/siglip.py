"""The tower of SigLIP of transformers that looks at images, with attention pooling or a classifier."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from vitral.images import HALF, Preprocessing
from vitral.model import ViTConfig
from vitral.weights.families.huggingface.clip import NAMES, PREFIXES, TEXT, positions
from vitral.weights.families.huggingface.common import (
    blocks_of,
    class_names_of,
    clean_by,
    has_embeddings,
    image_size_of,
    inner_names,
    rules_by,
)
from vitral.weights.families.huggingface.preprocessing import preprocessing_of
from vitral.weights.reading import Found, Reading
from vitral.weights.rules import Form, Rule, Tensors, both, same

TITLE = "transformers' SigLIP"
USUAL = {"num_attention_heads": 12, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
HEADS = {1536: 16}  # ViT-g-opt of SigLIP 2
PREPROCESSING = Preprocessing((224, 224), "stretch", HALF, HALF, "bicubic")


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are SigLIP's, both towers or this one."""
    inner = inner_names(names, PREFIXES)
    if "model_type" in config:
        return config["model_type"] in ("siglip", "siglip_vision_model") and has_embeddings(inner)
    return {
        "embeddings.patch_embedding.bias",
        "encoder.layers.0.layer_norm1.weight",
        "post_layernorm.weight",
    } <= inner and "embeddings.class_embedding" not in inner


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """The tensors of this tower; where there is a classifier, which goes without attention pooling, not of that."""
    classified = any(name.startswith("classifier.") for name in tensors)
    return clean_by(tensors, PREFIXES, rf"{TEXT}|head\..*" if classified else TEXT)


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors and config.json."""
    assumed: dict[str, str] = {}
    classified = any(name.startswith("classifier.") for name in found.tensors)
    attention = any(name.startswith("head.") for name in found.tensors)
    if not (classified or attention):
        assumed["pool"] = "the average of the patches: there is neither attention pooling nor a classifier"
    config = ViTConfig(
        **blocks_of(found, NAMES, USUAL, TITLE, assumed, HEADS),
        image_size=image_size_of(found, NAMES, assumed, "embeddings.position_embedding.weight"),
        class_token=False,
        pool="attention" if attention else "average",
        num_classes=found.size("classifier.weight")[0] if classified else 0,
        position_interpolation="bicubic",
    )
    return Reading(
        config,
        preprocessing_of(found.processor, config, PREPROCESSING, assumed),
        class_names_of(found, config.num_classes, assumed),
        assumed,
    )


def rules(config: ViTConfig, form: Form) -> Iterator[Rule]:
    """Their cleaned tensors for each of ours."""
    yield positions(config)
    yield from rules_by(config, NAMES)
    if config.pool == "attention":
        yield same("attention_pooling.query", "head.probe")
        for kind in ("weight", "bias"):
            yield same(f"attention_pooling.qkv.{kind}", f"head.attention.in_proj_{kind}")
        yield from both("attention_pooling.out", "head.attention.out_proj")
        yield from both("attention_pooling.norm", "head.layernorm")
        yield from both("attention_pooling.mlp.hidden", "head.mlp.fc1")
        yield from both("attention_pooling.mlp.out", "head.mlp.fc2")
    if config.num_classes:
        yield from both("head", "classifier")
