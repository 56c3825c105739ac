"""Several runs on one page: who is better, by how much, and what was done differently."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitral.errors import UsageError
from vitral.language import Language
from vitral.reporting.charts import Series, epoch_axis, line_chart, percent_axis, value_axis
from vitral.reporting.content import RunContent, read_run
from vitral.reporting.curves import curve
from vitral.reporting.page import write_page
from vitral.reporting.report import plain
from vitral.reporting.texts import Wording, wording_of
from vitral.runs import paired_difference

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
    if len({Path(path).resolve() for path in run_paths}) < max(2, len(run_paths)):
        raise UsageError("a comparison needs at least two runs, each named once")
    runs = [read_run(path) for path in run_paths]
    names = _names(runs, run_paths)
    return write_page(
        Path(output),
        "comparison.html",
        words,
        names=names,
        results=[
            _result(run, name, index, words)
            for index, (run, name) in enumerate(zip(runs, names, strict=True))
        ],
        curves=_curves(runs, names, words),
        differences=[
            _difference(run, runs[0], name, index, words)
            for index, (run, name) in enumerate(zip(runs, names, strict=True))
            if index > 0
        ],
        recipes=_recipe_differences(runs),
    )


def _names(runs: Sequence[RunContent], paths: Sequence[str | Path]) -> list[str]:
    """The folders' names; where two are alike, the paths as given."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _style(index: int) -> str:
    return f"run{index % STYLES}"


def _result(run: RunContent, name: str, index: int, words: Wording) -> dict[str, Any]:
    parameters, seconds = run.facts.get("model", {}).get("parameters"), run.facts.get("seconds")
    weak = run.majority is not None and run.is_weak
    return {
        "name": name,
        "style": _style(index),
        "evaluation": run.evaluation,
        "parameters": "–" if parameters is None else words.large(parameters),
        "duration": "–" if seconds is None else words.duration(seconds),
        "weak": words.say("weak_short", label=run.majority.label) if weak and run.majority else None,
        "optimistic": words["optimistic"]
        if run.evaluation and run.evaluation["split"] == "validation"
        else None,
    }


def _curves(runs: Sequence[RunContent], names: Sequence[str], words: Wording) -> dict[str, Any] | None:
    """Accuracy and loss by epoch, on the first kind of images that all runs measured."""
    for split in ("validation", "test", "train"):
        measures = {}
        for measure, scale in (("accuracy", 100.0), ("loss", 1.0)):
            found = [curve(run.metrics, f"{split}_{measure}", scale) for run in runs]
            if all(found):
                measures[measure] = [
                    Series(name, _style(index), points)
                    for index, (name, points) in enumerate(zip(names, found, strict=True))
                ]
        if measures:
            charts = [_chart(measure, series, words) for measure, series in measures.items()]
            legend = next(iter(measures.values()))
            return {
                "legend": legend,
                "charts": charts,
                "lead": words.say("comparison_curves_lead", split=words[split]),
            }
    return None


def _chart(measure: str, series: Sequence[Series], words: Wording) -> str:
    points = [point for line in series for point in line.points]
    if measure == "accuracy":
        height = percent_axis(words["accuracy_unit"])
    else:
        height = value_axis(words["loss_unit"], [value for _, value in points])
    epochs = epoch_axis(words["epoch"], [epoch for epoch, _ in points])
    return line_chart(series, epochs, height, words=words, alt=words[f"{measure}_alt"])


def _difference(run: RunContent, base: RunContent, name: str, index: int, words: Wording) -> dict[str, Any]:
    """How much better this run answers the images that both were measured on."""
    ours, theirs = _right_by_image(run), _right_by_image(base)
    shared = [key for key in ours if key in theirs]
    row: dict[str, Any] = {"name": name, "style": _style(index), "images": len(shared), "paired": None}
    if not shared:
        return row | {"verdict": words["no_shared_images"]}
    here = np.array([ours[key][0] for key in shared])
    there = np.array([theirs[key][0] for key in shared])
    paired = paired_difference(here, there, [ours[key][1] for key in shared])
    low, high = paired.interval
    verdict = "better" if low > 0 else "worse" if high < 0 else "no_difference"
    return row | {
        "paired": paired,
        "verdict": words[verdict],
        "here": int((here & ~there).sum()),
        "there": int((there & ~here).sum()),
    }


def _right_by_image(run: RunContent) -> dict[Key, tuple[bool, str]]:
    """For each image of the evaluated split: whether the answer is right, and the image's group."""
    if run.answers is None:
        return {}
    known = _splits(run)
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for path, label, right in zip(run.answers.paths, run.answers.labels, run.answers.right, strict=True):
        group, content = known.get(path, ("", path))
        found[content, label, seen[content, label]] = bool(right), group
        seen[content, label] += 1
    return found


def _splits(run: RunContent) -> dict[str, tuple[str, str]]:
    """Group and content hash of each image in `splits.csv`, by path."""
    try:
        with run.folder.splits.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return {row["path"]: (row["group"], row["hash"]) for row in csv.DictReader(file)}
    except FileNotFoundError:
        return {}


def _recipe_differences(runs: Sequence[RunContent]) -> list[tuple[str, list[str]]]:
    """The lines of the recipes that are not the same everywhere, with each run's value."""
    keys = dict.fromkeys(key for run in runs for key in run.recipe)
    rows = [(key, [plain(run.recipe[key]) if key in run.recipe else "–" for run in runs]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]
