"""torchvision:NAME: the labelled image sets of torchvision.datasets, from their files or fetched."""

import contextlib
import difflib
import gzip
import inspect
import shutil
import socket
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets

from vitral.data.labelled import SPLITS
from vitral.data.sources.listing import Item, Listing
from vitral.errors import DataError, UsageError
from vitral.files import cache_folder
from vitral.images import read_image

# torchvision's words for a split, tried in this order.
SPLIT_NAMES = {"train": ("train", "trainval"), "validation": ("val", "valid"), "test": ("test",)}
# What a set needs to be told besides.
ARGUMENTS: dict[str, dict[str, Any]] = {"EMNIST": {"split": "balanced"}}
# Sets whose images have neither arrays nor files are held in memory up to this many bytes.
MEMORY = 2 << 30
SECONDS = 30  # without an answer, when fetching


def list_torchvision(name: str, data_root: Path | None = None) -> Listing:
    """The images of `torchvision.datasets.NAME`, in the splits it has.

    Args:
        name: a class of torchvision.datasets for image classification.
        data_root: where its files are, as torchvision lays them out; for MNIST and its kin also the folder
            that holds the `…-ubyte` or `…-ubyte.gz` files themselves. Default: the cache, into which they
            are fetched where the set has a download.

    Raises:
        UsageError: there is no such set, or it is not one of images with one label each.
        DataError: its files are neither there nor to be had.
    """
    make = _maker(name)
    if data_root is not None and not data_root.is_dir():
        raise DataError(f"--data-root {data_root} is no folder: say the one that holds the files of {name}")
    root = data_root or cache_folder("data") / "torchvision"
    with _unpacked_view(make, root) as view:
        parts = _parts(name, make, view or root, fetch=view is None)
    total = sum(len(part) for _, part in parts)
    items: list[Item] = []
    arrays: list[np.ndarray] = []
    for split, part in parts:
        labels, files, images = _contents(name, part, total)
        if images is not None:
            arrays.append(images) if isinstance(images, np.ndarray) else arrays.extend(images)
        width = len(str(max(len(labels) - 1, 0)))
        for index, label in enumerate(labels):
            file = None if files is None else files[index].absolute()
            path = f"{name}/{split or 'all'}/{index:0{width}d}" if file is None else _relative(file, root)
            items.append(Item(path=path, label=label, split=split, section=label, file=file))
    used = {item.label for item in items}
    ordered = dict.fromkeys(label for _, part in parts for label in _class_names(part) if label in used)
    class_names = tuple(ordered) + tuple(sorted(used - set(ordered), key=lambda text: (len(text), text)))
    joined = None
    if arrays:
        joined = np.concatenate(arrays) if arrays[0].ndim == 4 else arrays
    return Listing(name, tuple(items), class_names, class_names=class_names, arrays=joined)


def _maker(name: str) -> Callable[..., Any]:
    """The class of that name, if it may be one of labelled images."""
    names = [known for known in datasets.__all__ if _is_candidate(getattr(datasets, known))]
    if name not in names:
        close = difflib.get_close_matches(
            name.casefold(), [known.casefold() for known in names], n=3, cutoff=0.5
        )
        meant = [known for known in names if known.casefold() in close]
        hint = (
            f"did you mean {' or '.join(meant)}?" if meant else "for instance FashionMNIST, CIFAR10, Food101"
        )
        raise UsageError(f"torchvision has no image classification set {name!r}: {hint}")
    return getattr(datasets, name)


