"""The report of several trainings, the folds of a cross-validation or several seeds, as one page."""

from pathlib import Path
from typing import Any

from vitral.language import Language
from vitral.reporting.comparison import overlaid_curves, result_row
from vitral.reporting.content import RunContent, read_run
from vitral.reporting.examples import ReadImage, picture_example
from vitral.reporting.page import write_page
from vitral.reporting.report import report_content
from vitral.reporting.texts import Wording, wording_of
from vitral.runs import read_second_look

DOUBTFUL = 24
# Labels are not that often wrong: then it is rather the model.
TOO_MANY = 0.2


def write_repetition(
    run_path: str | Path, *, language: Language = "en", images: ReadImage | None = None
) -> Path:
    """Write `RUN/report.html` of a run with folds or seeds: all of them together, and a line for each.

    Args:
        run_path: its folder, finished or not.
        language: `"en"` or `"pt"`.
        images: as for `write_report`.

    Returns:
        The path of the page.

    Raises:
        UsageError: the folder holds no run, or an unknown language.
        VitralError: one of its files is damaged.
    """
    words = wording_of(language)
    run = read_run(run_path)
    content = report_content(run, words, language, images, None)
    parts = {part.path.name: read_run(part.path) for part in run.folder.parts()}
    rows = []
    for index, name in enumerate(run.facts["parts"]):
        if name in parts:
            link = f"{name}/report.html" if parts[name].folder.report.exists() else None
            rows.append(result_row(parts[name], name, index, words) | {"link": link})
    content |= {
        "kind": run.kind,
        "parts": rows,
        "spread": _spread(run, words),
        "curves": overlaid_curves(list(parts.values()), list(parts), words) if parts else None,
        "doubtful": _doubtful(run, images, words),
    }
    if run.kind == "seeds":
        content["reliability"] = None  # the answers kept are of mean probabilities, which no single run gives
    return write_page(run.folder.report, "repetition.html", words, **content)


def _spread(run: RunContent, words: Wording) -> str | None:
    if run.evaluation is None:
        return None
    return words.say(
        f"{run.kind}_spread{'_multi_label' if run.multi_label else ''}",
        mean=words.percent(run.evaluation["accuracy_mean"]),
        spread=words.number(100 * run.evaluation["accuracy_spread"], 1),
        ensemble=words.percent(run.evaluation.get("ensemble_accuracy", 0.0)),
    )


def _doubtful(run: RunContent, read: ReadImage | None, words: Wording) -> dict[str, Any] | None:
    """The labels worth a second look; None where there was none to be taken."""
    if run.evaluation is None or run.kind != "folds":
        return None
    found = read_second_look(run.folder.second_look)
    images = len({one.path for one in found})
    shown = []
    if read is not None:
        for one in found[:DOUBTFUL]:
            probability = one.probability_of_suggested
            texts = words.label(one.label), words.label(one.suggested)
            example = picture_example(one.path, *texts, probability, read, None)
            shown.append(vars(example) | {"of_label": one.probability_of_label})
    return {
        "count": images,
        "shown": shown,
        "more": len(found) - len(shown),
        "too_many": images > TOO_MANY * run.evaluation["images"],
    }
