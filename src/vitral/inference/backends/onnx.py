"""Networks on processors by ONNX Runtime. No torch."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitral.errors import WeightsError, one_line
from vitral.inference.backends import kept
from vitral.inference.backends.interface import ASKED_FOR, check_installed
from vitral.inference.description import KEY, Description
from vitral.language import Sentence

if TYPE_CHECKING:
    from onnx import ModelProto

NETWORK = "network.onnx"


class ONNXBackend:
    """A network that ONNX Runtime runs; see `vitral.inference.backends.Backend`."""

    name, device = "onnx", "cpu"

    def __init__(self, session: Any, description: Description, reason: str) -> None:
        self.description, self.precision, self.reason = description, description.precision, reason
        self._session = session

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        (answers,) = self._session.run(None, {self._session.get_inputs()[0].name: pixels})
        return answers


def load_prepared(
    made_of: dict[str, str], precision: str, build: Callable[[str], "ModelProto"], reason: str
) -> ONNXBackend:
    """A network from what is kept for this machine, or built and kept now; see the same of OpenVINO."""
    check_installed("onnx")
    import onnxruntime

    precision, _ = settled(precision)
    made_of = made_of | {"backend": f"onnxruntime {onnxruntime.__version__}", "precision": precision}
    return kept.prepared(
        made_of,
        load=lambda folder: load_file(folder / NETWORK, reason),
        build=lambda: build(precision),
        save=lambda model, folder: _save(model, folder / NETWORK),
        start=lambda model: _backend(_session(model.SerializeToString()), NETWORK, reason),
    )


def load_file(file: Path, reason: str = ASKED_FOR) -> ONNXBackend:
    """A network from an ONNX file, as `vitral export` writes it.

    Raises:
        UsageError: ONNX Runtime is not installed.
        WeightsError: it is damaged, or not vitral's.
    """
    check_installed("onnx")
    try:
        session = _session(str(file))
    except Exception as error:  # of ONNX Runtime's own kinds, which it does not name
        raise WeightsError(f"{file} is no network in ONNX ({one_line(error)}): export it again") from error
    return _backend(session, str(file), reason)


def settled(precision: str) -> tuple[str, str]:
    """The precision that is meant, and why."""
    if precision == "auto":
        return "fp32", Sentence("ONNX Runtime computes in fp32", "o ONNX Runtime calcula em fp32")
    return precision, ASKED_FOR


def answers(model: "ModelProto", pixels: np.ndarray) -> np.ndarray:
    """What a graph makes of pixels."""
    session = _session(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


def _session(network: str | bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def _backend(session: Any, place: str, reason: str) -> ONNXBackend:
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise WeightsError(f"{place} was not written by vitral: export the network with `vitral export`")
    description = Description.from_json(text, place)
    if description.preprocessing_inside:
        raise WeightsError(
            f"{place} resizes pictures itself, and vitral does that before: run it with the script beside it, or "
            "export the network without --preprocessing-inside"
        )
    return ONNXBackend(session, description, reason)


def _save(model: "ModelProto", file: Path) -> None:
    file.write_bytes(model.SerializeToString())
