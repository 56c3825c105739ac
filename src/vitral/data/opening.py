"""`open_data`: from what the user names to labelled images in splits, everything checked on the way."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from vitral.data.labelled import (
    MEMORY,
    SPLITS,
    ArrayReader,
    BadFile,
    LabelledImages,
    LeftOut,
    Sample,
    Sizes,
)
from vitral.data.scan import Facts, Progress, scan_arrays, scan_files
from vitral.data.sides import IN_PORTUGUESE, assign_sides
from vitral.data.sources import Item, Listing, grouped, list_images
from vitral.errors import DataError, UsageError
from vitral.images import described, read_bands, read_image
from vitral.language import Language, Sentence, count_of

# More bad files than this share stop everything: then it is rather DATA that is wrong than a few files.
MOST_BAD = 0.10

Kind = tuple[int, str | None]  # channels, and the type of number; None: 8-bit pictures


def open_data(
    spec: str | PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    data_root: str | PathLike[str] | None = None,
    group_by: str | None = None,
    validation: float | None = None,
    split_seed: int = 0,
    folds: int | None = None,
    strict: bool = False,
    splits: str | PathLike[str] | None = None,
    bands: bool = False,
    progress: Progress | None = None,
) -> LabelledImages:
    """Open DATA: find the images, look at each once, and say which split each belongs to.

    All images are of one kind, the commonest: 8-bit pictures, or as many channels of one type of number. Files of
    another kind are bad files.

    DATA without splits is divided 70/15/15 as `draw_splits` describes. Where DATA has splits, images of
    validation and test that are also in train (or, for test, in validation), that are near-duplicates of
    one there, or share a group with one there, are left out and counted. With `folds` all images take part, whatever
    split DATA has them in, and `fold` gives the images of each run.

    Args:
        spec: DATA, see the reference: a folder, a .csv, `digits`, `food-vision-mini`, `torchvision:NAME`.
        columns: a csv's other headings, {"path": "id_code"}.
        data_root: where the files of `torchvision:NAME` are; default: the cache, fetched if need be.
        group_by: "folder" or a regular expression on the path; members of a group stay on one side.
        validation: share of the training images to choose on, where DATA has test but no validation, or with `folds`.
        split_seed: another number draws other splits and folds.
        folds: into how many folds all images are divided, as `draw_folds` describes.
        strict: a single bad file is an error.
        splits: a run's splits.csv; its images take part as it says, all others are left out.
        bands: read 8-bit pictures band by band, too, and not as a person sees them.
        progress: called with the number of images looked at so far and in all.

    Raises:
        UsageError: unknown DATA, or options that do not go together.
        DataError: DATA cannot be used: no classes or one only, a class without a usable image, more than
            10 % bad files, a bad csv, images of `splits` that are missing or changed.
    """
    spec = fspath(spec)
    if validation is not None and not 0 < validation < 1:
        raise UsageError(
            f"--validation {validation:g} is no share: say a number between 0 and 1, for instance 0.15"
        )
    listing = list_images(
        spec, columns, Path(data_root).expanduser() if data_root is not None else None, progress
    )
    if not listing.items:
        raise DataError(
            f"no images in {_named(listing.sections)}: put images in, or delete the empty folders"
        )
    items = grouped(listing.items, group_by) if group_by is not None else listing.items
    for item in items:
        if "|" in item.label and not listing.multi_label:
            raise DataError(
                f"the label {item.label!r} ({item.path}) is reserved for multi-label: rename the class, "
                "or list the images in a .csv, where a|b means both"
            )
    items, facts, arrays, bad_files = _usable(spec, listing, items, bands, progress)
    _refuse(listing, items, bad_files, strict)
    sides = assign_sides(items, facts, validation, split_seed, folds, splits)
    # With folds the source's order alone, so that in every fold's run each split is in that order.
    order = range(len(items)) if any(sides.folds) else _by_split(sides.splits)
    kept = [index for index in order if index not in sides.left_out]
    named = [items[index].names if listing.multi_label else (items[index].label,) for index in kept]
    class_names = _class_names(listing, [name for names in named for name in names])
    number = {name: label for label, name in enumerate(class_names)}
    samples = tuple(
        Sample(
            path=item.path,
            labels=tuple(number[name] for name in names),
            split=sides.splits[index],
            group=item.group,
            hash=facts[index].hash,
            source=str(item.file) if item.file else None,
            fold=sides.folds[index] if sides.folds else None,
        )
        for index, item, names in (
            (index, items[index], names) for index, names in zip(kept, named, strict=True)
        )
    )
    kept_facts = [facts[index] for index in kept]
    constant = _constant(samples, class_names) if listing.multi_label else []
    left_out = [LeftOut(items[index].path, reason) for index, reason in sides.left_out.items()]
    return LabelledImages(
        spec=spec,
        name=listing.name,
        class_names=class_names,
        samples=samples,
        bad_files=tuple(bad_files),
        left_out=(*listing.left_out, *left_out),
        channels=facts[0].channels,
        sizes=_sizes(kept_facts),
        notes=(
            *listing.notes,
            *_notes(listing, items, facts),
            *sides.notes,
            *_thin(samples, class_names),
            *constant,
        ),
        splits_given=(items[0].split is not None and folds is None) or splits is not None,
        reader=_reader(items, arrays, facts[0].dtype),
        keep=arrays is None and sum(fact.decoded_bytes for fact in kept_facts) <= MEMORY,
        dtype=facts[0].dtype,
        multi_label=listing.multi_label,
    )


def _usable(
    spec: str, listing: Listing, items: Sequence[Item], bands: bool, progress: Progress | None
) -> tuple[list[Item], list[Facts], np.ndarray | list[np.ndarray] | None, list[BadFile]]:
    """The items that can be read with their facts (and arrays, where they are no files), and the bad files."""
    if listing.arrays is not None:
        return list(items), scan_arrays(listing.arrays, len(items), progress, bands), listing.arrays, []
    found = scan_files([_file(item) for item in items], Path(spec).expanduser(), progress, bands)
    common = _commonest_kind([fact for fact in found if isinstance(fact, Facts)])
    usable: list[Item] = []
    facts: list[Facts] = []
    bad_files: list[BadFile] = []
    for item, fact in zip(items, found, strict=True):
        printable = item.path.encode("utf-8", "backslashreplace").decode()
        if isinstance(fact, str):
            bad_files.append(BadFile(printable, fact))
        elif printable != item.path:
            bad_files.append(BadFile(printable, "its name is no valid text: rename it"))
        elif (kind := (fact.channels, fact.dtype)) != common:
            bad_files.append(BadFile(printable, _another_kind(kind, common)))
        else:
            usable.append(item)
            facts.append(fact)
    return usable, facts, None, bad_files


def _commonest_kind(facts: Sequence[Facts]) -> Kind | None:
    """(channels, dtype) of most images; of equally many the one that came first."""
    kinds = Counter((fact.channels, fact.dtype) for fact in facts)
    return max(kinds, key=lambda kind: kinds[kind], default=None)


def _another_kind(kind: Kind, common: Kind | None) -> str:
    of_most = described(*common) if common else "nothing"
    found = "it is an 8-bit picture" if kind[1] is None else f"it has {described(*kind)}"
    return f"{found}, and most images of DATA are {of_most}: convert it, or leave it out"


def _refuse(listing: Listing, items: Sequence[Item], bad_files: Sequence[BadFile], strict: bool) -> None:
    """DataError where too much is bad, or the classes are no classes."""
    first = f"{bad_files[0].path}: {bad_files[0].reason}" if bad_files else ""
    bad = f"{count_of(len(bad_files), 'bad file')}, first {first}"
    if strict and bad_files:
        raise DataError(f"{bad}; mend or delete them, or go on without them by leaving --strict out")
    filled = {name for item in items for name in (item.names if listing.multi_label else (item.section,))}
    empty = [section for section in listing.sections if section not in filled]
    if empty:
        hint = f" ({bad})" if bad_files else ""
        raise DataError(f"no usable image in {_named(empty)}{hint}: add images, or take the class out")
    classes = filled if listing.multi_label else {item.label for item in items}
    if not classes:
        raise DataError("no image has a label: write one or more in each line, such as a|b")
    if len(classes) == 1:
        raise DataError(
            f"one class only, {classes.pop()!r}: there is nothing to tell apart, add a second class"
        )
    if len(bad_files) > MOST_BAD * (len(items) + len(bad_files)):
        total = len(items) + len(bad_files)
        listed = "; ".join(f"{one.path}: {one.reason}" for one in bad_files[:3])
        raise DataError(
            f"{len(bad_files):,} of {total:,} files are bad, more than {MOST_BAD:.0%}: {listed}; "
            "mend or delete them, or check that DATA is the right folder"
        )


def _notes(listing: Listing, items: Sequence[Item], facts: Sequence[Facts]) -> list[Sentence]:
    notes = []
    if listing.left_out:
        notes.append(
            Sentence(
                f"{count_of(len(listing.left_out), 'row')} left out: the image is listed already",
                f"{count_of(len(listing.left_out), 'linha|linhas', 'pt')} sem uso: a imagem já está na lista",
            )
        )
    labels: dict[str, dict[str, str]] = {}
    for item, fact in zip(items, facts, strict=True):
        labels.setdefault(fact.pixels, {}).setdefault(item.label, item.path)
    contradictions = [paths for paths in labels.values() if len(paths) > 1]
    if contradictions:
        example = [f"{path} ({label})" for label, path in contradictions[0].items()]
        notes.append(
            Sentence(
                f"{count_of(len(contradictions), 'image')} under different labels, "
                f"for instance {' and '.join(example)}",
                f"{count_of(len(contradictions), 'imagem|imagens', 'pt')} com rótulos diferentes, "
                f"por exemplo {' e '.join(example)}",
            )
        )
    return notes


def _thin(samples: Sequence[Sample], class_names: Sequence[str]) -> list[Sentence]:
    """Classes that a split says nothing about, though it exists."""
    notes = []
    for split in ("validation", "test"):
        here = [sample for sample in samples if sample.split == split]
        present = {label for sample in here for label in sample.labels}
        absent = [name for label, name in enumerate(class_names) if label not in present]
        if here and absent:
            notes.append(
                Sentence(
                    f"no {split} image of {_named(absent)}",
                    f"nenhuma imagem de {IN_PORTUGUESE[split]} de {_named(absent, 'pt')}",
                )
            )
    return notes


def _constant(samples: Sequence[Sample], class_names: Sequence[str]) -> list[Sentence]:
    """Classes of multi-label data that every training image has: nobody can learn when they are absent."""
    training = [set(sample.labels) for sample in samples if sample.split == "train"]
    everywhere: set[int] = set.intersection(*training) if training else set()
    names = [class_names[label] for label in sorted(everywhere)]
    return (
        [
            Sentence(
                f"every training image is of {_named(names)}: add images that are not, or leave the label out",
                f"toda imagem de treino é de {_named(names, 'pt')}: acrescente imagens que não sejam, "
                "ou deixe o rótulo de fora",
            )
        ]
        if names
        else []
    )


def _class_names(listing: Listing, labels: Sequence[str]) -> tuple[str, ...]:
    """The classes that images take part of, in the source's order or the alphabet's."""
    used = set(labels)
    return tuple(name for name in listing.class_names or sorted(used) if name in used)


def _by_split(assigned: Sequence[str]) -> list[int]:
    return [index for split in SPLITS for index, one in enumerate(assigned) if one == split]


def _sizes(facts: Sequence[Facts]) -> Sizes:
    shapes = sorted(
        ((fact.height, fact.width) for fact in facts), key=lambda shape: (shape[0] * shape[1], shape)
    )
    return Sizes(shapes[0], shapes[len(shapes) // 2], shapes[-1])


def _reader(
    items: Sequence[Item], arrays: np.ndarray | list[np.ndarray] | None, dtype: str | None
) -> Callable[[Sample], np.ndarray]:
    if arrays is None:
        return _read_picture if dtype is None else _read_bands
    return ArrayReader(arrays, {item.path: index for index, item in enumerate(items)})


def _read_picture(sample: Sample) -> np.ndarray:
    """The picture in a sample's file, uint8 (height, width, 3)."""
    assert sample.source is not None
    return read_image(sample.source)


def _read_bands(sample: Sample) -> np.ndarray:
    """The bands in a sample's file, (height, width, bands) of their own type."""
    assert sample.source is not None
    return read_bands(sample.source)


def _file(item: Item) -> Path:
    assert item.file is not None
    return item.file


def _named(names: Sequence[str], language: Language = "en") -> str:
    """`class 'a'`, `classes 'a', 'b', 'c' and 4 more`."""
    if language == "pt":
        more = f" e mais {len(names) - 3}" if len(names) > 3 else ""
        return f"classe{'s' if len(names) > 1 else ''} {', '.join(map(repr, names[:3]))}{more}"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"class{'es' if len(names) > 1 else ''} {', '.join(map(repr, names[:3]))}{more}"
