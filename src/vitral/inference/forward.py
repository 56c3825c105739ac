"""Images through a network: normalisation on the device, and probabilities for any number of batches."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from vitral.device import Compute
from vitral.images import Preprocessing

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


@torch.no_grad()
def probabilities(
    model: nn.Module, batches: "Iterable[Batch]", preprocessing: Preprocessing, compute: Compute
) -> np.ndarray:
    """What the network answers, softmax over the classes: float32 `(images, classes)`.

    The model is put into evaluation mode for this, and back.
    """
    normalise = Normalise(preprocessing, compute)
    was_training = model.training
    model.eval()
    try:
        answers = [model(normalise(batch.images)).float().softmax(dim=-1) for batch in batches]
    finally:
        model.train(was_training)
    return torch.cat(answers).cpu().numpy()
