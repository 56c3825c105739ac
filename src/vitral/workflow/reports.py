"""The pictures and the page of a run, with the images themselves and what the model looked at."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vitral.data import LabelledImages
from vitral.data.sources import list_images
from vitral.errors import ImageError, UsageError, VitralError
from vitral.images import read_image
from vitral.inference import Classifier
from vitral.language import Language
from vitral.reporting import compare as compare  # for callers of this floor
from vitral.reporting import write_comparison, write_curves, write_repetition, write_report
from vitral.runs import RunFolder, kind_of
from vitral.workflow.explanation import explainer
from vitral.workflow.options import check_is_here, columns_of, read_options

ReadImage = Callable[[str], np.ndarray]


def report(
    runs: Sequence[str | Path],
    *,
    output: str | Path | None = None,
    images: bool = True,
    language: Language = "en",
    warn: Callable[[str], None] | None = None,
) -> Path:
    """Write `RUN/report.html` and its curves anew, or for several runs one page that compares them.

    Args:
        runs: run folders.
        output: where the comparison is written; comparison.html in the current folder unless said.
        images: whether pictures and file names are in the page.
        language: of the page.
        warn: told what could not be shown.

    Returns:
        The page.

    Raises:
        UsageError: no run, a folder that is none, or an output for one run only.
        VitralError: a file of a run is damaged.
    """
    if len(runs) > 1:
        return write_comparison(runs, output or "comparison.html", language)
    if not runs or output is not None:
        raise UsageError("name one run, whose page is RUN/report.html, or several for a page at --output")
    folder = RunFolder(Path(runs[0]))
    folder.read_run()
    read = _images_of_run(folder, warn) if images else None
    if kind_of(folder):
        return write_repetition(folder.path, language=language, images=read)
    complete = read is not None and folder.weights.exists() and folder.config.exists()
    return write_pages(folder, language, read, Classifier.load(folder.path) if complete else None)


def _images_of_run(folder: RunFolder, warn: Callable[[str], None] | None) -> ReadImage | None:
    """The pixels of a run's images by their paths; None, and `warn` is told why, where DATA is not there."""
    try:
        options, _ = read_options(folder)
        check_is_here(folder, options)
        listing = list_images(options.data, columns_of(options.columns), _path(options.data_root))
    except VitralError as error:
        if warn is not None:
            warn(f"the page has no pictures: {error}")
        return None
    places = {item.path: index for index, item in enumerate(listing.items)}

    def read(path: str) -> np.ndarray:
        if path not in places:
            raise ImageError("it is no longer among the images of DATA: put it back")
        if listing.arrays is not None:
            return listing.arrays[places[path]]
        file = listing.items[places[path]].file
        assert file is not None
        return read_image(file)

    return read


def write_pages(
    folder: RunFolder, language: Language, images: ReadImage | None, classifier: Classifier | None
) -> Path:
    """Write curves.png and report.html; returns the latter.

    Args:
        folder: the run.
        language: of both.
        images: gives the pixels of a path in predictions.csv; None: no pictures and no file names.
        classifier: the run's model, which shows where it looked; None: no heatmaps.
    """
    write_curves(folder.path, language)
    explain = explainer(classifier) if classifier else None
    return write_report(folder.path, language=language, images=images, explain=explain)


def images_of(data: LabelledImages) -> ReadImage:
    """The pixels of an opened DATA's image by its path."""
    samples = {sample.path: sample for sample in data.samples}
    return lambda path: data.read(samples[path])


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text is not None else None
