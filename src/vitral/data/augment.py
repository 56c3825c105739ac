"""What training images go through: random crops, flips, colours, erasing; then mixing of whole batches.

All of it is torchvision's `transforms.v2`, on uint8 tensors of pictures and float32 of other images; mixing happens on
the device, after normalisation. torchvision takes longer to import than torch itself, and is imported where it is used:
what only reads, probes or measures does without.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Which random changes training images go through; the defaults are none. Fields as in `Recipe`."""

    random_crop: float = 0.0
    flip: str = "none"
    randaugment: int = 0
    randaugment_magnitude: int = 9
    color_jitter: float = 0.0
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0


def image_transform(
    augmentation: Augmentation,
    size: tuple[int, int],
    fit: Callable[[Tensor], Tensor],
    fill: tuple[float, ...],
) -> Callable[[Tensor], Tensor]:
    """The random changes of single images `(channels, height, width)` of any size to `(channels, *size)`.

    Crops, flips and erasing take any number of channels, uint8 or float32; RandAugment and changes of colour are for
    uint8 of 1 or 3.

    Args:
        augmentation: which changes.
        size: (height, width) wanted.
        fit: what brings an image to `size` where there is no random crop.
        fill: the colour, one number a channel, of what is erased or moved in from outside.
    """
    from torchvision.transforms import v2

    steps: list[Callable[[Tensor], Tensor]] = [fit]
    if augmentation.random_crop:
        scale = (augmentation.random_crop, 1.0)
        bicubic = v2.InterpolationMode.BICUBIC
        steps = [v2.RandomResizedCrop(size, scale=scale, interpolation=bicubic, antialias=True)]
    if augmentation.flip in ("horizontal", "both"):
        steps.append(v2.RandomHorizontalFlip())
    if augmentation.flip == "both":
        steps.append(v2.RandomVerticalFlip())
    if augmentation.randaugment:
        steps.append(
            v2.RandAugment(augmentation.randaugment, augmentation.randaugment_magnitude, fill=list(fill))
        )
    if augmentation.color_jitter:
        strength = augmentation.color_jitter
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    if augmentation.random_erasing:
        colour: Any = [float(number) for number in fill]  # one number for all channels, says its annotation
        steps.append(v2.RandomErasing(augmentation.random_erasing, value=colour))

    def transform(image: Tensor) -> Tensor:
        for step in steps:
            image = step(image)
        return image

    return transform


def mix(
    images: Tensor, labels: Tensor, num_classes: int, augmentation: Augmentation
) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018) or cutmix (Yun et al. 2019) of a batch with itself, drawn from the global generator.

    Args:
        images: `(batch, channels, height, width)`, normalised.
        labels: `(batch,)`.

    Returns:
        The images, and the targets: labels `(batch,)` where nothing was mixed, else probabilities
        `(batch, num_classes)`.
    """
    chance, choice = torch.rand(2).tolist()
    alphas = [("MixUp", augmentation.mixup), ("CutMix", augmentation.cutmix)]
    kinds = [(kind, alpha) for kind, alpha in alphas if alpha]
    if not kinds or chance >= augmentation.mix_probability:
        return images, labels
    from torchvision.transforms import v2

    kind, alpha = kinds[int(choice * len(kinds))]
    return getattr(v2, kind)(alpha=alpha, num_classes=num_classes)(images, labels)
