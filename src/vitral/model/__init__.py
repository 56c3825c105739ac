"""The paper as nn.Modules: no files, no prints, no network. It can be lifted out and read alone.

Architectures are numbers only; torch is imported when a network is first asked for.
"""

from typing import TYPE_CHECKING, Any

from vitral.model.config import VARIANTS, ViTConfig, config_for, model_names

if TYPE_CHECKING:
    from vitral.model.vit import VisionTransformer, create_model, model_without_weights

__all__ = [
    "VARIANTS",
    "ViTConfig",
    "VisionTransformer",
    "config_for",
    "create_model",
    "model_names",
    "model_without_weights",
]


def __getattr__(name: str) -> Any:
    if name in ("VisionTransformer", "create_model", "model_without_weights"):
        from vitral.model import vit

        return getattr(vit, name)
    raise AttributeError(f"module 'vitral.model' has no attribute {name!r}")
