"""Arrays, tensors and .npy files: as they are, or as uint8 (height, width, channels)."""

import math
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from vitral.errors import ImageError
from vitral.images.limits import refuse_too_many_bytes, refuse_too_many_pixels

_HEADERS = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


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


def from_tensor(tensor: Any, channels: tuple[int, ...] | None = (1, 3, 4)) -> np.ndarray:
    """A torch tensor (channels, height, width) or (height, width) as an array with the channels last.

    Args:
        tensor: of any number type.
        channels: how many it may have; None: any number.
    """
    if tensor.ndim not in (2, 3) or (channels and tensor.ndim == 3 and tensor.shape[0] not in channels):
        shape, wanted = tuple(tensor.shape), "1, 3 or 4" if channels else "channels"
        raise ImageError(f"a tensor of shape {shape} is not one image: give ({wanted}, height, width)")
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and tensor.element_size() < 4:  # numpy knows no bfloat16
        tensor = tensor.float()
    array = tensor.numpy()
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def read_npy(file: IO[bytes]) -> np.ndarray:
    """The array in a .npy file as (height, width, channels); nothing pickled is read.

    Raises:
        ImageError: it is damaged, holds other things than numbers, is too big, or is no (height, width) or
            (height, width, channels).
    """
    try:
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"version {version}")
        shape, _, kind = _HEADERS[version](file)
        if min(shape, default=0) < 0:
            raise ValueError(f"shape {shape}")
    except Exception as error:  # the header is a line of Python, and its parser has many words for damage
        if "EOF" in str(error) and isinstance(error, ValueError):
            raise ImageError("the .npy file is truncated: copy it again") from error
        said = " ".join(str(error).split())
        raise ImageError(
            f"the .npy file is damaged or of an unknown kind ({said}): save the array again"
        ) from error
    if kind.hasobject:
        raise ImageError(
            "the .npy file holds pickled objects, which are never read: save an array of numbers"
        )
    if len(shape) not in (2, 3):
        raise ImageError(f"an array of shape {shape} is not one image: save (height, width, channels)")
    if len(shape) == 3 and 4 * shape[0] <= min(shape[1:]):
        raise ImageError(
            f"an array of shape {shape} seems to have its channels first: save (height, width, channels), as "
            "numpy.moveaxis(array, 0, -1) makes it"
        )
    refuse_too_many_pixels(shape[1], shape[0])
    refuse_too_many_bytes(shape, kind.itemsize)
    start, wanted = file.tell(), math.prod(shape) * kind.itemsize
    if file.seek(0, 2) - start < wanted:
        raise ImageError("the .npy file is truncated: copy it again")
    file.seek(0)
    array = np.lib.format.read_array(file, allow_pickle=False)
    return array[..., None] if array.ndim == 2 else array


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
