"""Trained models at work: pixels in, answers out. What a name stands for is imported when it is first used.

`Classifier` and `Embedder` need no torch where a backend without it runs the network.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitral.inference.classifier import Classifier, Prediction
    from vitral.inference.embedder import Embedder
    from vitral.inference.explainer import Explainer
    from vitral.inference.explanation import Explanation, save_picture
    from vitral.inference.forward import Normalise, probabilities
    from vitral.inference.look import METHODS, Look

__all__ = [
    "METHODS",
    "Classifier",
    "Embedder",
    "Explainer",
    "Explanation",
    "Look",
    "Normalise",
    "Prediction",
    "probabilities",
    "save_picture",
]

_HOMES = {
    "classifier": ("Classifier", "Prediction"),
    "embedder": ("Embedder",),
    "explainer": ("Explainer",),
    "explanation": ("Explanation", "save_picture"),
    "forward": ("Normalise", "probabilities"),
    "look": ("METHODS", "Look"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"vitral.inference.{home}"), name)
    raise AttributeError(f"module 'vitral.inference' has no attribute {name!r}")
