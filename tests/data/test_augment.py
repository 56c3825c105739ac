"""Random changes of images, and the mixing of batches."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vitral.data.augment import Augmentation, image_transform, mix

SIZE = (12, 16)
KINDS = {
    "crop": Augmentation(random_crop=0.2),
    "flip": Augmentation(flip="both"),
    "randaugment": Augmentation(randaugment=3, randaugment_magnitude=12),
    "jitter": Augmentation(color_jitter=0.5),
    "erasing": Augmentation(random_erasing=1.0),
    "all": Augmentation(0.2, "both", 2, 9, 0.4, 0.5),
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def transform(augmentation: Augmentation, channels: int = 3) -> Callable[[Tensor], Tensor]:
    return image_transform(
        augmentation, SIZE, lambda image: image[:, : SIZE[0], : SIZE[1]], (10, 20, 30)[:channels]
    )


def picture(channels: int = 3, height: int = 12, width: int = 16) -> Tensor:
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_size_and_type_stay(kind: str, channels: int) -> None:
    change = transform(KINDS[kind], channels)
    for height, width in ((12, 16), (40, 17), (200, 16)):
        for _ in range(40):  # RandAugment draws another operation each time
            image = change(picture(channels, height, width))
            assert image.shape == (channels, *SIZE)
            assert image.dtype == torch.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_images_do_change_and_the_original_does_not(kind: str) -> None:
    image = picture()
    before = image.clone()
    changed = [not torch.equal(transform(KINDS[kind])(image), before) for _ in range(20)]
    assert sum(changed) >= 10
    assert torch.equal(image, before)


def test_nothing_asked_for_nothing_changed() -> None:
    image = picture()
    for _ in range(10):
        assert torch.equal(transform(Augmentation())(image), image)


@pytest.mark.parametrize(
    ("flip", "wanted"), [("none", {""}), ("horizontal", {"", "h"}), ("both", {"", "h", "v", "hv"})]
)
def test_flips_are_those_asked_for_and_equally_frequent(flip: str, wanted: set[str]) -> None:
    image = picture()
    forms = {"": image, "h": image.flip(2), "v": image.flip(1), "hv": image.flip(1, 2)}
    change, seen = transform(Augmentation(flip=flip)), []
    for _ in range(200):
        result = change(image)
        seen.append(next(name for name, form in forms.items() if torch.equal(result, form)))
    assert set(seen) == wanted
    assert all(abs(seen.count(name) / 200 - 1 / len(wanted)) < 0.12 for name in wanted)


def test_a_random_crop_takes_the_share_asked_for() -> None:
    """Of an image whose values are its coordinates, the spread of the values tells the area that was taken."""
    across = torch.arange(200, dtype=torch.uint8).expand(1, 200, 200)
    image = torch.cat([across, across.transpose(1, 2), across])
    change, areas = image_transform(Augmentation(random_crop=0.3), (16, 16), lambda i: i, (0, 0, 0)), []
    for _ in range(200):
        crop = change(image).float()
        width, height = (float(plane.max() - plane.min()) * 16 / 15 for plane in crop[:2])
        areas.append(width * height / 200**2)
    assert 0.25 < min(areas) < 0.4
    assert 0.9 < max(areas) < 1.1


def test_what_is_erased_becomes_the_fill_colour() -> None:
    image = torch.full((3, *SIZE), 200, dtype=torch.uint8)
    erased = transform(Augmentation(random_erasing=1.0))(image)
    colours = {tuple(pixel) for pixel in erased.flatten(1).T.tolist()}
    assert colours == {(200, 200, 200), (10, 20, 30)}


def test_one_seed_one_change() -> None:
    image, change = picture(), transform(KINDS["all"])

    def changed(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return change(image)

    assert torch.equal(changed(3), changed(3))
    assert not torch.equal(changed(3), changed(4))


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 1, 2])


def test_nothing_is_mixed_unless_asked_for() -> None:
    images, labels = batch()
    for augmentation in (Augmentation(), Augmentation(mixup=1.0, cutmix=1.0, mix_probability=0.0)):
        mixed, targets = mix(images, labels, 4, augmentation)
        assert torch.equal(mixed, images)
        assert torch.equal(targets, labels)


def test_mixup_is_the_weighted_sum_of_two_images_and_of_their_labels() -> None:
    for _ in range(10):
        images, labels = batch()
        mixed, targets = mix(images, labels, 4, Augmentation(mixup=0.8))
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(6))
        for index in range(6):
            partner = index - 1
            share = targets[0, 0].item()  # the first image alone is of class 0, its partner of class 2
            torch.testing.assert_close(mixed[index], share * images[index] + (1 - share) * images[partner])
            expected = torch.zeros(4)
            expected[labels[index]] += share
            expected[labels[partner]] += 1 - share
            torch.testing.assert_close(targets[index], expected)


def test_cutmix_puts_a_box_of_another_image_in_and_says_how_large_it_is() -> None:
    boxes = set()
    for _ in range(20):
        images, labels = batch()
        mixed, targets = mix(images, labels, 4, Augmentation(cutmix=1.0))
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(6))
        for index in range(6):
            own = (mixed[index] == images[index]).all(dim=0)
            other = (mixed[index] == images[index - 1]).all(dim=0)
            assert (own | other).all()
            expected = torch.zeros(4)
            expected[labels[index]] += own.float().mean()
            expected[labels[index - 1]] += other.float().mean()
            torch.testing.assert_close(targets[index], expected)
        boxes.add(int(own.sum()))
    assert len(boxes) > 5


def test_with_both_each_step_draws_one() -> None:
    images, labels = batch()
    kinds = []
    for _ in range(200):
        mixed, _ = mix(images, labels, 4, Augmentation(mixup=0.8, cutmix=1.0, mix_probability=0.75))
        pixels = (mixed[0] == images[0]) | (mixed[0] == images[-1])
        kinds.append("none" if torch.equal(mixed, images) else "cutmix" if pixels.all() else "mixup")
    assert abs(kinds.count("mixup") - 75) < 30
    assert 40 < kinds.count("cutmix") < 105  # a box may be empty
    assert abs(kinds.count("none") - 50) < 35


def test_a_batch_of_one_image_can_be_mixed() -> None:
    images, targets = mix(torch.ones(1, 3, 8, 8), torch.tensor([2]), 4, Augmentation(mixup=0.8, cutmix=1.0))
    torch.testing.assert_close(images, torch.ones(1, 3, 8, 8))
    torch.testing.assert_close(targets, torch.tensor([[0.0, 0, 1, 0]]))


@pytest.mark.parametrize("kind", ["crop", "flip", "erasing"])
def test_five_channels_of_floats_keep_shape_and_type(kind: str) -> None:
    fill = (0.1, 0.2, 0.3, 0.4, 0.5)
    change = image_transform(KINDS[kind], SIZE, lambda image: image[:, : SIZE[0], : SIZE[1]], fill)
    image = torch.rand(5, 40, 17) * 3 - 1
    results = [change(image) for _ in range(20)]
    assert all(result.shape == (5, *SIZE) and result.dtype == torch.float32 for result in results)
    assert any(result.max() > 1 and result.min() < 0 for result in results)  # nothing is clipped


def test_what_is_erased_of_five_channels_becomes_their_mean() -> None:
    fill = (0.1, 0.2, 0.3, 0.4, 0.5)
    change = image_transform(Augmentation(random_erasing=1.0), SIZE, lambda image: image, fill)
    erased = change(torch.full((5, *SIZE), 2.0))
    pixels = {tuple(round(value, 6) for value in pixel) for pixel in erased.flatten(1).T.tolist()}
    assert pixels == {(2.0,) * 5, fill}
