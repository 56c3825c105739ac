"""`predict`: which images are meant, what the model answers for each, and the answers as a file."""

import csv
import glob
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitral.errors import DataError, UsageError
from vitral.files import write_json, written_whole
from vitral.images import IMAGE_SUFFIXES, find_images, without_companions
from vitral.inference import Classifier, Prediction


@dataclass(frozen=True)
class Wanted:
    """One image that was asked about.

    Args:
        path: as the answer names it.
        source: what can be read, a path or bytes; None where there is nothing to read.
        error: why there is nothing.
    """

    path: str
    source: str | bytes | None
    error: str | None = None


def expand(words: Sequence[str], standard_input: bytes | None = None) -> list[Wanted]:
    """The images that files, folders and wildcards mean, in the order given.

    Folders are searched with all folders below them and sorted, hidden files left out. `*`, `?`, `[…]` and `**` are
    wildcards unless a file of that very name exists. What leads to no image is answered by an error in its place.

    Args:
        words: paths, wildcards, or "-" for one image's bytes.
        standard_input: these bytes.
    """
    found: list[Wanted] = []
    for word in words:
        path = Path(word)
        if word == "-" and standard_input is not None:
            found.append(Wanted("-", standard_input))
        elif path.is_dir():
            found += _in_folder(word, path)
        elif path.exists() or not glob.has_magic(word):
            found.append(Wanted(word, word))
        else:
            found += _matching(word)
    return found


def answers(
    classifier: Classifier, wanted: Sequence[Wanted], *, top: int = 5, unsure_below: float | None = None
) -> Iterator[dict[str, Any]]:
    """One row an image, in their order.

    Args:
        classifier: the model.
        wanted: from `expand`.
        top: how many of the most probable classes a row names.
        unsure_below: adds "unsure" to every row: whether its probability is below this.

    Returns:
        {"path", "label", "probability", "top": [{"label", "probability"}, …]}, or {"path", "error"}.

    Raises:
        UsageError: `top` or `unsure_below` out of bounds.
    """
    if top < 1:
        raise UsageError(f"--top {top} names no class: ask for 1 or more")
    if unsure_below is not None and not 0 < unsure_below <= 1:
        raise UsageError(
            f"--unsure-below {unsure_below:g} is no probability: say a number above 0 and up to 1"
        )
    predictions = classifier.predict_each([one.source for one in wanted if one.source is not None])
    for one in wanted:
        prediction = next(predictions) if one.source is not None else one.error
        if not isinstance(prediction, Prediction):
            yield {"path": one.path, "error": str(prediction)}
            continue
        row: dict[str, Any] = {
            "path": one.path,
            "label": prediction.label,
            "probability": prediction.probability,
            "top": [{"label": label, "probability": value} for label, value in prediction.top(top)],
        }
        if unsure_below is not None:
            row["unsure"] = prediction.probability < unsure_below
        yield row


def check_output(file: str | Path) -> Path:
    """A file that answers can be written to; UsageError for any other ending than .csv and .json."""
    path = Path(file)
    if path.suffix.lower() not in (".csv", ".json"):
        raise UsageError(f"--output {file} is neither .csv nor .json: give it one of these endings")
    return path


def write_answers(file: str | Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write answers as .json (the list of rows) or .csv, whole or not at all.

    The csv has path, label, probability, unsure (where asked for) and error, then label_2, probability_2 and so on
    for the classes after the first.
    """
    path = check_output(file)
    if path.suffix.lower() == ".json":
        write_json(path, list(rows))
        return
    further = max((len(row.get("top", ())) for row in rows), default=1)
    headings = ["path", "label", "probability"]
    headings += ["unsure"] if any("unsure" in row for row in rows) else []
    headings.append("error")
    for place in range(2, further + 1):
        headings += [f"label_{place}", f"probability_{place}"]
    with written_whole(path) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline="")
        writer = csv.DictWriter(text, headings, restval="", extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            cells = dict(row)
            if "probability" in row:
                cells["probability"] = f"{row['probability']:.6f}"
            if "unsure" in row:
                cells["unsure"] = "yes" if row["unsure"] else "no"
            for place, one in enumerate(row.get("top", ())[1:], start=2):
                cells |= {f"label_{place}": one["label"], f"probability_{place}": f"{one['probability']:.6f}"}
            writer.writerow(cells)
        text.flush()
        text.detach()


def _in_folder(word: str, folder: Path) -> list[Wanted]:
    try:
        files = find_images(folder)
    except DataError as error:
        return [Wanted(word, None, str(error))]
    if not files:
        return [Wanted(word, None, "the folder holds no images: name another one")]
    return [Wanted(str(file), str(file)) for file in files]


def _matching(pattern: str) -> list[Wanted]:
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    images = set(without_companions(filter(_is_image, matches)))
    found = [
        one
        for match in matches
        for one in ([Wanted(str(match), str(match))] if match in images else _images_in(match))
    ]
    found = list(dict.fromkeys(found))  # `**` finds a folder and what lies in it
    return found or [Wanted(pattern, None, "no image matches these wildcards: check the path")]


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES


def _images_in(path: Path) -> list[Wanted]:
    return _in_folder(str(path), path) if path.is_dir() else []
