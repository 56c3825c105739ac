"""A network that is ready to run: what `Classifier` and `Embedder` have in common. No torch."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from vitral.images import Preprocessing
from vitral.inference.backends import Backend
from vitral.inference.loading import Request, open_torch

if TYPE_CHECKING:
    from vitral.device import Compute
    from vitral.inference.backends.torch import TorchBackend
    from vitral.model import VisionTransformer


@dataclass(frozen=True)
class Loaded:
    """A network with what its images go through.

    Args:
        network: what runs it, see `vitral.inference.backends.Backend`.
        preprocessing: what images go through on their way to it.
        request: what it was loaded by, to have the same network in torch when that is needed.
    """

    network: Backend
    preprocessing: Preprocessing
    request: Request | None = field(default=None, repr=False, kw_only=True)

    @property
    def backend(self) -> str:
        """What runs the network: torch, openvino or onnx."""
        return self.network.name

    @property
    def precision(self) -> str:
        """What the network computes in: fp32, bf16, fp16 or int8."""
        return self.network.precision

    @property
    def device(self) -> str:
        """Where it computes: cpu, cuda:0 or mps."""
        return self.network.device

    @property
    def reason(self) -> str:
        """Why this backend in this precision."""
        return self.network.reason

    @property
    def model(self) -> "VisionTransformer":
        """The network itself, in torch: the one that runs, or else the same, read when it is first asked for.

        Raises:
            UsageError: it was loaded from an exported file, which has none.
        """
        return self._torch.model

    @property
    def compute(self) -> "Compute":
        """Where `model` lies, and in which precision."""
        return self._torch.compute

    @cached_property
    def _torch(self) -> "TorchBackend":
        from vitral.inference.backends.torch import TorchBackend

        if isinstance(self.network, TorchBackend):
            return self.network
        assert self.request is not None  # `of`, which has none, is torch's
        return open_torch(self.request)[0]
