"""Batches: the same whoever reads them, every image once an epoch, evaluation as prediction sees it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from vitral.data import LabelledImages, Sample, Sizes
from vitral.data.augment import Augmentation
from vitral.data.labelled import ArrayReader
from vitral.data.loader import Batch, TrainingBatches, evaluation_batches, seed_of
from vitral.device import Compute
from vitral.images import Preprocessing
from vitral.inference import Normalise

EVERYTHING = Augmentation(random_crop=0.3, flip="both", randaugment=2, color_jitter=0.4, random_erasing=0.5)
PREPROCESSING = Preprocessing(size=(6, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))

# More workers than the machine has cores; and Python 3.12's general warning about fork beside threads.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def data() -> LabelledImages:
    """22 noisy images of different sizes; an image's label is its number, so that it can be told in a batch."""
    random = np.random.default_rng(0)
    arrays = [
        random.integers(0, 256, (9 + index % 3, 10 + index % 4, 3), dtype=np.uint8) for index in range(22)
    ]
    samples = tuple(Sample(f"made/{index}", (index,), "train", "", f"{index}", None) for index in range(22))
    return LabelledImages(
        spec="made",
        name="made",
        class_names=tuple(f"{index:02}" for index in range(22)),
        samples=samples,
        bad_files=(),
        left_out=(),
        channels=3,
        sizes=Sizes((9, 10), (9, 10), (9, 10)),
        notes=(),
        splits_given=True,
        reader=ArrayReader(arrays, {sample.path: sample.label for sample in samples}),
    )


@pytest.fixture
def batches(data: LabelledImages) -> TrainingBatches:
    return TrainingBatches(data, PREPROCESSING, EVERYTHING, batch_size=5, epochs=3, seed=0)


def collect(stream: Iterator[Batch]) -> list[Batch]:
    return list(stream)


def assert_equal(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.labels, b.labels)
        assert torch.equal(a.images, b.images)


def test_any_number_of_workers_gives_the_same_batches(batches: TrainingBatches) -> None:
    expected = collect(batches.stream())
    assert len(expected) == 3 * batches.per_epoch == 15
    for workers in (1, 3):
        assert_equal(collect(replace(batches, workers=workers).stream()), expected)


def test_batches_are_what_the_network_takes(batches: TrainingBatches) -> None:
    batch = next(batches.stream())
    assert batch.images.shape == (5, 3, 6, 8)
    assert (batch.images.dtype, batch.labels.dtype) == (torch.uint8, torch.int64)


@pytest.mark.parametrize("batch_size", [5, 7])  # 22 in fives leaves 2 for the last batch, in sevens 1
def test_shards_together_are_the_whole(batches: TrainingBatches, batch_size: int) -> None:
    batches = replace(batches, batch_size=batch_size)
    whole = collect(batches.stream())
    shards = [collect(replace(batches, shard=(index, 2)).stream()) for index in range(2)]
    joined = []
    for first, second in zip(*shards, strict=True):
        count = len(first.labels) + len(second.labels)
        images, labels = torch.empty(count, 3, 6, 8, dtype=torch.uint8), torch.empty(count, dtype=torch.int64)
        images[0::2], images[1::2] = first.images, second.images
        labels[0::2], labels[1::2] = first.labels, second.labels
        joined.append(Batch(images, labels))
    assert_equal(joined, whole)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("place", [(0, 0), (0, 3), (1, 0), (1, 4), (2, 2), (0, 5), (3, 0)])
def test_a_stream_may_start_anywhere(batches: TrainingBatches, place: tuple[int, int], workers: int) -> None:
    epoch, batch = place
    rest = collect(batches.stream())[epoch * batches.per_epoch + batch :]
    assert_equal(collect(replace(batches, workers=workers).stream(epoch, batch)), rest)


def test_every_image_comes_once_an_epoch(batches: TrainingBatches) -> None:
    stream = collect(batches.stream())
    orders = []
    for epoch in range(3):
        part = stream[epoch * 5 : epoch * 5 + 5]
        assert [len(batch.labels) for batch in part] == [5, 5, 5, 5, 2]
        orders.append(tuple(torch.cat([batch.labels for batch in part]).tolist()))
        assert Counter(orders[-1]) == Counter(range(22))
    assert len(set(orders)) == 3


