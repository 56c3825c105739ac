"""One module a format that weights go out in: what it can say, and the files that say it."""

from vitral.weights.targets import huggingface, jax, timm, torchvision
from vitral.weights.targets.common import Refusal, Target

TARGETS: dict[str, Target] = {
    "timm": timm,
    "huggingface": huggingface,
    "torchvision": torchvision,
    "jax": jax,
}

__all__ = ["TARGETS", "Refusal", "Target"]
