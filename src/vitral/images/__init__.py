"""From bytes to arrays: decoding, geometry and normalisation, with Pillow and numpy alone (no torch)."""

from vitral.images.duplicates import Signature, near_duplicates, signature
from vitral.images.files import IMAGE_SUFFIXES, find_images, walk_images
from vitral.images.limits import PIXEL_LIMIT
from vitral.images.preprocessing import HALF, IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitral.images.reading import ImageSource, read_image

__all__ = [
    "HALF",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "IMAGE_SUFFIXES",
    "PIXEL_LIMIT",
    "ImageSource",
    "Preprocessing",
    "Signature",
    "find_images",
    "near_duplicates",
    "read_image",
    "signature",
    "walk_images",
]
