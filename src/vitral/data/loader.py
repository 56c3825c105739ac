"""Batches for training and evaluation.

Randomness belongs to the sample: what happens to an image depends on (seed, epoch, its place in the training split)
and on nothing else, so any number of workers, shards and resumes gives the same batches.
"""

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitral.data.augment import Augmentation, image_transform
from vitral.data.labelled import LabelledImages, Sample
from vitral.images import Preprocessing


@dataclass(frozen=True)
class Batch:
    """Images `(batch, channels, height, width)`, labels as `LabelledImages.targets` gives them.

    Pictures are uint8; of other images the values are float32, as `Preprocessing.values` gives them.
    """

    images: Tensor
    labels: Tensor

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader, so that copies to a GPU overlap with computing."""
        return Batch(self.images.pin_memory(), self.labels.pin_memory())


@dataclass(frozen=True)
class TrainingBatches:
    """The whole course of a training as one stream of batches, epoch after epoch.

    Args:
        data, preprocessing, augmentation: what is read, the size wanted, and the random changes.
        batch_size: images a batch; the last one of an epoch may be smaller.
        epochs, seed: the order is drawn anew from (seed, epoch).
        workers: processes that read beside the training; 0 reads in this one.
        shard: (index, count): of every batch this process takes the images index, index + count, …
        pin: put batches where a GPU fetches them fastest.
    """

    data: LabelledImages
    preprocessing: Preprocessing
    augmentation: Augmentation
    batch_size: int
    epochs: int
    seed: int
    workers: int = 0
    shard: tuple[int, int] = (0, 1)
    pin: bool = False

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.data.split("train")) // self.batch_size)

    def stream(self, first_epoch: int = 0, first_batch: int = 0) -> Iterator[Batch]:
        """All batches from this place of the training on; the place costs nothing to reach."""
        samples = self.data.split("train")
        transform = image_transform(
            self.augmentation, self.preprocessing.size, self._fit, _mean_colour(self.preprocessing)
        )
        dataset = _Augmented(self.data, samples, self.preprocessing, transform, self.seed)
        places = _Places(
            len(samples), self.batch_size, self.epochs, self.seed, self.shard, first_epoch, first_batch
        )
        return iter(_loader(dataset, places, self.workers, self.pin))

    def _fit(self, image: Tensor) -> Tensor:
        fitted = self.preprocessing.resize(image.permute(1, 2, 0).numpy())
        return torch.from_numpy(fitted).permute(2, 0, 1)


def evaluation_batches(
    data: LabelledImages,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    batch_size: int,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[Batch]:
    """The samples in their order, fitted by `preprocessing`, nothing random."""
    dataset = _Fitted(data, samples, preprocessing)
    batches = [
        range(start, min(start + batch_size, len(samples))) for start in range(0, len(samples), batch_size)
    ]
    return iter(_loader(dataset, batches, workers, pin))


def seed_of(*parts: int) -> int:
    """One seed below 2^63 from several whole numbers, such as (seed, epoch, index); near parts give far seeds."""
    state = 0
    for part in parts:  # splitmix64
        state = (state ^ (part & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state >> 1


_MASK = (1 << 64) - 1


class _Augmented(Dataset[Batch]):
    """Training images by (epoch, index), each changed by random numbers of its own."""

    def __init__(
        self,
        data: LabelledImages,
        samples: Sequence[Sample],
        preprocessing: Preprocessing,
        transform: Callable[[Tensor], Tensor],
        seed: int,
    ) -> None:
        self.data, self.samples, self.preprocessing = data, samples, preprocessing
        self.transform, self.seed = transform, seed

    def __getitems__(self, places: list[tuple[int, int]]) -> Batch:
        # Allocated first, as a shard of an epoch's last batch may have no image.
        kind = torch.float32 if self.preprocessing.bands else torch.uint8
        shape = (self.preprocessing.channels, *self.preprocessing.size)
        images = torch.empty(len(places), *shape, dtype=kind)
        with _generator_put_back():
            for position, (epoch, index) in enumerate(places):
                images[position] = self._image(epoch, index)
        labels = self.data.targets([self.samples[index] for _, index in places])
        return Batch(images, torch.from_numpy(labels))

    def _image(self, epoch: int, index: int) -> Tensor:
        torch.default_generator.manual_seed(seed_of(self.seed, epoch, index))
        values = self.preprocessing.values(self.data.read(self.samples[index]))
        return self.transform(_as_tensor(values))


class _Fitted(Dataset[Batch]):
    """Images by index, as evaluation and prediction see them."""

    def __init__(self, data: LabelledImages, samples: Sequence[Sample], preprocessing: Preprocessing) -> None:
        self.data, self.samples, self.preprocessing = data, samples, preprocessing

    def __getitems__(self, indices: list[int]) -> Batch:
        images = [self.preprocessing.fit_image(self.data.read(self.samples[index])) for index in indices]
        labels = self.data.targets([self.samples[index] for index in indices])
        return Batch(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.from_numpy(labels))


@dataclass(frozen=True)
class _Places:
    """A batch sampler: for every batch of the training, the (epoch, index) of its images."""

    images: int
    batch_size: int
    epochs: int
    seed: int
    shard: tuple[int, int]
    first_epoch: int
    first_batch: int

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        index, count = self.shard
        for epoch in range(self.first_epoch, self.epochs):
            generator = torch.Generator().manual_seed(seed_of(self.seed, epoch))
            order = torch.randperm(self.images, generator=generator).tolist()
            skipped = self.first_batch * self.batch_size if epoch == self.first_epoch else 0
            for start in range(skipped, self.images, self.batch_size):
                batch = order[start : start + self.batch_size][index::count]
                yield [(epoch, sample) for sample in batch]


def _loader(dataset: Dataset[Batch], batches: object, workers: int, pin: bool) -> DataLoader[Batch]:
    return DataLoader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_as_it_is,
        num_workers=workers,
        # Forked workers share the decoded images with this process and need no main guard in a user's script.
        multiprocessing_context=multiprocessing.get_context("fork") if workers and _can_fork() else None,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # DataLoader would else draw a number from the caller's
    )


def _can_fork() -> bool:
    return sys.platform.startswith("linux")


def _as_it_is(batch: Any) -> Any:
    return batch


def _as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _mean_colour(preprocessing: Preprocessing) -> tuple[float, ...]:
    if preprocessing.bands:
        return preprocessing.mean
    low, high = preprocessing.range
    return tuple(round(low + mean * (high - low)) for mean in preprocessing.mean)


@contextmanager
def _generator_put_back() -> Iterator[None]:
    state = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
