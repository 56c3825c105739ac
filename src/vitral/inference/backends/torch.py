"""Networks by torch itself, on any device, in any precision that the device has."""

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitral.device import Compute
from vitral.images import Preprocessing
from vitral.inference.forward import PROBABILITIES, Answers, Normalise
from vitral.model import VisionTransformer

# Batches of so many sizes are kept as CUDA graphs: usually a full one, the last of a folder, and a single image.
MOST_GRAPHS = 4


class TorchBackend:
    """A network where torch put it; see `vitral.inference.backends.Backend`.

    On CUDA GPUs, what a batch of one size takes is recorded when that size comes for the second time and replayed from
    then on (a CUDA graph): hundreds of kernels start as one.

    Args:
        model, preprocessing, compute: the network, what its images go through, where it computes.
        answers: what is wanted of it.
        reason: why torch.
        compile: let torch.compile fuse the network, which takes a minute and a compiler, and pays in long jobs.
    """

    name = "torch"

    def __init__(
        self,
        model: VisionTransformer,
        preprocessing: Preprocessing,
        compute: Compute,
        *,
        answers: Answers = PROBABILITIES,
        reason: str = "",
        compile: bool = False,
    ) -> None:
        self.model, self.preprocessing, self.compute = model, preprocessing, compute
        self.answers, self.reason = answers, reason or compute.precision_reason
        self._normalise = Normalise(preprocessing, compute)
        self._network: Any = torch.compile(self._answers, dynamic=False) if compile else self._answers
        self._graphs: dict[torch.Size, _Graph | None] = {}
        self._lock = threading.Lock()

    @property
    def precision(self) -> str:
        return self.compute.precision

    @property
    def device(self) -> str:
        return str(self.compute.device)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(pixels)
        if self.compute.device.type != "cuda":
            return self._network(images).cpu().numpy()
        with self._lock:  # a graph has one place for its images
            return self._on_gpu(images.pin_memory()).cpu().numpy()

    def _answers(self, images: Tensor) -> Tensor:
        return self.answers(self.model, self.model.embed(self._normalise(images.permute(0, 3, 1, 2))))

    def _on_gpu(self, images: Tensor) -> Tensor:
        shape = images.shape
        if shape not in self._graphs:
            if len(self._graphs) < MOST_GRAPHS:
                self._graphs[shape] = None
            return self._network(images.to(self.compute.device, non_blocking=True))
        graph = self._graphs[shape]
        if graph is None:
            graph = self._graphs[shape] = _Graph(self._network, images.to(self.compute.device))
        return graph(images)


class _Graph:
    """A network on a GPU as one recording, for images of one shape."""

    def __init__(self, network: Any, images: Tensor) -> None:
        self.images = images.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # what is chosen or allocated at first is no part of the recording
                network(self.images)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.answers = network(self.images)

    def __call__(self, images: Tensor) -> Tensor:
        self.images.copy_(images, non_blocking=True)
        self.graph.replay()
        return self.answers
