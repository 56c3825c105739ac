"""`export`: a file to deploy, and for int8 the images that it is fitted to and checked on."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from vitral.data import LabelledImages, Sample, open_data, read_splits
from vitral.data.loader import evaluation_batches
from vitral.data.scan import Progress
from vitral.errors import DataError, UsageError
from vitral.images import Preprocessing
from vitral.inference.export import Calibration, Exported
from vitral.inference.export import export as export_file
from vitral.inference.quantize import evenly
from vitral.runs import RunFolder
from vitral.workflow.options import columns_of
from vitral.workflow.starting import as_network_takes

BATCH = 64
# Images for the ranges of int8, and for its check: more tell little more.
MOST_CALIBRATED, MOST_CHECKED = 300, 2000


def export(
    run: str | PathLike[str],
    output: str | PathLike[str],
    format: str | None = None,
    *,
    precision: str = "fp32",
    calibrate: str | PathLike[str] | None = None,
    max_drop: float = 0.5,
    columns: str | Mapping[str, str] | None = None,
    data_root: str | PathLike[str] | None = None,
    counting: Progress | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    **options: Any,
) -> Exported:
    """Write a classifier as a file to deploy, see `vitral.inference.export.export`.

    Args:
        run, output, format, precision, max_drop, progress, options: as there.
        calibrate: of int8, DATA: its ranges are found on training images, and what it loses is measured on validation
            images, or, where there are none, on training images that the ranges did not see. Test images, DATA's own
            and those of the run, choose nothing.
        columns, data_root: as for `train`; of `calibrate`.
        counting: called with the number of images looked at so far and in all.

    Raises:
        UsageError: as there; or images without int8, or `max_drop` out of bounds.
        DataError: DATA has too few images that may choose.
    """
    if calibrate is not None and precision != "int8":
        raise UsageError(f"--calibrate is for --precision int8: leave it out for {precision}")
    if not 0 <= max_drop <= 100:
        raise UsageError(f"--max-drop {max_drop:g} is no number of points: say one from 0 to 100")

    def fitted(seen: Preprocessing, class_names: tuple[str, ...]) -> Calibration:
        opened = open_data(
            fspath(calibrate or ""),
            columns=columns_of(columns),
            data_root=data_root,
            bands=seen.bands,
            progress=counting,
        )
        return _calibration(as_network_takes(opened, seen), seen, class_names, _tested_by(run))

    given = fitted if calibrate is not None else None
    return export_file(
        fspath(run),
        fspath(output),
        format,
        precision=precision,
        calibrate=given,
        max_drop=max_drop,
        progress=progress,
        **options,
    )


def _calibration(
    data: LabelledImages, seen: Preprocessing, class_names: Sequence[str], tested: set[str]
) -> Calibration:
    """Which images of DATA int8 is fitted to, and which it is checked on."""
    number = {name: label for label, name in enumerate(class_names)}
    classes = [number.get(name) for name in data.class_names]
    usable = [
        sample
        for sample in data.samples
        if sample.split != "test"
        and sample.hash not in tested
        and len(sample.labels) == 1
        and classes[sample.label] is not None
    ]
    train = [sample for sample in usable if sample.split == "train"]
    validation = [sample for sample in usable if sample.split == "validation"]
    if train and validation:
        ranges, check, split = _evenly(train, MOST_CALIBRATED), validation, "validation"
    else:
        split = "train" if train else "validation"
        ranges = _evenly(train or validation, min(MOST_CALIBRATED, len(train or validation) // 2))
        taken = {sample.path for sample in ranges}
        check = [sample for sample in train or validation if sample.path not in taken]
    if not ranges or not check:
        raise DataError(
            f"{data.spec} has {len(usable)} images of the network's classes outside test, which never chooses: "
            "name DATA with training and validation images"
        )
    check = _evenly(check, MOST_CHECKED)
    labels = np.array([classes[sample.label] for sample in check])
    return Calibration(_pixels(data, ranges, seen), _pixels(data, check, seen), labels, split)


def _evenly(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most so many, from begin to end: they stand class by class."""
    return [samples[place] for place in evenly(len(samples), most)]


def _pixels(data: LabelledImages, samples: Sequence[Sample], seen: Preprocessing) -> np.ndarray:
    """`(images, height, width, channels)`, as the network takes them."""
    batches = evaluation_batches(data, samples, seen, BATCH)
    return np.concatenate([batch.images.permute(0, 2, 3, 1).numpy() for batch in batches])


def _tested_by(run: str | PathLike[str]) -> set[str]:
    """Content hashes of the images that a run is measured on."""
    folder = RunFolder(Path(run))
    if not folder.exists() or not folder.splits.exists():
        return set()
    return {row.hash for row in read_splits(folder.splits) if row.split == "test"}
