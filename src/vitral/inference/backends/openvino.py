"""Networks on processors by OpenVINO. No torch: a network that is prepared already starts in under a second."""

import json
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from vitral.errors import WeightsError, one_line
from vitral.files import cache_folder, sha256, write_json
from vitral.inference.backends import kept
from vitral.inference.backends.interface import ASKED_FOR, check_installed
from vitral.inference.description import KEY, Description
from vitral.language import Sentence, joined

if TYPE_CHECKING:
    from openvino import CompiledModel, Model

# Read when openvino or nncf is first imported: with this package they tell their makers of every import and every
# conversion. vitral sends nothing anywhere.
sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]

NETWORK = "network.xml"
# bf16 is taken on a processor that multiplies so many times faster in it than in fp32.
LEAST_SPEED_UP = 1.5
HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVINOBackend:
    """A network that OpenVINO has compiled for this processor; see `vitral.inference.backends.Backend`."""

    name, device = "openvino", "cpu"

    def __init__(self, compiled: "CompiledModel", description: Description, reason: str) -> None:
        self.description, self.precision, self.reason = description, description.precision, reason
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()  # a request answers one question at a time

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with self._lock:
            (answers,) = self._request.infer([np.ascontiguousarray(pixels)], share_inputs=True).values()
        return answers


def load_prepared(
    made_of: dict[str, str], precision: str, build: Callable[[str], "Model"], reason: str
) -> OpenVINOBackend:
    """A network from what is kept for this machine, or built and kept now.

    Args:
        made_of: whatever changes the network changes this; precision, machine and OpenVINO's version are added here.
        precision: fp32, bf16, int8 or auto.
        build: gives the graph in the precision it is told, described by `describe`; called only where nothing is kept.
        reason: why OpenVINO.
    """
    check_installed("openvino")
    import openvino

    precision, why = settled(precision)
    made_of = made_of | {"precision": precision} | _machine()
    because = joined(reason, why)
    return kept.prepared(
        made_of,
        load=lambda folder: load_file(folder / NETWORK, because),
        build=lambda: build(precision),
        save=lambda model, folder: openvino.save_model(model, folder / NETWORK, compress_to_fp16=False),
        start=lambda model: OpenVINOBackend(
            compile_graph(model, precision), described(model, NETWORK), because
        ),
    )


def load_file(file: Path, reason: str = ASKED_FOR) -> OpenVINOBackend:
    """A network from OpenVINO's two files, as `vitral export` writes them.

    Raises:
        UsageError: OpenVINO is not installed.
        WeightsError: they are damaged, or not vitral's.
    """
    check_installed("openvino")
    try:
        model = _core().read_model(file)
        description = described(model, str(file))
        return OpenVINOBackend(compile_graph(model, description.precision), description, reason)
    except RuntimeError as error:
        raise WeightsError(
            f"{file} is no network of OpenVINO's ({one_line(error)}): export it again"
        ) from error


def answers(model: "Model", pixels: np.ndarray) -> np.ndarray:
    """What a graph makes of pixels, in fp32."""
    return next(iter(compile_graph(model, "fp32")([pixels]).values()))


def describe(model: "Model", description: Description) -> None:
    """Let a graph carry what belongs to it."""
    model.set_rt_info(description.to_json(), [KEY])


def described(model: "Model", place: str) -> Description:
    """What a graph carries; WeightsError where that is nothing, or damaged."""
    if not model.has_rt_info([KEY]):
        raise WeightsError(f"{place} was not written by vitral: export the network with `vitral export`")
    return Description.from_json(str(model.get_rt_info([KEY]).value), place)


def settled(precision: str) -> tuple[str, str]:
    """The precision that is meant, and why."""
    return fastest_precision() if precision == "auto" else (precision, ASKED_FOR)


def fastest_precision() -> tuple[str, str]:
    """bf16 or fp32, and why: measured on this machine, once for all processes."""
    speed_up = _kept_speed_up()
    if speed_up >= LEAST_SPEED_UP:
        times = f"{speed_up:.1f}"
        return "bf16", Sentence(
            f"its bf16 is {times} times as fast as fp32 here",
            f"seu bf16 é aqui {times.replace('.', ',')} vezes tão rápido quanto o fp32",
        )
    return "fp32", Sentence(
        "the processor's bf16 was measured and is no faster",
        "o bf16 do processador foi medido e não é mais rápido",
    )


def _kept_speed_up() -> float:
    file = cache_folder("compiled") / f"machine-{sha256(json.dumps(_machine()).encode())[:16]}.json"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))["bf16_speed_up"]
        if isinstance(known, float) and 0 < known < 1000:
            return known
    except (OSError, ValueError, KeyError, TypeError):
        pass
    measured = _measure_speed_up()
    with suppress(OSError):  # or else it is measured again the next time
        write_json(file, {**_machine(), "bf16_speed_up": measured})
    return measured


def _measure_speed_up() -> float:
    """How many times faster OpenVINO multiplies matrices in bf16 than in fp32 here.

    The two take turns, and the fastest turn of each counts, so that a busy machine does not decide.
    """
    import openvino
    from openvino import opset13 as operations

    if "BF16" not in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return 0.1
    tokens = operations.parameter([512, 768], np.float32)
    product = tokens
    for _ in range(4):
        product = operations.matmul(
            product, operations.constant(np.full((768, 768), 1e-3, np.float32)), False, True
        )
    model: Any = openvino.Model([product], [tokens])  # pyright: ignore[reportGeneralTypeIssues]
    requests = [compile_graph(model, precision).create_infer_request() for precision in ("fp32", "bf16")]
    values, fastest = np.ones((512, 768), np.float32), [float("inf")] * 2
    for turn in range(12):
        for which, request in enumerate(requests):
            started = perf_counter()
            request.infer([values], share_inputs=True)
            if turn:  # the first one prepares
                fastest[which] = min(fastest[which], perf_counter() - started)
    return fastest[0] / fastest[1]


def compile_graph(model: "Model", precision: str) -> "CompiledModel":
    """A graph, compiled for this processor to compute in a precision."""
    if precision not in ("fp32", "bf16"):  # int8: this is of what stands beside and between its products
        precision, _ = fastest_precision()
    # Every core works on one batch: batches come one after the other.
    how = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[precision]}
    return _core().compile_model(model, "CPU", how)


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


@cache
def _machine() -> dict[str, str]:
    import openvino

    core = _core()
    name = core.get_property("CPU", "FULL_DEVICE_NAME")
    capable = sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    machine = {"processor": str(name), "capabilities": " ".join(map(str, capable))}
    return {"backend": f"openvino {openvino.__version__}"} | machine
