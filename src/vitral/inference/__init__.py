"""Trained models at work: pixels in, answers out."""

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
