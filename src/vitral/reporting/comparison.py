"""Several runs on one page: who is better, by how much, and what was done differently."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitral.errors import UsageError
from vitral.language import Language
from vitral.reporting.charts import Series, epoch_axis, line_chart, percent_axis, value_axis
from vitral.reporting.content import RunContent, read_run
from vitral.reporting.curves import curve
from vitral.reporting.facts import facts_of, recipe_lines
from vitral.reporting.page import write_page
from vitral.reporting.texts import Wording, of_measure, wording_of
from vitral.runs import PairedDifference, paired_difference

STYLES = 6

# What identifies an image in two runs: content, true class, and which of several copies it is.
Key = tuple[str, str, int]


def write_comparison(run_paths: Sequence[str | Path], output: str | Path, language: Language = "en") -> Path:
    """Write one page about several runs; the first is the one that the others are compared with.

    Args:
        run_paths: two or more run folders.
        output: the HTML file to write.
        language: `"en"` or `"pt"`.

    Returns:
        The path of the page.

    Raises:
        UsageError: fewer than two runs, one of them twice, a folder without a run, or an unknown language.
        VitralError: a file of a run is damaged.
    """
    words = wording_of(language)
    runs = _read(run_paths)
    names = _names(runs, run_paths)
    pairs = [_pair(run, runs[0]) for run in runs[1:]]
    variant = "_multi_label" if all(run.multi_label for run in runs) else ""
    return write_page(
        Path(output),
        "comparison.html",
        words,
        names=names,
        results=[
            result_row(run, name, index, words)
            for index, (run, name) in enumerate(zip(runs, names, strict=True))
        ],
        curves=overlaid_curves(runs, names, words),
        differences=[
            _difference(pair, name, index, words)
            for index, (pair, name) in enumerate(zip(pairs, names[1:], strict=True), start=1)
        ],
        facts=_facts_by_run(runs, words, language),
        recipes=_recipe_differences(runs),
        variant=variant,
    )


def compare(run_paths: Sequence[str | Path]) -> list[dict[str, Any]]:
    """How much better every run but the first answers the images that both it and the first were measured on.

    Args:
        run_paths: two or more run folders; of those with folds or seeds the answers of all parts count.

    Returns:
        An object a run, ready for JSON: run, against, images (that both answered), difference (of the accuracies,
        -1..1) and its 95 % interval (both None where there is no such image), groups (that the interval stands on; None
        where every image stands for itself), only_run and only_against (images that one of the two answers better).

    Raises:
        UsageError, VitralError: as `write_comparison`.
    """
    runs = _read(run_paths)
    names = _names(runs, run_paths)
    found = []
    for run, name in zip(runs[1:], names[1:], strict=True):
        pair = _pair(run, runs[0])
        paired = pair.paired
        found.append(
            {
                "run": name,
                "against": names[0],
                "images": paired.images if paired else 0,
                "difference": paired.difference if paired else None,
                "interval": list(paired.interval) if paired else None,
                "groups": paired.groups if paired else None,
                "only_run": pair.here,
                "only_against": pair.there,
            }
        )
    return found


def _read(run_paths: Sequence[str | Path]) -> list[RunContent]:
    if len({Path(path).resolve() for path in run_paths}) < max(2, len(run_paths)):
        raise UsageError("a comparison needs at least two runs, each named once")
    return [read_run(path) for path in run_paths]


def _names(runs: Sequence[RunContent], paths: Sequence[str | Path]) -> list[str]:
    """The folders' names; where two are alike, the paths as given."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _style(index: int) -> str:
    return f"run{index % STYLES}"


def result_row(run: RunContent, name: str, index: int, words: Wording) -> dict[str, Any]:
    """A run's line in a table of results."""
    parameters, seconds = run.facts.get("model", {}).get("parameters"), run.facts.get("seconds")
    headline, evaluation = run.headline, run.evaluation or {}
    weak = headline is not None and headline.is_weak
    average = evaluation.get("mean_average_precision" if run.multi_label else "balanced_accuracy")
    f1 = evaluation.get("macro_f1")
    return {
        "name": name,
        "style": _style(index),
        "evaluation": run.evaluation,
        "parameters": "–" if parameters is None else words.large(parameters),
        "duration": "–" if seconds is None else words.duration(seconds),
        "average": "–" if average is None else words.percent(average),
        "macro_f1": "–" if f1 is None else words.number(f1, 3),
        "weak": words.say(
            of_measure("weak_short", headline.measure), label=words.label(headline.chance.label)
        )
        if weak and headline
        else None,
        "optimistic": words["optimistic"]
        if run.evaluation and run.evaluation["split"] == "validation"
        else None,
    }


