"""Trained models at work: pixels in, answers out."""

from vitral.inference.classifier import Classifier, Prediction
from vitral.inference.embedder import Embedder
from vitral.inference.explanation import Explanation
from vitral.inference.forward import Normalise, probabilities

__all__ = ["Classifier", "Embedder", "Explanation", "Normalise", "Prediction", "probabilities"]
