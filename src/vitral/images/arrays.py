"""Arrays and tensors of any number type -> uint8 (height, width, channels)."""

from typing import Any

import numpy as np

from vitral.errors import ImageError
from vitral.images.limits import refuse_too_many_pixels


def eight_bits(array: np.ndarray) -> np.ndarray:
    """One image as a new uint8 array (height, width, 3 or 4), scaled from 0..max of an integer type or from 0..1.

    Args:
        array: (height, width) or (height, width, 1, 3 or 4).

    Raises:
        ImageError: another shape, another kind of values, or values outside the type's range.
    """
    image = array[..., None] if array.ndim == 2 else array
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise ImageError(
            f"an array of shape {array.shape} is not one image: "
            "give (height, width) or (height, width, 1, 3 or 4); only torch tensors have the channels first"
        )
    refuse_too_many_pixels(image.shape[1], image.shape[0])
    image = _scaled(image)
    return np.array(np.broadcast_to(image, (*image.shape[:2], max(image.shape[2], 3))), order="C")


def is_tensor(source: object) -> bool:
    """Whether this is a torch tensor, told by what it can do: torch itself is not imported."""
    return all(hasattr(source, name) for name in ("detach", "is_floating_point", "numpy"))


def from_tensor(tensor: Any) -> np.ndarray:
    """A torch tensor (1, 3 or 4, height, width) or (height, width) as an array with the channels last."""
    if tensor.ndim not in (2, 3) or (tensor.ndim == 3 and tensor.shape[0] not in (1, 3, 4)):
        shape = tuple(tensor.shape)
        raise ImageError(f"a tensor of shape {shape} is not one image: give (1, 3 or 4, height, width)")
    tensor = tensor.detach().cpu()
    array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # numpy knows no bfloat16
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def _scaled(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == bool:
        return image.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(image.dtype, np.integer):
        largest, slack = int(np.iinfo(image.dtype).max), 0.0
    elif np.issubdtype(image.dtype, np.floating):
        largest, slack = (
            1,
            0.5 / 255,
        )  # resizing leaves as much beyond black and white; rounding takes it away
    else:
        raise ImageError(f"an array of type {image.dtype} is not an image: convert it to uint8")
    lowest, highest = float(image.min()), float(image.max())
    if not np.isfinite(lowest + highest):
        raise ImageError("the array holds NaN or infinity: replace them before it is read as an image")
    if lowest < -slack or highest > largest + slack:
        found = f"{lowest:g} to {highest:g}"
        raise ImageError(
            f"{image.dtype} images hold 0 to {largest}, this one {found}: scale it, or make it uint8"
        )
    values = image.astype(np.float64) * (255 / largest)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
