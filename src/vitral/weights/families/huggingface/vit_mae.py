"""ViTMAE of transformers: the encoder, without its decoder."""

from collections.abc import Collection, Mapping
from typing import Any

from vitral.images import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitral.weights.families.huggingface import vit
from vitral.weights.families.huggingface.common import has_embeddings, inner_names
from vitral.weights.reading import Found, Reading
from vitral.weights.rules import Form

TITLE = "transformers' ViTMAE"
PREFIXES = vit.PREFIXES
PREPROCESSING = Preprocessing((224, 224), "stretch", IMAGENET_MEAN, IMAGENET_STD, "bilinear")

clean, rules = vit.clean, vit.rules


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are ViTMAE's; without the decoder the tensors may be ViT's as well."""
    inner = inner_names(names, PREFIXES)
    if "model_type" in config:
        return config["model_type"] == "vit_mae" and has_embeddings(inner)
    others = {
        "embeddings.distillation_token",
        "embeddings.mask_token",
        "pooler.dense.weight",
        "classifier.weight",
    }
    return vit.is_vit(inner) and not others & inner


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors and config.json."""
    return vit.read_as(found, form, TITLE, vit.USUAL, PREPROCESSING)
