"""The tower of CLIP of transformers that looks at images; the other one, for text, is left aside."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from vitral.errors import WeightsError
from vitral.images import Preprocessing
from vitral.model import ViTConfig
from vitral.weights.families.huggingface.common import (
    Names,
    blocks_of,
    clean_by,
    has_embeddings,
    image_size_of,
    inner_names,
    rules_by,
)
from vitral.weights.families.huggingface.preprocessing import preprocessing_of
from vitral.weights.reading import CLIP_MEAN, CLIP_STD, Found, Reading
from vitral.weights.rules import Form, Rule, Tensors, absent, both, reshaped, same

TITLE = "transformers' CLIP"
PREFIXES = ("vision_model.",)
TEXT = r"text_model\..*|text_projection\.weight|logit_(scale|bias)|embeddings\.position_ids"
USUAL = {"num_attention_heads": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
PREPROCESSING = Preprocessing((224, 224), "crop", CLIP_MEAN, CLIP_STD, "bicubic", 1.0)

NAMES = Names(
    patch="embeddings.patch_embedding",
    norm="post_layernorm",
    blocks="encoder.layers",
    attention_norm="layer_norm1",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    out="self_attn.out_proj",
    mlp_norm="layer_norm2",
    hidden=("mlp.fc1",),
    mlp_out="mlp.fc2",
)


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are CLIP's, both towers or this one."""
    inner = inner_names(names, PREFIXES)
    if "model_type" in config:
        return config["model_type"] in ("clip", "clip_vision_model") and has_embeddings(inner)
    return {"pre_layrnorm.weight", "encoder.layers.0.layer_norm1.weight"} <= inner  # the spelling is theirs


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """The tensors of this tower and of its projection."""
    return clean_by(tensors, PREFIXES, TEXT)


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors and config.json.

    Raises:
        WeightsError: a classifier, which does without the final norm.
    """
    if any(name.startswith("classifier.") for name in found.tensors):
        raise WeightsError(
            "the head of CLIPForImageClassification does without the final norm, which vitral's networks all have: "
            "take a CLIPVisionModel and train a head"
        )
    assumed: dict[str, str] = {}
    projected = "visual_projection.weight" in found.tensors
    config = ViTConfig(
        **blocks_of(found, NAMES, USUAL, TITLE, assumed),
        image_size=image_size_of(found, NAMES, assumed, "embeddings.position_embedding.weight", 1),
        patch_bias=False,
        pre_norm=True,
        num_classes=found.size("visual_projection.weight")[0] if projected else 0,
        position_interpolation="bicubic",
    )
    # What the projection gives is an embedding: its numbers stand for no classes.
    return Reading(config, preprocessing_of(found.processor, config, PREPROCESSING, assumed), (), assumed)


def rules(config: ViTConfig, form: Form) -> Iterator[Rule]:
    """Their cleaned tensors for each of ours."""
    shapes = (1, 1, config.dim), (config.dim,)
    yield reshaped("embedding.class_token", "embeddings.class_embedding", *shapes)
    yield positions(config)
    yield from both("embedding.norm", "pre_layrnorm")
    yield from rules_by(config, NAMES)
    if config.num_classes:
        yield same("head.weight", "visual_projection.weight")
        yield absent("head.bias")


def positions(config: ViTConfig) -> Rule:
    """The table of positions, which CLIP and SigLIP keep as (positions, dim)."""
    return reshaped(
        "embedding.position.table",
        "embeddings.position_embedding.weight",
        (1, -1, config.dim),
        (-1, config.dim),
    )
