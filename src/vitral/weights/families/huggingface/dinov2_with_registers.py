"""DINOv2 with registers of transformers: the same names, and positions interpolated with antialiasing."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from vitral.weights.families.huggingface import dinov2
from vitral.weights.families.huggingface.common import clean_by, has_embeddings, inner_names, registers_of
from vitral.weights.reading import Found, Reading
from vitral.weights.rules import Form, Tensors

TITLE = "transformers' DINOv2 with registers"
PREFIXES = ("dinov2_with_registers.",)

rules = dinov2.rules


def recognise(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether these are DINOv2's with registers."""
    inner = inner_names(names, PREFIXES)
    if "model_type" in config:
        return config["model_type"] == "dinov2_with_registers" and has_embeddings(inner)
    return dinov2.is_dinov2(inner) and "embeddings.register_tokens" in inner


def clean(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
    """Their tensors, all of them."""
    return clean_by(tensors, PREFIXES, "")


def read(found: Found, form: Form) -> Reading:
    """The architecture from the tensors and config.json."""
    fields = {"registers": registers_of(found, 4), "position_interpolation": "bicubic_antialias"}
    return dinov2.read_as(found, form, TITLE, dinov2.PREPROCESSING, **fields)
