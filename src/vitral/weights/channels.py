"""The same network for images of another number of channels."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from vitral.weights.store import Checkpoint

PATCH, STEM = "embedding.patch.weight", "embedding.stem.root.weight"


def adapt_filters(checkpoint: Checkpoint, channels: int, colours: Sequence[int] | None = None) -> Checkpoint:
    """A checkpoint whose first layer takes `channels` channels, the rest of it as it is.

    Every channel gets the mean of the filters that there were, or a colour's own where `colours` says which it is, all
    times (channels before) / (channels now). So an image that is equal in all channels gives what it gave before, and
    the sum over more channels grows no larger than the layers behind are used to. The kernels of a hybrid's stem are
    standardised when they are used, which takes that factor away again: there it holds nearly only.

    Args:
        checkpoint: of any architecture; its preprocessing is left as it is.
        channels: wanted; with as many as before and no `colours`, nothing changes.
        colours: which channels are red, green and blue, counted from 0, of a network that was trained on RGB.
    """
    name = STEM if STEM in checkpoint.tensors else PATCH
    filters = checkpoint.tensors[name]  # (dim, channels, height, width)
    before = filters.shape[1]
    if channels == before and colours is None:
        return checkpoint
    mean = filters.mean(dim=1)
    parts = [mean] * channels
    for colour, channel in enumerate(colours or ()):
        parts[channel] = filters[:, colour]
    adapted = torch.stack(parts, dim=1) * (before / channels)
    return replace(
        checkpoint,
        config=checkpoint.config.replace(channels=channels),
        tensors=checkpoint.tensors | {name: adapted},
    )
