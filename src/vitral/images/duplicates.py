"""Near-duplicate images: a small signature of each, and the pairs that show one picture.

Found: exact copies, re-saved JPEGs (quality 60 and up), copies resized to between half and twice the
size, brightness changed by up to 5 %. Not found, on purpose: crops, mirror images, rotations, changed
colours, and other photographs of the same thing. Nearly uniform images count as near-duplicates only
when their thumbnails are equal, since there is no picture in them to tell by.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

THUMBNAIL_SIDE = 16

# Measured on 540 photographs of 64 to 600 pixels. Copies as above differ by at most 7 bits, 5.9 levels, 0.15 of
# the contrast and 13 levels of brightness; different photographs by at least 22 levels and 0.5 of the contrast.
LARGEST_HASH_DISTANCE = 8
LARGEST_DIFFERENCE = 6.5  # root mean square over the thumbnail, each channel about its own mean
LARGEST_RELATIVE_DIFFERENCE = 0.17  # the same, as a share of the weaker thumbnail's contrast
LARGEST_SHIFT = 14.0  # of a channel's mean
LARGEST_RELATIVE_SHIFT = 0.5
LEAST_CONTRAST = 3.0  # below this only equal thumbnails count


class Signature(NamedTuple):
    """What is kept of an image to find its near-duplicates.

    Args:
        hash: 64 bits: where the picture gets brighter from left to right, in 8 rows of 8 steps.
        thumbnail: uint8 (16, 16, 3).
    """

    hash: int
    thumbnail: np.ndarray


def signature(image: np.ndarray) -> Signature:
    """The signature of a picture, uint8 (height, width, 1 or 3)."""
    rgb = np.broadcast_to(image, (*image.shape[:2], 3))
    return _signed(Image.fromarray(np.ascontiguousarray(rgb)).resize(_SMALL, _SMOOTH))


def thumbnail(image: np.ndarray) -> np.ndarray:
    """What is kept of an image that is no picture until all are known: float32 (16, 16, 3).

    The three channels are the means of the first, the middle and the last third of its bands, in its own values.

    Args:
        image: (height, width, bands) of any number type.
    """
    thirds = np.array_split(np.arange(image.shape[2]), 3) if image.shape[2] >= 3 else [[0], [0], [-1]]
    planes = [np.mean([_small_band(image[..., band]) for band in third], axis=0) for third in thirds]
    return np.stack(planes, axis=-1).astype(np.float32)


def signatures(thumbnails: Sequence[np.ndarray]) -> list[Signature]:
    """The signatures of images by their thumbnails, all on one scale: what is darker in all of them stays darker."""
    if not thumbnails:
        return []
    low, high = np.percentile(np.stack(thumbnails), (0.5, 99.5))
    scale = 255 / (high - low) if high > low else 0.0
    shown = (np.rint(np.clip((one - low) * scale, 0, 255)).astype(np.uint8) for one in thumbnails)
    return [_signed(Image.fromarray(one)) for one in shown]


def near_duplicates(hashes: np.ndarray, thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of images (first, second), first < second, that show one picture, in order.

    A group of near-duplicates is told by as few pairs as connect it: of many copies of one image not every
    two are listed, but all hang together. So there are always fewer pairs than images, and memory stays
    small for the frames of a film too. 100,000 photographs take seconds; time grows with the square.

    Args:
        hashes: uint64 (images,).
        thumbnails: uint8 (images, 16, 16, 3).
    """
    group = np.arange(len(hashes))  # the lowest index of the group that an image belongs to
    pairs = _equal_pairs(thumbnails)
    for first, second in pairs:
        group[second] = first
    facts = _facts(thumbnails)
    distinct = np.flatnonzero((group == np.arange(len(group))) & (facts.contrast >= LEAST_CONTRAST))
    for first, second in _candidates(hashes, facts.brightness, distinct):
        apart = group[first] != group[second]
        for one, other in _alike(thumbnails, facts, first[apart], second[apart]):
            if group[one] != group[other]:
                group[group == max(group[one], group[other])] = min(group[one], group[other])
                pairs.append((min(one, other), max(one, other)))
    return sorted(pairs)


