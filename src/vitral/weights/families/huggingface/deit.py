"""DeiT of transformers, with a distillation token; undistilled DeiTs are saved as ViT."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from vitral.images import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitral.weights.families.huggingface import vit
from vitral.weights.families.huggingface.common import has_embeddings, inner_names
from vitral.weights.reading import Found, Reading
from vitral.weights.rules import Form, Tensors

TITLE = "transformers' DeiT"
PREFIXES = ("deit.",)
PREPROCESSING = Preprocessing((224, 224), "crop", IMAGENET_MEAN, IMAGENET_STD, "bicubic", 0.875)

rules = vit.rules


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are DeiT's."""
    inner = inner_names(names, PREFIXES)
    if "model_type" in config:
        return config["model_type"] == "deit" and has_embeddings(inner)
    return vit.is_vit(inner) and "embeddings.distillation_token" in inner


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """Their tensors as `vit` cleans them."""
    return vit.clean_as(tensors, PREFIXES)


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors and config.json."""
    return vit.read_as(found, form, TITLE, vit.USUAL, PREPROCESSING, distillation_token=True)
