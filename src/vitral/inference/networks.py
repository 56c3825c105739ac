"""Networks that torch has in memory already, run by whichever backend is the fastest."""

from collections.abc import Mapping

import torch

from vitral.device import Compute, choose
from vitral.errors import VitralError
from vitral.images import Preprocessing
from vitral.inference.backends import Backend, Choice, choose_backend
from vitral.inference.backends.torch import TorchBackend
from vitral.inference.description import Description
from vitral.inference.forward import Answers
from vitral.inference.loading import left_to_torch, prepared, runtime_of
from vitral.language import Sentence, joined
from vitral.model import VisionTransformer


def choose_compute(
    backend: str = "auto", device: str = "auto", precision: str = "auto"
) -> tuple[Choice, Compute]:
    """Resolve `--backend`, `--device` and `--precision`, before there is a network.

    Raises:
        UsageError: there is no such backend, device or precision, it is not installed, or they do not go together.
    """
    choice = choose_backend(backend, device, precision)
    if choice.backend == "torch":
        return choice, choose(device, precision)
    name = choice.backend
    here = Sentence(f"{name} computes on the processor", f"{name} calcula no processador")
    return choice, Compute(torch.device("cpu"), here, *runtime_of(name).settled(precision))


def open_network(
    model: VisionTransformer,
    preprocessing: Preprocessing,
    answers: Answers,
    choice: Choice,
    compute: Compute,
    made_of: Mapping[str, str],
    name: str = "the network",
) -> Backend:
    """Make a network ready to run; torch does it, with a warning, where the other backend cannot.

    Args:
        model: in evaluation mode; where another backend is chosen in fp32, else where and in what `compute` says.
        preprocessing: what images go through on their way to it.
        answers: what is wanted of it.
        choice, compute: of `choose_compute`.
        made_of: whatever changes what it answers changes this; by it the prepared network is kept.
        name: of the network, in warnings and errors.

    Raises:
        UsageError: a package is missing, or the backend, asked for by name or for int8, cannot take the network.
    """
    reason = choice.reason
    if choice.backend != "torch":

        def network(precision: str) -> tuple[VisionTransformer, Description, Answers]:
            about = Description((), preprocessing, precision, architecture=model.config.to_dict())
            return model, about, answers

        try:
            return prepared(choice.backend, dict(made_of), compute.precision, network, reason)
        except VitralError:
            raise
        except Exception as error:  # of whatever kinds converters and runtimes have
            reason = left_to_torch(error, name, choice, compute.precision)
    because = joined(reason, compute.precision_reason)
    return TorchBackend(
        model.to(compute.device, compute.dtype), preprocessing, compute, answers=answers, reason=because
    )
