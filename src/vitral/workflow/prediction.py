"""`predict`: what the model answers for each image, and the answers as a file."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vitral.errors import UsageError
from vitral.files import write_json, written_whole
from vitral.inference import Classifier, Prediction
from vitral.workflow.wanted import Wanted


def answers(
    classifier: Classifier, wanted: Sequence[Wanted], *, top: int = 5, unsure_below: float | None = None
) -> Iterator[dict[str, Any]]:
    """One row an image, in their order.

    Args:
        classifier: the model.
        wanted: from `vitral.workflow.wanted.expand`.
        top: how many of the most probable classes a row names.
        unsure_below: adds "unsure" to every row: whether its probability is below this.

    Returns:
        {"path", "label", "probability", "top": [{"label", "probability"}, …]}, with "labels" of a multi-label
        classifier, or {"path", "error"}.

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
            **({"labels": list(prediction.labels)} if classifier.multi_label else {}),
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
    for the classes after the first; of a multi-label classifier label is `a|b` and label_1 is there too.
    """
    path = check_output(file)
    if path.suffix.lower() == ".json":
        write_json(path, list(rows))
        return
    further = max((len(row.get("top", ())) for row in rows), default=1)
    first = 1 if any("labels" in row for row in rows) else 2
    headings = ["path", "label", "probability"]
    headings += ["unsure"] if any("unsure" in row for row in rows) else []
    headings.append("error")
    for place in range(first, further + 1):
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
            for place, one in enumerate(row.get("top", ())[first - 1 :], start=first):
                cells |= {f"label_{place}": one["label"], f"probability_{place}": f"{one['probability']:.6f}"}
            writer.writerow(cells)
        text.flush()
        text.detach()
