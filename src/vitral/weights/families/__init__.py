"""One module a family: who its files are recognised by, what they settle, and its names for our tensors."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor

from vitral.model import ViTConfig
from vitral.weights.families import eva, facebook, jax, timm, torchvision
from vitral.weights.families.huggingface import (
    clip,
    deit,
    dinov2,
    dinov2_with_registers,
    dinov3_vit,
    siglip,
    vit,
    vit_mae,
)
from vitral.weights.reading import Found, Reading
from vitral.weights.rules import Form, Rule, Tensors


class Family(Protocol):
    """What each module of a family offers."""

    @property
    def TITLE(self) -> str:
        """Whose weights these are, for sentences."""
        ...

    def recognise(self, names: Collection[str], config: Mapping[str, Any]) -> bool:
        """Whether tensors of these names, beside this config.json ({} where there is none), are the family's."""
        ...

    def clean(self, tensors: Mapping[str, Tensor]) -> tuple[Tensors, Form]:
        """The tensors that count, under names that `rules` knows, and the form that they had."""
        ...

    def read(self, found: Found, form: Form) -> Reading:
        """Architecture, preprocessing and class names from cleaned tensors and what stands beside them."""
        ...

    def rules(self, config: ViTConfig, form: Form) -> Iterator[Rule]:
        """One rule for every tensor of ours."""
        ...


FAMILIES: dict[str, Family] = {
    "jax": jax,
    "timm": timm,
    "eva": eva,
    "facebook": facebook,
    "torchvision": torchvision,
    # Those of transformers, by their `model_type`.
    "vit": vit,
    "deit": deit,
    "vit_mae": vit_mae,
    "dinov2": dinov2,
    "dinov2_with_registers": dinov2_with_registers,
    "dinov3_vit": dinov3_vit,
    "clip_vision_model": clip,
    "siglip_vision_model": siglip,
}
