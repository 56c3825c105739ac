"""Vision Transformers: understand, train, fine-tune, inspect, speed up, deploy.

`import vitral` is light. What a name stands for is imported when the name is first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Read by GNU's OpenMP runtime when torch loads it: how long threads that wait for one another spin before they let go
# of the core. The usual 300,000 turns make small operations several times slower where something else runs on one of
# the cores; far fewer make them slower on a machine left alone (benchmarks/waiting.py).
os.environ.setdefault("GOMP_SPINCOUNT", "50000")

if TYPE_CHECKING:
    from vitral.errors import VitralError
    from vitral.inference import Classifier, Embedder, Explainer
    from vitral.model import create_model
    from vitral.weights import load_model
    from vitral.workflow import probe, train

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "Embedder",
    "Explainer",
    "VitralError",
    "__version__",
    "create_model",
    "load_model",
    "probe",
    "train",
]

_HOMES = {
    "Classifier": "vitral.inference",
    "Embedder": "vitral.inference",
    "Explainer": "vitral.inference",
    "VitralError": "vitral.errors",
    "create_model": "vitral.model",
    "load_model": "vitral.weights",
    "probe": "vitral.workflow",
    "train": "vitral.workflow",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vitral' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # from now on Python finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
