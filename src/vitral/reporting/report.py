"""The report of a run: one HTML file that says what came out, how sure that is, and what went in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitral.language import Language
from vitral.reporting.balance import images_by_class
from vitral.reporting.charts import (
    Series,
    epoch_axis,
    line_chart,
    percent_axis,
    reliability_chart,
    value_axis,
)
from vitral.reporting.content import Answers, RunContent, read_run
from vitral.reporting.curves import SPLITS, curves_by_split
from vitral.reporting.examples import Explain, ReadImage, choose_examples, picture_example
from vitral.reporting.facts import facts_of, recipe_lines, versions_of
from vitral.reporting.page import write_page
from vitral.reporting.reliability import reliability_bins
from vitral.reporting.results import confusions_of, measures_of, shots_of
from vitral.reporting.texts import Wording, of_measure, wording_of
from vitral.reporting.verdicts import verdicts_of


def write_report(
    run_path: str | Path,
    *,
    language: Language = "en",
    images: ReadImage | None = None,
    explain: Explain | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `RUN/report.html`: a page complete in itself, light or dark as the reader's system is.

    Args:
        run_path: a run folder, finished or not.
        language: `"en"` or `"pt"`.
        images: gives the pixels, uint8 `(height, width, 3 or 1)`, of a path in `predictions.csv`; an OSError
            or VitralError from it shows that one picture as not readable. None leaves out pictures and file names.
        explain: gives for such a path what the model looked at, `(rows, columns)` in 0..1, or None.
        progress: called with the number of pictures made so far and in all.

    Returns:
        The path of the page.

    Raises:
        UsageError: the folder holds no run, or an unknown language.
        VitralError: one of its files is damaged.
    """
    words = wording_of(language)
    run = read_run(run_path)
    content = report_content(run, words, language, images, explain, progress)
    return write_page(run.folder.report, "report.html", words, **content)


def report_content(
    run: RunContent,
    words: Wording,
    language: Language,
    images: ReadImage | None,
    explain: Explain | None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """What the template of the report is filled with; see `write_report`."""
    evaluation = run.evaluation
    return {
        "name": run.name,
        "evaluation": evaluation,
        "headline": run.headline,
        "of_measure": of_measure,
        "share": lambda value: "–" if value is None else words.percent(value),
        "verdicts": verdicts_of(run, words, language, with_names=images is not None),
        "measures": measures_of(evaluation, words),
        "facts": facts_of(run, words, language),
        "curves": _curves(run, words),
        "shots": shots_of(evaluation, words),
        "confusion": confusions_of(evaluation, words),
        "classes": list(evaluation["per_class"].items()) if evaluation else [],
        "variant": "_multi_label" if run.multi_label else "",
        "reliability": _reliability(run, words),
        "examples": _examples(run.answers, images, explain, words, progress),
        "images": images_by_class(run.facts.get("data", {}), words, with_names=images is not None),
        "recipe": list(recipe_lines(run.recipe).items()),
        "versions": versions_of(run.facts, words),
    }


def _curves(run: RunContent, words: Wording) -> dict[str, Any] | None:
    measure, chance = run.curve_measure, run.chance(run.curve_measure)
    loss, accuracy = curves_by_split(run.metrics, "loss"), curves_by_split(run.metrics, measure, scale=100)
    if not loss and not accuracy:
        return None
    epochs = epoch_axis(words["epoch"], [line["epoch"] for line in run.metrics])
    mark = None
    if run.best_epoch is not None:
        mark = (run.best_epoch, words.say("best_epoch", epoch=words.number(run.best_epoch)))
    level = 100 * chance.value if chance else None
    losses = value_axis(words["loss_unit"], [value for points in loss.values() for _, value in points])
    charts = [
        line_chart(_lines(loss, words), epochs, losses, words=words, alt=words["loss_alt"], mark=mark),
        line_chart(
            _lines(accuracy, words),
            epochs,
            percent_axis(words[f"{measure}_unit"]),
            words=words,
            alt=words[f"{measure}_alt"],
            level=level,
            mark=mark,
        ),
    ]
    shown = {**loss, **accuracy}
    legend = [Series(words[split], split, ()) for split in SPLITS if split in shown]
    baseline = chance and words.say(
        of_measure("chance", measure),
        label=words.label(chance.label),
        majority=words.percent(chance.value),
    )
    lead = words[of_measure("curves_lead", measure)]
    return {"legend": legend, "level": baseline, "charts": charts, "lead": lead}


def _lines(curves: dict[str, tuple[tuple[float, float], ...]], words: Wording) -> list[Series]:
    return [Series(words[split], split, points) for split, points in curves.items()]


def _reliability(run: RunContent, words: Wording) -> dict[str, Any] | None:
    """The reliability diagram, and what it comes to in words."""
    answers, variant = run.answers, "_multi_label" if run.multi_label else ""
    if answers is None or run.evaluation is None or len(answers.paths) == 0:
        return None
    bins = reliability_bins(answers.probabilities, answers.came_true)
    chart = reliability_chart(
        bins,
        percent_axis(words[f"confidence_unit{variant}"]),
        percent_axis(words[f"right_unit{variant}"]),
        value_axis(words[f"bin_unit{variant}"], [2, *(one.images for one in bins)], intervals=2),
        words=words,
        alt=words[f"calibration_alt{variant}"],
    )
    error = words.say(
        f"calibration_value{variant}", value=words.number(100 * run.evaluation["calibration_error"], 1)
    )
    return {"chart": chart, "notes": [error] if run.multi_label else [error, _sureness(run, answers, words)]}


def _sureness(run: RunContent, answers: Answers, words: Wording) -> str:
    """Whether the model believes more or less than it knows, as far as the interval of the accuracy lets one say."""
    assert run.evaluation is not None
    believed = float(answers.confidence.mean())
    low, high = run.evaluation["accuracy_interval"]
    verdict = "too_sure" if believed > high else "too_modest" if believed < low else "as_sure_as_right"
    return words.say(
        "sureness",
        believed=words.percent(believed),
        right=words.percent(run.evaluation["accuracy"]),
        verdict=words[verdict],
    )


def _examples(
    answers: Answers | None,
    images: ReadImage | None,
    explain: Explain | None,
    words: Wording,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Any] | None:
    if answers is None or images is None:
        return None
    kinds, done = [], 0
    chosen = choose_examples(answers.right, answers.confidence)
    for kind, positions in zip(("mistakes", "uncertain"), chosen, strict=True):
        shown = []
        for index in positions:
            example = picture_example(
                answers.paths[index],
                words.label(str(answers.labels[index])),
                words.label(str(answers.predicted[index])),
                float(answers.confidence[index]),
                images,
                explain,
            )
            shown.append(example)
            done += 1
            if progress is not None:
                progress(done, sum(map(len, chosen)))
        kinds.append((kind, f"{kind}_lead", shown))
    heat = any(example.heatmap for _, _, shown in kinds for example in shown)
    return {"kinds": kinds, "heat": heat}
