"""From WEIGHTS to a backend that is ready to run. What needs torch is imported only where it is needed."""

import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitral import __version__
from vitral.errors import UsageError, VitralError, one_line
from vitral.files import sha256
from vitral.inference.backends import Backend, Choice, choose_backend
from vitral.inference.backends.interface import PACKAGES, check_installed
from vitral.inference.description import Description
from vitral.language import Sentence, joined

if TYPE_CHECKING:
    from vitral.inference.backends.torch import TorchBackend
    from vitral.inference.forward import Answers
    from vitral.model import VisionTransformer
    from vitral.weights import Checkpoint

# Of the graphs that are kept: whoever changes what they compute counts on.
GRAPHS = 2
EXPORTED = (".onnx", ".xml")

log = logging.getLogger("vitral")


@dataclass(frozen=True)
class Request:
    """What is to be run, and how.

    Args:
        weights: any WEIGHTS, or a file that `vitral export` wrote.
        vectors: whether vectors are wanted, rather than a classifier's probabilities.
        pool: how the vectors come from the tokens, see `VisionTransformer.pool`; None: as the network does it.
        device, precision, backend: as asked for.
        image_size: that the network is wanted for; None: its own.
        compile: whether torch.compile fuses the network, where torch runs it.
        said: about weights of other origin, as in `vitral.weights.Overrides`.
    """

    weights: str
    vectors: bool = False
    pool: str | None = None
    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    image_size: int | tuple[int, int] | None = None
    compile: bool = False
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exported(self) -> bool:
        """Whether this is a file that `vitral export` wrote, rather than WEIGHTS."""
        file = Path(self.weights)
        return file.suffix.lower() in EXPORTED and file.is_file()


def open_backend(request: Request) -> tuple[Backend, Description]:
    """What runs the network, and what the network takes and answers.

    Raises:
        UsageError: there are no such weights, device, precision or backend, they do not go together, or probabilities
            are wanted of weights without a classifier.
        WeightsError: damaged files.
    """
    if request.exported:
        return _from_file(request)
    backend = "torch" if request.compile and request.backend == "auto" else request.backend
    choice = choose_backend(backend, request.device, request.precision)
    if request.compile and choice.backend != "torch":
        raise UsageError(f"compile is torch's: leave it out with --backend {choice.backend}")
    if choice.backend == "torch":
        return open_torch(request, choice.reason)
    try:
        network = _prepared(request, choice.backend, choice.reason)
    except VitralError:
        raise
    except Exception as error:  # of whatever kinds converters and runtimes have
        return open_torch(request, left_to_torch(error, request.weights, choice, request.precision))
    return network, network.description


def open_torch(request: Request, reason: str = "") -> "tuple[TorchBackend, Description]":
    """The same by torch, whatever backend is asked for."""
    from vitral.device import choose
    from vitral.inference.backends.torch import TorchBackend

    compute = choose(request.device, "auto" if request.precision == "int8" else request.precision)
    model, description, answers = _network(request, compute.precision)
    network = TorchBackend(
        model.to(compute.device, compute.dtype),
        description.preprocessing,
        compute,
        answers=answers,
        reason=joined(*filter(None, (reason, compute.precision_reason))),
        compile=request.compile,
    )
    return network, description


def checkpoint_of(request: Request) -> "Checkpoint":
    """The weights themselves.

    Raises:
        UsageError: there are none, it is an exported file, or there is no classifier and one is wanted.
    """
    from vitral.weights import overrides_from, read_checkpoint

    if request.exported:
        raise UsageError(
            f"{request.weights} answers and does no more: name the run that it was exported from"
        )
    checkpoint = read_checkpoint(request.weights, overrides_from(request.said), request.image_size)
    if not request.vectors and not checkpoint.class_names:
        remedy = f"train one with `vitral train DATA --from {request.weights}`"
        raise UsageError(f"{request.weights} has no classifier: {remedy}")
    return checkpoint


def _prepared(request: Request, backend: str, reason: str) -> Any:
    """The network by OpenVINO or ONNX Runtime, kept from an earlier time or built now."""
    from vitral.weights.source import find_source

    source = find_source(request.weights)
    check_installed(backend)
    runtime_of(backend)  # before the package itself: it keeps out what would report each use
    with ThreadPoolExecutor(1) as beside:  # hashing and importing each take their time
        weights = beside.submit(source.hash)
        import_module(PACKAGES[backend][0])
    made_of = {
        "weights": weights.result(),
        "documents": sha256(json.dumps([source.config, source.processor], sort_keys=True).encode()),
        "said": repr(sorted(request.said.items())),
        "image_size": repr(request.image_size),
        "answers": f"vectors {request.pool}" if request.vectors else "probabilities",
    }
    return prepared(
        backend, made_of, request.precision, lambda precision: _network(request, precision), reason
    )


