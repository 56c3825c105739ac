"""A network as it is deployed: with normalisation before it and probabilities, or a vector, behind it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from vitral.images import Preprocessing
from vitral.inference.forward import PROBABILITIES, Answers
from vitral.model import VisionTransformer

# Of the largest number in the answers: as far as rounding takes a graph in fp32 from the network that it was made of.
LARGEST_DIFFERENCE = 1e-3
# Where tokens merge, rounding can also decide which of two equally similar pairs does.
LARGEST_DIFFERENCE_MERGING = 3e-2


class Deployed(nn.Module):
    """Pixels in, answers out: one graph, for whatever runs it.

    Takes what `Preprocessing.fit_image` gives, `(batch, height, width, channels)`, uint8 of pictures and float32 of
    bands. Gives what is wanted of the network, float32 `(batch, outputs)`. The network between computes in the
    precision of its weights; bands stay in fp32 until its first layer, as with `Normalise`.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        model: VisionTransformer,
        preprocessing: Preprocessing,
        answers: Answers = PROBABILITIES,
    ) -> None:
        super().__init__()
        self.model, self.answers = model, answers
        self.bands = preprocessing.bands
        for name in ("scale", "shift"):  # as Normalise takes them
            values = torch.tensor(getattr(preprocessing, name), dtype=torch.float32)
            self.register_buffer(name, values.reshape(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        images = pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift
        images = images if self.bands else images.to(self.model.norm.weight.dtype)
        # Not model.embed(images): what it refuses images for are Python's ifs, and a graph has none.
        return self.answers(self.model, self.model.embedding(images))


def check_answers(
    network: Deployed, preprocessing: Preprocessing, graph: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Let a graph answer what it was not traced with, three images of noise, as its network does.

    Raises:
        ValueError: its answers are others.
    """
    random, shape = np.random.default_rng(0), (3, *preprocessing.size, preprocessing.channels)
    pixels = random.random(shape, np.float32)  # of bands, `fit_image` makes numbers of 0..1
    if not preprocessing.bands:
        pixels = random.integers(0, 256, shape, dtype=np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels)).numpy()
    found = graph(pixels)
    if found.shape != expected.shape:
        raise ValueError(f"its answers have the shape {found.shape}, and {expected.shape} is right")
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    limit = LARGEST_DIFFERENCE_MERGING if network.model.config.merge else LARGEST_DIFFERENCE
    if not difference <= limit:
        raise ValueError(f"its answers differ by {difference:.2g} of the largest")
