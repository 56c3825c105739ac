"""What DATA is once it has been opened: samples with class, split, group and content hash, and how to read them."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vitral.errors import DataError, ImageError
from vitral.language import Sentence, count_of

SPLITS = ("train", "validation", "test")

# What people call the splits, folded as `split_of` folds: folders and csv values in either language.
SPLIT_WORDS = {
    "train": "train",
    "treino": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "validacao": "validation",
    "validação": "validation",
    "test": "test",
    "teste": "test",
}

# Decoded images are kept while all of them together fit in this many bytes.
MEMORY = 1 << 30


@dataclass(frozen=True)
class Sample:
    """One image that takes part.

    Args:
        path: as splits.csv names it: relative to a folder, as a csv wrote it, or made up for images that
            are no files ("digits/0123"). Unique within its DATA.
        labels: indices into `LabelledImages.class_names`, rising: one, or in multi-label data any number.
        split: "train", "validation" or "test".
        group: the patient, product or scene it belongs to; "" where it belongs to itself only.
        hash: SHA-256 of the file's bytes (of shape and values for images that are no files), hexadecimal.
        source: the file's absolute path; None for images that are no files.
        fold: which fold it is tested in, from 1; None where DATA was opened without folds. With folds `split` says on
            which side it is in the runs that do not test it.
    """

    path: str
    labels: tuple[int, ...]
    split: str
    group: str
    hash: str
    source: str | None
    fold: int | None = None

    @property
    def label(self) -> int:
        """The one label; a ValueError where there is not exactly one."""
        (label,) = self.labels
        return label


@dataclass(frozen=True)
class BadFile:
    """A file that should have been an image, and why it is none."""

    path: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """A readable image that takes no part, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Sizes:
    """The smallest, the median and the largest image by area, each (height, width) in pixels."""

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images in splits; made by `open_data`.

    Args:
        spec: DATA as the user wrote it.
        name: short, for the names of runs.
        class_names: in the order of `Sample.labels`.
        samples: those that take part, by split and then in the order of the source; with folds in that order alone.
        bad_files, left_out: what does not take part, and why.
        channels: of every decoded image; of pictures 1 or 3.
        sizes: of the images that take part.
        notes: what a person should know before using these data, one sentence each.
        splits_given: whether DATA (or a splits.csv) said the splits, rather than a draw.
        reader: turns a sample into an array (height, width, channels).
        keep: whether decoded images fit in memory and are kept there.
        dtype: of the values; None: 8-bit pictures.
        multi_label: whether an image may have several classes, or none.
    """

    spec: str
    name: str
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    bad_files: tuple[BadFile, ...]
    left_out: tuple[LeftOut, ...]
    channels: int
    sizes: Sizes
    notes: tuple[str, ...]
    splits_given: bool
    reader: Callable[[Sample], np.ndarray] = field(repr=False, compare=False)
    keep: bool = False
    dtype: str | None = None
    multi_label: bool = False
    _kept: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def read(self, sample: Sample) -> np.ndarray:
        """The decoded image (height, width, channels), not to be written to.

        Of pictures uint8, of others the type that they are stored in.

        Raises ImageError, naming the file, where one has gone bad since DATA was opened.
        """
        image = self._kept.get(sample.path)
        if image is None:
            try:
                image = self.reader(sample)
                if image.shape[2] != self.channels or (self.dtype and image.dtype.name != self.dtype):
                    raise ImageError(
                        "it holds other values than when DATA was opened: put it back, or start anew"
                    )
            except ImageError as error:
                raise ImageError(f"{sample.path}: {error}") from error
            if self.keep:
                self._kept[sample.path] = image
        return image

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of "train", "validation" or "test"; empty where there is no such split."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def counts(self) -> dict[str, dict[str, int]]:
        """Images by split and class name; splits without images are absent, classes without any count 0.

        An image of several classes counts once in each.
        """
        counted = Counter((sample.split, label) for sample in self.samples for label in sample.labels)
        present = {sample.split for sample in self.samples}
        return {
            split: {name: counted[split, label] for label, name in enumerate(self.class_names)}
            for split in SPLITS
            if split in present
        }

    def targets(self, samples: Sequence[Sample]) -> np.ndarray:
        """What is to be answered: labels int64 `(samples,)`, or multi-label float32 `(samples, classes)` of 0 and 1."""
        if not self.multi_label:
            return np.array([sample.label for sample in samples], dtype=np.int64)
        targets = np.zeros((len(samples), len(self.class_names)), dtype=np.float32)
        for row, sample in zip(targets, samples, strict=True):
            row[list(sample.labels)] = 1
        return targets

    def label_text(self, sample: Sample) -> str:
        """The class of an image, or `a|b` for several and "" for none."""
        return label_text(self.class_names[label] for label in sample.labels)

    @property
    def has_groups(self) -> bool:
        """Whether any image belongs to a group that the user named."""
        return any(sample.group for sample in self.samples)

    @property
    def digest(self) -> str:
        """SHA-256 over contents, class names and splits; renaming or moving files does not change it."""
        lines = sorted(f"{s.hash}\t{self.label_text(s)}\t{s.split}\n" for s in self.samples)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class ArrayReader:
    """Reads samples that are no files: `arrays[positions[path]]`, each (height, width, channels)."""

    arrays: np.ndarray | list[np.ndarray]
    positions: dict[str, int]

    def __call__(self, sample: Sample) -> np.ndarray:
        return self.arrays[self.positions[sample.path]]


def check_trainable(data: LabelledImages) -> None:
    """DataError unless every class has at least one training image (evaluation needs none)."""
    if not data.split("train"):
        raise DataError(
            f"{data.spec} has no training images: add a folder (or csv rows) of the split train, "
            "or more images where the splits were drawn"
        )
    counts = data.counts()["train"]
    missing = [name for name, count in counts.items() if not count]
    if missing:
        names = ", ".join(repr(name) for name in missing)
        remedy = (
            "add some, or take the class out of the other splits"
            if data.splits_given
            else "add images of it, or draw the splits with another --split-seed"
        )
        raise DataError(f"no training image for class {names}: {remedy}")


def without_seen(data: LabelledImages, seen: set[str]) -> LabelledImages:
    """`data` without the test images whose content is in `seen`; they are listed in `left_out` and counted.

    Args:
        seen: hashes (`Sample.hash`) of the images that a run trained or chose on.
    """
    dropped = [s for s in data.samples if s.split == "test" and s.hash in seen]
    if not dropped:
        return data
    paths = {sample.path for sample in dropped}
    reasons = tuple(LeftOut(s.path, "the run trained or chose on the same image") for s in dropped)
    note = Sentence(
        f"{count_of(len(dropped), 'test image')} left out: the run trained or chose on the same content",
        f"{count_of(len(dropped), 'imagem|imagens', 'pt')} de teste fora da conta: o treino já aprendeu ou "
        "escolheu com o mesmo conteúdo",
    )
    return replace(
        data,
        samples=tuple(sample for sample in data.samples if sample.path not in paths),
        left_out=data.left_out + reasons,
        notes=(*data.notes, note),
    )


def label_text(names: Iterable[str]) -> str:
    """Class names as files keep them: `a|b`, "" for none."""
    return "|".join(names)


def label_names(text: str) -> tuple[str, ...]:
    """The class names of `a|b`, each once and sorted; of "" none."""
    return tuple(sorted({name.strip() for name in text.split("|")} - {""}))


def split_of(word: str) -> str | None:
    """The split that a folder's name or a csv value means, in either language; None for any other word."""
    return SPLIT_WORDS.get(same_text(word.strip()).casefold())


def same_text(text: str) -> str:
    """`text` in Unicode NFC, so that names typed on different systems compare equal."""
    return unicodedata.normalize("NFC", text)
