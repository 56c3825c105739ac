"""The pictures and the page of a run, with the images themselves and what the model looked at."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vitral.data import LabelledImages
from vitral.data.sources import list_images
from vitral.errors import ImageError, UsageError, VitralError
from vitral.images import ImageSource, Preprocessing, read_image
from vitral.inference import Classifier
from vitral.language import Language
from vitral.reporting import compare as compare  # for callers of this floor
from vitral.reporting import write_comparison, write_curves, write_repetition, write_report
from vitral.runs import RunFolder, kind_of
from vitral.weights import read_config
from vitral.workflow.options import check_is_here, columns_of, read_options

Progress = Callable[[int, int], None]
FindImage = Callable[[str], ImageSource]


def report(
    runs: Sequence[str | Path],
    *,
    output: str | Path | None = None,
    images: bool = True,
    language: Language = "en",
    warn: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write `RUN/report.html` and its curves anew, or for several runs one page that compares them.

    Args:
        runs: run folders.
        output: where the comparison is written; comparison.html in the current folder unless said.
        images: whether pictures and file names are in the page.
        language: of the page.
        warn: told what could not be shown.
        progress: called with the number of pictures made so far and in all.

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
    find = _images_of_run(folder, warn) if images else None
    whole = kind_of(folder) is not None
    one = RunFolder(folder.path / folder.read_run()["parts"][0]) if whole else folder
    seen = read_config(one.path)[1] if one.config.exists() else None
    if whole:
        return write_repetition(folder.path, language=language, images=pictures(find, seen) if find else None)
    complete = find is not None and seen is not None and folder.weights.exists()
    classifier = Classifier.load(folder.path) if complete else None
    return write_pages(folder, language, find, seen, classifier, progress)


def _images_of_run(folder: RunFolder, warn: Callable[[str], None] | None) -> FindImage | None:
    """A run's images by their paths; None, and `warn` is told why, where DATA is not there."""
    try:
        options, _ = read_options(folder)
        check_is_here(folder, options)
        listing = list_images(options.data, columns_of(options.columns), _path(options.data_root))
    except VitralError as error:
        if warn is not None:
            warn(f"the page has no pictures: {error}")
        return None
    places = {item.path: index for index, item in enumerate(listing.items)}

    def find(path: str) -> ImageSource:
        if path not in places:
            raise ImageError("it is no longer among the images of DATA: put it back")
        if listing.arrays is not None:
            return listing.arrays[places[path]]
        return listing.items[places[path]].file

    return find


def write_pages(
    folder: RunFolder,
    language: Language,
    images: FindImage | None = None,
    preprocessing: Preprocessing | None = None,
    classifier: Classifier | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write report.html, and curves.png where there are epochs; returns the former.

    Args:
        folder: the run.
        language: of both.
        images: gives the image of a path in predictions.csv; None: no pictures and no file names.
        preprocessing: how the run's network takes them; None: as pictures.
        classifier: the run's model, which shows where it looked; None: no heatmaps.
        progress: called with the number of pictures made so far and in all.
    """

    def explain(path: str) -> np.ndarray:
        assert images is not None
        assert classifier is not None
        return classifier.explain(images(path)).heatmap

    if folder.read_metrics():
        write_curves(folder.path, language)
    return write_report(
        folder.path,
        language=language,
        images=pictures(images, preprocessing) if images else None,
        explain=explain if classifier else None,
        progress=progress,
    )


def pictures(images: FindImage, preprocessing: Preprocessing | None) -> Callable[[str], np.ndarray]:
    """What people are shown of images, uint8 `(height, width, 3)` by path.

    Args:
        images: gives an image by its path.
        preprocessing: how a network takes them; None: as pictures.
    """

    def picture(path: str) -> np.ndarray:
        if preprocessing is None or not preprocessing.bands:
            return read_image(images(path))
        return preprocessing.show(preprocessing.read(images(path)))

    return picture


def images_of(data: LabelledImages) -> FindImage:
    """The decoded image of an opened DATA by its path."""
    samples = {sample.path: sample for sample in data.samples}
    return lambda path: data.read(samples[path])


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text is not None else None
