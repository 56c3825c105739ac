"""From bytes to arrays: decoding, geometry and normalisation, with Pillow and numpy alone (no torch)."""

from vitral.images.bands import read_bands
from vitral.images.duplicates import Signature, near_duplicates, signature, signatures, thumbnail
from vitral.images.files import IMAGE_SUFFIXES, find_images, walk_images, without_companions
from vitral.images.limits import PIXEL_LIMIT, NotAPicture
from vitral.images.preprocessing import (
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    described,
    same_values,
)
from vitral.images.reading import read_image
from vitral.images.sources import ImageSource

__all__ = [
    "HALF",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMAGE_SUFFIXES",
    "PIXEL_LIMIT",
    "ImageSource",
    "NotAPicture",
    "Preprocessing",
    "Signature",
    "described",
    "find_images",
    "near_duplicates",
    "read_bands",
    "read_image",
    "same_values",
    "signature",
    "signatures",
    "thumbnail",
    "walk_images",
    "without_companions",
]
