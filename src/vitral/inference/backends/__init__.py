"""What runs a network: torch, OpenVINO or ONNX Runtime behind one small interface. Only `torch` imports torch."""

from vitral.inference.backends.interface import BACKENDS, PRECISIONS, Backend, Choice, choose_backend

__all__ = ["BACKENDS", "PRECISIONS", "Backend", "Choice", "choose_backend"]
