"""Are copies of one picture found, and different pictures left apart?"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from vitral.images import near_duplicates, read_image, signature


def pairs_of(images: list[np.ndarray]) -> list[tuple[int, int]]:
    signatures = [signature(image) for image in images]
    return near_duplicates(
        np.array([s.hash for s in signatures], np.uint64), np.stack([s.thumbnail for s in signatures])
    )


def pictures(count: int, height: int = 96, width: int = 128, seed: int = 0) -> list[np.ndarray]:
    """Pictures like photographs in this: coarse shapes are strong, fine ones weak (1/f), every channel its own."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        picture = np.zeros((height, width, 3))
        for cells in (2, 4, 8, 16, 32):
            noise = generator.normal(0, 90 / cells**0.8, (cells, cells, 3))
            layers = [Image.fromarray(noise[..., c].astype(np.float32)) for c in range(3)]
            picture += np.stack(
                [layer.resize((width, height), Image.Resampling.BICUBIC) for layer in layers], axis=-1
            )
        made.append((picture + generator.uniform(90, 160)).clip(0, 255).astype(np.uint8))
    return made


def saved(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return read_image(file.getvalue())


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((round(width * factor), round(height * factor))))


def brightened(image: np.ndarray, factor: float) -> np.ndarray:
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(factor))


COPIES = {
    "the same file": lambda image: image,
    "JPEG 60": lambda image: saved(image, 60),
    "JPEG 95": lambda image: saved(image, 95),
    "half the size": lambda image: resized(image, 0.5),
    "70 %": lambda image: resized(image, 0.7),
    "twice the size": lambda image: resized(image, 2),
    "twice the size, JPEG 75": lambda image: saved(resized(image, 2), 75),
    "5 % brighter": lambda image: brightened(image, 1.05),
    "5 % darker": lambda image: brightened(image, 0.95),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_found_and_nothing_else(copy):
    originals = pictures(60)
    found = pairs_of(originals + [COPIES[copy](image) for image in originals])
    assert found == [(index, index + 60) for index in range(60)]


@pytest.mark.parametrize("copy", ["JPEG 60", "half the size", "5 % brighter", "5 % darker"])
def test_copies_of_real_photographs_are_found_and_nothing_else(shared, copy):
    originals = [read_image(path) for path in sorted((shared / "data" / "photos").glob("*.jpg"))]
    count = len(originals)
    found = pairs_of(originals + [COPIES[copy](image) for image in originals])
    assert found == [(index, index + count) for index in range(count)]


@pytest.mark.parametrize("name", ["food-vision-10", "food-vision-mini"])
def test_different_photographs_of_one_dish_stay_apart(shared, name):
    paths = sorted(Path(shared / "data" / name).glob("*/*/*.jpg"))
    assert len(paths) >= 300
    images = [read_image(path) for path in paths]
    assert pairs_of(images) == []
    again = [saved(image, 60) for image in images[::10]]
    assert pairs_of(images + again) == [(index * 10, len(images) + index) for index in range(len(again))]


def test_mirror_images_crops_and_other_colours_are_other_pictures():
    originals = pictures(20)
    for change in (
        lambda image: image[:, ::-1],
        lambda image: image[10:-10, 15:-15],
        lambda image: image[..., ::-1],
        lambda image: 255 - image,
        lambda image: brightened(image, 0.7),
    ):
        assert pairs_of(originals + [change(image) for image in originals]) == []


def test_nearly_uniform_images_are_not_all_one():
    generator = np.random.default_rng(0)
    walls = [np.full((64, 64, 3), value, np.uint8) for value in range(100, 140, 2)]
    walls += [(120 + generator.integers(0, 3, (64, 64, 3))).astype(np.uint8) for _ in range(20)]
    assert len(pairs_of(walls)) <= 2
    assert pairs_of([walls[0], walls[1], walls[0]]) == [(0, 2)]


def test_many_copies_of_one_picture_hang_together_by_as_few_pairs_as_it_takes():
    one, other = pictures(2)
    copies = [one, *(saved(one, quality) for quality in (95, 90, 80, 70, 60)), resized(one, 0.5), one]
    found = pairs_of([*copies, other])
    assert len(found) == len(copies) - 1
    together = {0}
    for _ in found:
        together |= {image for pair in found if together & set(pair) for image in pair}
    assert together == set(range(len(copies)))
    assert all(first < second for first, second in found)


def test_the_order_of_the_images_does_not_matter():
    originals = pictures(40)
    images = originals + [saved(image, 70) for image in originals[:15]]
    order = np.random.default_rng(1).permutation(len(images))
    found = {frozenset(order[list(pair)].tolist()) for pair in pairs_of([images[index] for index in order])}
    assert found == {frozenset((index, index + 40)) for index in range(15)}


def test_grey_images_and_tiny_ones_have_signatures(scene):
    assert signature(scene[..., :1]).thumbnail.shape == (16, 16, 3)
    assert signature(np.zeros((1, 1, 1), np.uint8)).hash == 0
    assert 0 <= signature(scene).hash < 2**64
    assert near_duplicates(np.empty(0, np.uint64), np.empty((0, 16, 16, 3), np.uint8)) == []


def test_the_handwritten_digits_are_not_copies_of_each_other():
    from sklearn.datasets import load_digits

    digits = (load_digits().images * 255 / 16).round().astype(np.uint8)[..., None]
    assert len(pairs_of(list(digits))) <= 3


def test_ten_thousand_frames_of_a_film_keep_their_memory_small():
    generator = np.random.default_rng(0)
    frame = signature(pictures(1)[0])
    shaken = frame.thumbnail.astype(int) + generator.integers(-2, 3, (10_000, 16, 16, 3))
    found = near_duplicates(np.full(10_000, frame.hash, np.uint64), shaken.clip(0, 255).astype(np.uint8))
    assert len(found) == 9_999