def prepared(
    backend: str,
    made_of: dict[str, str],
    precision: str,
    network: "Callable[[str], tuple[VisionTransformer, Description, Answers]]",
    reason: str,
) -> Any:
    """A network by OpenVINO or ONNX Runtime, from what is kept for this machine, or built and kept now.

    Args:
        backend: openvino or onnx.
        made_of: whatever changes the network or what is wanted of it changes this.
        precision: as asked for.
        network: gives it in fp32, what belongs to it in the precision it is told, and what is wanted of it; called only
            where nothing is kept.
        reason: why this backend.

    Raises:
        UsageError: what the precision takes is not installed.
        Exception: of whatever kind converters and runtimes have, where they cannot take it or answer otherwise.
    """
    runtime = runtime_of(backend)

    def build(precision: str) -> Any:
        from vitral.inference import graphs
        from vitral.inference.deployed import Deployed, check_answers

        model, description, answers = network(precision)
        seen = description.preprocessing
        deployed = Deployed(model, seen, answers)
        graph: Any = graphs.GRAPHS[backend](deployed, description)
        with ThreadPoolExecutor(1) as beside:  # rounding weights leaves a core free
            checked = beside.submit(check_answers, deployed, seen, partial(runtime.answers, graph))
            if precision == "int8":
                from vitral.inference.quantize import compress

                graph = compress(graph)
            checked.result()
        return graph

    made_of = {"graph": f"{GRAPHS} of vitral {__version__}"} | made_of
    return runtime.load_prepared(made_of, precision, build, reason)


def left_to_torch(error: Exception, name: str, choice: Choice, precision: str) -> Sentence:
    """Warn that torch computes what another backend cannot take, and say why.

    Args:
        error: what it said.
        name: of the network.
        choice: the other backend.
        precision: as asked for.

    Raises:
        UsageError: it was asked for by name, or is the only one that computes in this precision.
    """
    why = f"{name} ({one_line(error)})"
    because = Sentence(f"{choice.backend} cannot take {why}", f"{choice.backend} não aceita {why}")
    if precision == "int8" or choice.by_name:
        asked = "--precision int8" if precision == "int8" else f"--backend {choice.backend}"
        raise UsageError(f"{because}: leave out {asked}") from error
    log.warning("computed by torch: %s", because)
    return because


def _network(request: Request, precision: str) -> "tuple[VisionTransformer, Description, Answers]":
    """The network in fp32, what belongs to it, and what is wanted of it."""
    from vitral.inference.forward import Probabilities, Vectors, sized

    checkpoint = checkpoint_of(request)
    model, preprocessing = sized(checkpoint, request.image_size)
    if request.pool is not None:  # refuses what does not go with the network
        checkpoint.config.replace(pool=request.pool, representation_size=None)
    description = Description(
        () if request.vectors else checkpoint.class_names,
        preprocessing,
        precision,
        None if request.vectors else checkpoint.thresholds,
        model.config.to_dict(),
    )
    if request.vectors:
        return model, description, Vectors(request.pool or model.config.pool)
    return model, description, Probabilities(description.thresholds is not None)


def _from_file(request: Request) -> tuple[Backend, Description]:
    """An exported file, which settles all of it."""
    own = {".onnx": "onnx", ".xml": "openvino"}[Path(request.weights).suffix.lower()]
    settled = {"backend": own, "device": "cpu"}
    for name, value in settled.items():
        if getattr(request, name) not in ("auto", value):
            raise UsageError(f"{request.weights} is for {value}: leave out --{name} {getattr(request, name)}")
    if request.image_size is not None or request.said or request.compile:
        raise UsageError(
            f"{request.weights} was exported with its image size and all else: leave these options out"
        )
    network = runtime_of(own).load_file(Path(request.weights))
    description = network.description
    if request.precision not in ("auto", description.precision):
        raise UsageError(
            f"{request.weights} computes in {description.precision}: leave out --precision {request.precision}"
        )
    if bool(description.class_names) == request.vectors:
        has = "a classifier" if request.vectors else "no classifier"
        raise UsageError(f"{request.weights} has {has}: name WEIGHTS instead of an exported file")
    return network, description


def runtime_of(backend: str) -> Any:
    """The module of a backend that runs graphs."""
    return import_module(f"vitral.inference.backends.{backend}")