def _is_candidate(make: Any) -> bool:
    if not inspect.isclass(make) or make in (datasets.ImageFolder, datasets.DatasetFolder):
        return False
    parameters = inspect.signature(make).parameters
    required = [
        p.name for p in parameters.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    known = {"root", *ARGUMENTS.get(make.__name__, {})}
    return (
        "root" in parameters
        and set(required) <= known
        and bool(_accepted(make) & {"download", "split", "train"})
    )


def _accepted(make: Any) -> set[str]:
    """Names of the arguments that a class takes, through **kwargs from its bases too."""
    names: set[str] = set()
    for kind in make.__mro__:
        parameters = inspect.signature(kind.__init__).parameters
        names |= set(parameters)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return names


def _parts(name: str, make: Any, root: Path, fetch: bool) -> list[tuple[str | None, Any]]:
    """(split, torchvision dataset) for every split there is; one with split None where there are none."""
    accepted = _accepted(make)
    extra = ARGUMENTS.get(name, {})
    if "train" in accepted:
        return [
            (split, _open(name, make, root, fetch, {**extra, "train": split == "train"}))
            for split in ("train", "test")
        ]
    if "split" not in accepted:
        return [(None, _open(name, make, root, fetch, extra))]
    parts: list[tuple[str | None, Any]] = []
    for split in SPLITS:
        for word in SPLIT_NAMES[split]:
            try:
                parts.append((split, _open(name, make, root, fetch, {**extra, "split": word})))
                break
            except ValueError:  # torchvision's answer to a split that the set does not have
                continue
    if not parts:
        raise UsageError(
            f"torchvision:{name} has no split that vitral knows: unpack it as a folder of class folders"
        )
    return parts


def _open(name: str, make: Any, root: Path, fetch: bool, arguments: dict[str, Any]) -> Any:
    """The dataset from its files; where they are missing, and may be fetched, with download=True."""
    try:
        return make(root=str(root), **arguments)
    except (RuntimeError, OSError) as error:
        problem = error
    if fetch and "download" in _accepted(make):
        try:
            root.mkdir(parents=True, exist_ok=True)
            with contextlib.redirect_stdout(sys.stderr), _answer_within(SECONDS):
                return make(root=str(root), download=True, **arguments)
        except (RuntimeError, OSError) as error:
            problem = error
    reason = " ".join(str(problem).split()) or type(problem).__name__
    raise DataError(
        f"the files of torchvision:{name} are not complete in {root} and cannot be fetched ({reason}): "
        "put them there by hand, or say where they are with --data-root"
    ) from None


def _contents(
    name: str, part: Any, total: int
) -> tuple[list[str], list[Path] | None, np.ndarray | list[np.ndarray] | None]:
    """Labels, and either the files or the uint8 arrays (height, width, channels) of a dataset."""
    numbers, files = None, None
    if hasattr(part, "data") and (hasattr(part, "targets") or hasattr(part, "labels")):
        numbers = part.targets if hasattr(part, "targets") else part.labels
        images = _channels_last(np.asarray(part.data))
        return _labels(part, numbers), None, images
    pairs = getattr(part, "samples", None) or getattr(part, "_samples", None)
    if pairs and isinstance(pairs[0][0], str | Path):
        files, numbers = [Path(pair[0]) for pair in pairs], [pair[1] for pair in pairs]
    elif hasattr(part, "_labels") and (hasattr(part, "_image_files") or hasattr(part, "_images")):
        files = [Path(file) for file in getattr(part, "_image_files", None) or part._images]
        numbers = part._labels
    if files is not None and numbers is not None:
        return _labels(part, numbers), files, None
    first, number = part[0]
    if not isinstance(number, int | np.integer):
        raise UsageError(f"torchvision:{name} is not a set of images with one label each")
    if read_image(first).nbytes * total > MEMORY:
        raise UsageError(
            f"torchvision:{name} is too large to hold in memory: unpack it as a folder of class folders"
        )
    images, numbers = [], []
    for index in range(len(part)):
        image, number = part[index]
        images.append(read_image(image))
        numbers.append(number)
    return _labels(part, numbers), None, images


def _labels(part: Any, numbers: Any) -> list[str]:
    names = _class_names(part)
    return [
        names[number] if 0 <= number < len(names) else str(number) for number in np.asarray(numbers).tolist()
    ]


def _class_names(part: Any) -> list[str]:
    """The set's own names, several for one class joined, a name that stands for two classes numbered."""
    given = getattr(part, "classes", None) or getattr(part, "categories", None) or []
    names = [", ".join(name) if isinstance(name, tuple) else str(name) for name in given]
    return [name if names.count(name) == 1 else f"{name} ({index})" for index, name in enumerate(names)]


def _channels_last(images: np.ndarray) -> np.ndarray:
    """(n, height, width), (n, height, width, channels) or (n, channels, height, width) to (n, h, w, channels)."""
    if images.ndim == 3:
        return images[..., np.newaxis]
    if images.shape[3] in (1, 3):
        return images
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def _relative(file: Path, root: Path) -> str:
    root = root.absolute()
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()


@contextlib.contextmanager
def _unpacked_view(make: Any, root: Path) -> Iterator[Path | None]:
    """A temporary root in torchvision's layout for MNIST's kin, whose files lie in `root` itself; else None.

    Debian's dataset-fashion-mnist, for one, brings the four packed files in one folder that nobody may
    write to, while torchvision looks for unpacked ones in NAME/raw.
    """
    names = [resource[0].removesuffix(".gz") for resource in getattr(make, "resources", [])]
    if not (names and all(isinstance(n, str) and n.endswith("-ubyte") for n in names)):
        yield None
        return
    sources = [next((f for f in (root / n, root / f"{n}.gz") if f.is_file()), None) for n in names]
    if None in sources:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="vitral-") as folder:
        raw = Path(folder) / make.__name__ / "raw"
        raw.mkdir(parents=True)
        for name, source in zip(names, sources, strict=True):
            assert source is not None
            try:
                opener = gzip.open if source.suffix == ".gz" else open
                with opener(source, "rb") as packed, (raw / name).open("wb") as file:
                    shutil.copyfileobj(packed, file)
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"{source} is damaged ({error}): fetch it again") from None
        yield Path(folder)


@contextlib.contextmanager
def _answer_within(seconds: float) -> Iterator[None]:
    """torchvision fetches without a time limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
