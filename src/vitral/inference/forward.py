"""Images through a network: normalisation on the device, what is wanted of it, and probabilities of many batches."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vitral.device import Compute, choose
from vitral.images import Preprocessing
from vitral.model import VisionTransformer
from vitral.weights import Checkpoint

if TYPE_CHECKING:  # at run time it would bring torchvision along, which takes longer to import than the rest
    from vitral.data.loader import Batch


class Normalise:
    """Pixels to the network's input, computed where the network is: the same map as `Preprocessing.normalise`.

    What is no 8-bit picture stays in fp32, whatever the network computes in: half the precision has too few digits for
    its levels, and the network's first layer takes it so.
    """

    def __init__(self, preprocessing: Preprocessing, compute: Compute) -> None:
        self.compute = compute
        self.dtype = torch.float32 if preprocessing.bands else compute.dtype
        self.scale, self.shift = (
            torch.tensor(values, device=compute.device, dtype=torch.float32).reshape(1, -1, 1, 1)
            for values in (preprocessing.scale, preprocessing.shift)
        )

    def __call__(self, images: Tensor) -> Tensor:
        """What `Preprocessing.resize` gives, `(batch, channels, height, width)`, to the same shape on the device."""
        images = images.to(self.compute.device, non_blocking=True)
        return torch.addcmul(self.shift, images.float(), self.scale).to(self.dtype)


class Answers(Protocol):
    """What is wanted of a network: a function of it and of its tokens, which any backend can run.

    Attributes:
        name: of the answers, as a graph's output has it.
    """

    name: ClassVar[str]

    def __call__(self, model: VisionTransformer, tokens: Tensor) -> Tensor:
        """What `VisionTransformer.embed` gives, `(batch, tokens, dim)`, to float32 `(batch, outputs)`."""
        ...


@dataclass(frozen=True)
class Probabilities:
    """Of a classifier: `(batch, classes)`.

    Args:
        multi_label: each class has one of its own, as several may be there.
    """

    multi_label: bool = False
    name: ClassVar[str] = "probabilities"

    def __call__(self, model: VisionTransformer, tokens: Tensor) -> Tensor:
        return answers_from(model.forward_head(model.encode(tokens)), self.multi_label)


PROBABILITIES = Probabilities()


@dataclass(frozen=True)
class Vectors:
    """What a head would see: `(batch, dim)`.

    Args:
        pool: how they come from the tokens, see `VisionTransformer.pool`.
    """

    pool: str
    name: ClassVar[str] = "vectors"

    def __call__(self, model: VisionTransformer, tokens: Tensor) -> Tensor:
        return model.pool(model.encode(tokens), self.pool).float()


@torch.no_grad()
def probabilities(
    model: nn.Module,
    batches: "Iterable[Batch]",
    preprocessing: Preprocessing,
    compute: Compute,
    multi_label: bool = False,
) -> np.ndarray:
    """What the network answers, as `answers_from` says: float32 `(images, classes)`.

    The model is put into evaluation mode for this, and back.
    """
    normalise = Normalise(preprocessing, compute)
    was_training = model.training
    model.eval()
    try:
        answers = [answers_from(model(normalise(batch.images)), multi_label) for batch in batches]
    finally:
        model.train(was_training)
    return torch.cat(answers).cpu().numpy()


def answers_from(logits: Tensor, multi_label: bool) -> Tensor:
    """Logits as fp32 probabilities: one of the classes (softmax), or where several may be, each of them (sigmoid)."""
    return logits.float().sigmoid() if multi_label else logits.float().softmax(dim=-1)


def placed(
    checkpoint: Checkpoint, device: str, precision: str, image_size: int | tuple[int, int] | None
) -> tuple[VisionTransformer, Preprocessing, Compute]:
    """A checkpoint's network where and how it shall compute, with the preprocessing for its image size."""
    compute = choose(device, precision)
    model, preprocessing = sized(checkpoint, image_size)
    return model.to(compute.device, compute.dtype), preprocessing, compute


def sized(
    checkpoint: Checkpoint, image_size: int | tuple[int, int] | None
) -> tuple[VisionTransformer, Preprocessing]:
    """A checkpoint's network for images of a size (None: its own), with the preprocessing for it."""
    model = checkpoint.model()
    if image_size is not None:
        model.resize(image_size)
    return model, replace(checkpoint.preprocessing, size=model.config.image_size)