_SMALL, _SMOOTH = (THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR


def _small_band(band: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(band.astype(np.float32)).resize(_SMALL, _SMOOTH))


def _signed(small: Image.Image) -> Signature:
    steps = np.diff(np.asarray(small.convert("L").resize((9, 8), _SMOOTH), np.int16), axis=1)
    # More than one level brighter: in even backgrounds the sign of the step is noise.
    return Signature(int.from_bytes(np.packbits(steps > 1).tobytes(), "big"), np.array(small))


class _Facts(NamedTuple):
    """What is compared first, float32, in levels of 0..255."""

    brightness: np.ndarray  # (images,)
    colour: np.ndarray  # (images, 3): the mean of each channel
    contrast: np.ndarray  # (images,): root mean square, each channel about its own mean
    coarse: np.ndarray  # (images, 48): the means of 4 x 4 fields, each channel about its own mean


def _facts(thumbnails: np.ndarray) -> _Facts:
    count = len(thumbnails)
    facts = _Facts(*(np.empty(shape, np.float32) for shape in (count, (count, 3), count, (count, 48))))
    for start in range(0, count, 4096):  # in parts, to keep the float copies small
        part = slice(start, start + 4096)
        values = thumbnails[part].astype(np.float32)
        colour = values.mean(axis=(1, 2))
        values -= colour[:, None, None]
        facts.colour[part] = colour
        facts.brightness[part] = colour.mean(axis=1)
        facts.contrast[part] = np.sqrt((values**2).mean(axis=(1, 2, 3)))
        facts.coarse[part] = values.reshape(-1, 4, 4, 4, 4, 3).mean(axis=(2, 4)).reshape(-1, 48)
    return facts


def _equal_pairs(thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """Every image whose thumbnail was there before, with the first one that had it."""
    first_with: dict[bytes, int] = {}
    pairs = ((first_with.setdefault(t.tobytes(), index), index) for index, t in enumerate(thumbnails))
    return [(first, index) for first, index in pairs if first != index]


def _candidates(
    hashes: np.ndarray, brightness: np.ndarray, distinct: np.ndarray, rows: int = 16, columns: int = 4096
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs among the images `distinct` with hashes close enough, some thousands at a time.

    In order of brightness only a window needs to be compared, in blocks that fit the processor's cache.
    """
    order = distinct[np.argsort(brightness[distinct], kind="stable")]
    hashes, brightness = hashes[order].astype(np.uint64), brightness[order]
    ends = np.searchsorted(brightness, brightness + LARGEST_SHIFT, side="right")
    for row in range(0, len(order), rows):
        end = ends[min(row + rows, len(order)) - 1]
        for column in range(row, end, columns):
            others = hashes[column : min(column + columns, end)]
            distance = np.bitwise_count(hashes[row : row + rows, None] ^ others)
            first, second = np.nonzero(distance <= LARGEST_HASH_DISTANCE)
            first, second = first + row, second + column
            later = second > first
            first, second = order[first[later]], order[second[later]]
            for start in range(0, len(first), 8192):
                yield first[start : start + 8192], second[start : start + 8192]


def _alike(
    thumbnails: np.ndarray, facts: _Facts, first: np.ndarray, second: np.ndarray
) -> list[tuple[int, int]]:
    """Those of the pairs whose thumbnails show one picture; the cheap questions are asked first."""
    weaker = np.minimum(facts.contrast[first], facts.contrast[second])
    allowed = np.minimum(LARGEST_DIFFERENCE, LARGEST_RELATIVE_DIFFERENCE * weaker)
    shift = facts.colour[first] - facts.colour[second]
    close = np.abs(shift).max(axis=1) <= np.minimum(LARGEST_SHIFT, LARGEST_RELATIVE_SHIFT * weaker)
    first, second, shift, allowed = first[close], second[close], shift[close], allowed[close]

    # Means of fields never differ by more than the fields themselves do: this leaves out no pair too many.
    coarse = facts.coarse[first] - facts.coarse[second]
    close = np.einsum("ij,ij->i", coarse, coarse) / 48 <= allowed**2
    first, second, shift, allowed = first[close], second[close], shift[close], allowed[close]

    pixels = thumbnails.reshape(len(thumbnails), -1)
    difference = pixels[first].astype(np.float32) - pixels[second]
    squares = np.einsum("ij,ij->i", difference, difference) / pixels.shape[1] - (shift**2).mean(axis=1)
    close = squares <= allowed**2
    return list(zip(first[close].tolist(), second[close].tolist(), strict=True))