def test_order_and_changes_are_drawn_from_the_seed(batches: TrainingBatches) -> None:
    mine, again, other = (collect(replace(batches, seed=seed).stream()) for seed in (4, 4, 5))
    assert_equal(mine, again)
    assert [b.labels.tolist() for b in mine] != [b.labels.tolist() for b in other]
    by_label = [
        {label: image for b in run[:5] for label, image in zip(b.labels.tolist(), b.images, strict=True)}
        for run in (mine, other)
    ]
    assert sum(not torch.equal(by_label[0][label], by_label[1][label]) for label in range(22)) > 15


def test_an_image_changes_from_epoch_to_epoch(batches: TrainingBatches) -> None:
    stream = collect(batches.stream())
    first, second = (
        {
            label: image
            for b in stream[start : start + 5]
            for label, image in zip(b.labels.tolist(), b.images, strict=True)
        }
        for start in (0, 5)
    )
    assert sum(not torch.equal(first[label], second[label]) for label in range(22)) > 15


def test_what_happens_to_an_image_does_not_hang_on_its_neighbours(batches: TrainingBatches) -> None:
    """In batches of another size the same images come out, in the same order."""
    fives, threes = (collect(replace(batches, batch_size=size, epochs=1).stream()) for size in (5, 3))
    assert torch.equal(torch.cat([b.images for b in fives]), torch.cat([b.images for b in threes]))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_callers_random_numbers_are_untouched(
    data: LabelledImages, batches: TrainingBatches, workers: int
) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    collect(replace(batches, workers=workers).stream())
    collect(evaluation_batches(data, data.samples, PREPROCESSING, 4, workers))
    assert torch.equal(torch.rand(4), expected)


def test_the_callers_random_numbers_change_nothing(batches: TrainingBatches) -> None:
    torch.manual_seed(1)
    first = collect(batches.stream())
    torch.manual_seed(2)
    assert_equal(collect(batches.stream()), first)


def test_without_augmentation_images_are_fitted_only(data: LabelledImages) -> None:
    plain = TrainingBatches(data, PREPROCESSING, Augmentation(), 4, 1, 0)
    for batch in plain.stream():
        for image, label in zip(batch.images, batch.labels, strict=True):
            fitted = PREPROCESSING.fit_image(data.read(data.samples[int(label)]))
            assert torch.equal(image, torch.from_numpy(fitted).permute(2, 0, 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_sees_what_preprocessing_says(data: LabelledImages, workers: int) -> None:
    normalise = Normalise(PREPROCESSING, Compute(torch.device("cpu"), "", "fp32", ""))
    stream = collect(evaluation_batches(data, data.samples, PREPROCESSING, 8, workers))
    assert [len(batch.labels) for batch in stream] == [8, 8, 6]
    assert torch.cat([batch.labels for batch in stream]).tolist() == list(range(22))
    mine = torch.cat([normalise(batch.images) for batch in stream])
    theirs = np.stack([PREPROCESSING(data.read(sample)) for sample in data.samples])
    assert mine.dtype == torch.float32
    np.testing.assert_allclose(mine.numpy(), theirs, rtol=0, atol=1e-6)
    by_hand = (
        PREPROCESSING.fit_image(data.read(data.samples[3])) / 255 - PREPROCESSING.mean
    ) / PREPROCESSING.std
    np.testing.assert_allclose(mine[3].permute(1, 2, 0).numpy(), by_hand, rtol=0, atol=1e-6)


def test_normalised_images_have_the_networks_precision() -> None:
    normalise = Normalise(PREPROCESSING, Compute(torch.device("cpu"), "", "bf16", ""))
    images = torch.randint(0, 256, (2, 3, 6, 8), dtype=torch.uint8)
    exact = Normalise(PREPROCESSING, Compute(torch.device("cpu"), "", "fp32", ""))(images)
    assert torch.equal(normalise(images), exact.bfloat16())  # rounded once, at the end


def test_the_datas_images_are_not_written_to(data: LabelledImages, batches: TrainingBatches) -> None:
    before = [data.read(sample).copy() for sample in data.samples]
    collect(batches.stream())
    assert all(
        np.array_equal(old, data.read(sample)) for old, sample in zip(before, data.samples, strict=True)
    )


def test_seeds_are_far_apart() -> None:
    seeds = [seed_of(seed, epoch, index) for seed in range(6) for epoch in range(20) for index in range(50)]
    seeds += [seed_of(seed, epoch) for seed in range(6) for epoch in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(-1, 2**70) >= 0
    bits = np.array([[seed >> bit & 1 for bit in range(63)] for seed in seeds])
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.05  # every bit is one half of the time