def overlaid_curves(
    runs: Sequence[RunContent], names: Sequence[str], words: Wording
) -> dict[str, Any] | None:
    """Accuracy and loss by epoch, on the first kind of images that all runs with epochs measured."""
    shown = [index for index, run in enumerate(runs) if run.metrics]
    without = [name for index, name in enumerate(names) if index not in shown]
    judged = {runs[index].curve_measure for index in shown}
    measure_of_all = judged.pop() if len(judged) == 1 else "accuracy"
    for split in ("validation", "test", "train"):
        measures = {}
        for measure, scale in ((measure_of_all, 100.0), ("loss", 1.0)):
            found = [curve(runs[index].metrics, f"{split}_{measure}", scale) for index in shown]
            if found and all(found):
                measures[measure] = [
                    Series(names[index], _style(index), points)
                    for index, points in zip(shown, found, strict=True)
                ]
        if measures:
            charts = [_chart(measure, series, words) for measure, series in measures.items()]
            legend = next(iter(measures.values()))
            lead = words.say(of_measure("comparison_curves_lead", measure_of_all), split=words[split])
            if without:
                lead += " " + words.say("without_epochs", runs=", ".join(without))
            return {"legend": legend, "level": None, "charts": charts, "lead": lead}
    return None


def _chart(measure: str, series: Sequence[Series], words: Wording) -> str:
    points = [point for line in series for point in line.points]
    if measure != "loss":
        height = percent_axis(words[f"{measure}_unit"])
    else:
        height = value_axis(words["loss_unit"], [value for _, value in points])
    epochs = epoch_axis(words["epoch"], [epoch for epoch, _ in points])
    return line_chart(series, epochs, height, words=words, alt=words[f"{measure}_alt"])


@dataclass(frozen=True)
class _Pair:
    """Two runs on the images that both answered; `here` and `there`: how many each of them answers better."""

    paired: PairedDifference | None
    here: int
    there: int


def _pair(run: RunContent, base: RunContent) -> _Pair:
    ours, theirs = _right_by_image(run), _right_by_image(base)
    shared = [key for key in ours if key in theirs]
    if not shared:
        return _Pair(None, 0, 0)
    here = np.array([ours[key][0] for key in shared])
    there = np.array([theirs[key][0] for key in shared])
    paired = paired_difference(here, there, [ours[key][1] for key in shared])
    return _Pair(paired, int((here > there).sum()), int((there > here).sum()))


def _difference(pair: _Pair, name: str, index: int, words: Wording) -> dict[str, Any]:
    """A run's line in the table of differences."""
    row: dict[str, Any] = {"name": name, "style": _style(index), "paired": pair.paired}
    if pair.paired is None:
        return row | {"images": 0, "verdict": words["no_shared_images"]}
    low, high = pair.paired.interval
    verdict = "better" if low > 0 else "worse" if high < 0 else "no_difference"
    return row | {
        "images": pair.paired.images,
        "verdict": words[verdict],
        "here": pair.here,
        "there": pair.there,
    }


def _right_by_image(run: RunContent) -> dict[Key, tuple[float, str]]:
    """For each image of the evaluated split: the share of the run's answers that are right, and the image's group."""
    if run.answers is None or run.correct is None:
        return {}
    known = run.known_images
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for path, label, right in zip(run.answers.paths, run.answers.labels, run.correct.tolist(), strict=True):
        group, content = known.get(path, ("", path))
        found[content, label, seen[content, label]] = right, group
        seen[content, label] += 1
    return found


def _facts_by_run(
    runs: Sequence[RunContent], words: Wording, language: Language
) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """What was trained, a line a fact: its name, and what each run says about it, None where it says nothing."""
    found = [{fact["name"]: fact for fact in facts_of(run, words, language)} for run in runs]
    names = dict.fromkeys(name for facts in found for name in facts if name != "command")
    return [(words[name], [facts.get(name) for facts in found]) for name in names]


def _recipe_differences(runs: Sequence[RunContent]) -> dict[str, list[tuple[str, list[str]]]]:
    """The lines of the recipes that are not the same everywhere, with each run's value.

    Under "shared" stand those that every run has, under "lacking" those that only some have.
    """
    recipes = [recipe_lines(run.recipe) for run in runs]
    found: dict[str, list[tuple[str, list[str]]]] = {"shared": [], "lacking": []}
    for key in dict.fromkeys(key for recipe in recipes for key in recipe):
        values = [recipe.get(key) for recipe in recipes]
        if len(set(values)) > 1:
            found["lacking" if None in values else "shared"].append((key, [value or "–" for value in values]))
    return found
