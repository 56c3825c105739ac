"""The paper as nn.Modules: no files, no prints, no network. It can be lifted out and read alone."""

from vitral.model.config import VARIANTS, ViTConfig, config_for, model_names
from vitral.model.vit import VisionTransformer, create_model

__all__ = ["VARIANTS", "ViTConfig", "VisionTransformer", "config_for", "create_model", "model_names"]
