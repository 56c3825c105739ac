"""The report of a run: one HTML file that says what came out, how sure that is, and what went in."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vitral.language import Language, said_in
from vitral.reporting.charts import (
    Series,
    epoch_axis,
    line_chart,
    percent_axis,
    reliability_chart,
    value_axis,
)
from vitral.reporting.content import Answers, RunContent, images_by_fold, images_by_split, read_run
from vitral.reporting.curves import SPLITS, curves_by_split
from vitral.reporting.examples import Explain, ReadImage, choose_examples, picture_example
from vitral.reporting.page import write_page
from vitral.reporting.reliability import reliability_bins
from vitral.reporting.texts import Wording, of_measure, shown_path, wording_of

MATRIX_LIMIT = 30
DENSE = 16
PAIRS = 20
FILES = 50
WIDE_INTERVAL = 0.2
FOLDS = 10


def write_report(
    run_path: str | Path,
    *,
    language: Language = "en",
    images: ReadImage | None = None,
    explain: Explain | None = None,
) -> Path:
    """Write `RUN/report.html`: a page complete in itself, light or dark as the reader's system is.

    Args:
        run_path: a run folder, finished or not.
        language: `"en"` or `"pt"`.
        images: gives the pixels, uint8 `(height, width, 3 or 1)`, of a path in `predictions.csv`; an OSError
            or VitralError from it shows that one picture as not readable. None leaves out pictures and file names.
        explain: gives for such a path what the model looked at, `(rows, columns)` in 0..1, or None.

    Returns:
        The path of the page.

    Raises:
        UsageError: the folder holds no run, or an unknown language.
        VitralError: one of its files is damaged.
    """
    words = wording_of(language)
    run = read_run(run_path)
    content = report_content(run, words, language, images, explain)
    return write_page(run.folder.report, "report.html", words, **content)


def report_content(
    run: RunContent, words: Wording, language: Language, images: ReadImage | None, explain: Explain | None
) -> dict[str, Any]:
    """What the template of the report is filled with; see `write_report`."""
    evaluation = run.evaluation
    return {
        "name": run.name,
        "evaluation": evaluation,
        "headline": run.headline,
        "of_measure": of_measure,
        "share": lambda value: "–" if value is None else words.percent(value),
        "verdicts": _verdicts(run, words, language),
        "measures": _measures(evaluation, words),
        "facts": _facts(run, words, language),
        "curves": _curves(run, words),
        "shots": _shots(evaluation, words),
        "confusion": _confusion(evaluation, words),
        "classes": list(evaluation["per_class"].items()) if evaluation else [],
        "variant": "_multi_label" if run.multi_label else "",
        "reliability": _reliability(run, words),
        "examples": _examples(run.answers, images, explain, words),
        "images": _images(run.facts.get("data", {}), words, with_names=images is not None),
        "recipe": [(key, plain(value)) for key, value in run.recipe.items()],
        "versions": _versions(run.facts, words),
    }


def plain(value: Any) -> str:
    """A recipe's value as TOML would show it, text without its quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _verdicts(run: RunContent, words: Wording, language: Language) -> list[dict[str, Any]]:
    """What a reader must know before the figures are believed, the gravest first."""
    found: list[dict[str, Any]] = []

    def say(title: str, text: str = "", kind: str = "warn", lines: Iterable[str] = ()) -> None:
        found.append({"title": title, "text": text, "kind": kind, "lines": list(lines)})

    state = run.facts["state"]
    if state in ("running", "interrupted", "failed"):
        done = _done(run, words)
        say(words[state], words.say("state_why", done=done))
    evaluation, headline = run.evaluation, run.headline
    if evaluation is None or headline is None:
        say(words["no_evaluation"], words["no_evaluation_why"])
    else:
        (low, high), chance = headline.interval, headline.chance
        if headline.is_weak:
            reason = "weak_below" if high < chance.value else "weak_includes"
            why = words.say(
                of_measure(reason, headline.measure),
                majority=words.percent(chance.value),
                low=words.percent(low),
                high=words.percent(high),
            )
            say(words.say(of_measure("weak", headline.measure), label=words.label(chance.label)), why)
        if high - low > WIDE_INTERVAL:
            images, width = (
                words.counted("image_count", evaluation["images"]),
                words.number(100 * (high - low)),
            )
            say(
                words.say("few", split=words[evaluation["split"]]),
                words.say("few_why", images=images, width=width),
            )
        if evaluation["split"] == "validation":
            say(words["optimistic"], words["optimistic_why"])
        if evaluation.get("unknown_classes"):
            unknown = evaluation["unknown_classes"]
            say(
                words.say(
                    "unknown_labels" if run.multi_label else "unknown_classes",
                    images=words.number(sum(unknown.values())),
                ),
                words["unknown_classes_why"],
                lines=[f"{name}: {words.number(count)}" for name, count in unknown.items()],
            )
        if evaluation.get("missing_classes"):
            say(words["missing_classes"], ", ".join(evaluation["missing_classes"]), kind="")
    if notes := run.facts.get("notes"):
        say(words["notes"], kind="", lines=[said_in(language, note) for note in notes])
    return found


def _measures(evaluation: dict[str, Any] | None, words: Wording) -> list[tuple[str, str]]:
    if evaluation is None:
        return []
    form = {
        "balanced_accuracy": words.percent,
        "accuracy_top5": words.percent,
        "exact_match": words.percent,
        "label_accuracy": words.percent,
        "macro_f1": lambda value: words.number(value, 3),
        "micro_f1": lambda value: words.number(value, 3),
        "auroc": lambda value: words.number(value, 3),
        "loss": lambda value: words.number(value, 3),
        "calibration_error": lambda value: words.say("points", value=words.number(100 * value, 1)),
    }
    return [
        (name, write(evaluation[name])) for name, write in form.items() if evaluation.get(name) is not None
    ]


def _facts(run: RunContent, words: Wording, language: Language) -> list[dict[str, Any]]:
    """What was trained on what, how long, on which machine."""
    found: list[dict[str, Any]] = []

    def say(name: str, value: str, *lines: str | None, code: bool = False) -> None:
        found.append({"name": name, "value": value, "lines": [line for line in lines if line], "code": code})

    facts = run.facts
    if data := facts.get("data"):
        images = sum(images_by_split(data).values())
        classes = {name for by_class in data["images"].values() for name in by_class}
        count = words.say(
            "data_count", images=words.counted("image_count", images), classes=words.number(len(classes))
        )
        say("data", data["spec"], count, _sizes(data.get("sizes"), words))
    if model := facts.get("model"):
        size = words.say("model_size", parameters=words.large(model["parameters"]))
        cost = model.get("multiply_adds")
        say(
            "model",
            model.get("name") or model.get("weights") or "–",
            size,
            words.say("model_cost", multiply_adds=words.large(cost)) if cost else None,
            _input(run.config, words),
        )
        say("start", model.get("weights") or words["random_weights"])
    if facts.get("seconds") is not None and "method" in run.recipe:
        duration = words.duration(facts["seconds"])
        say(
            "training",
            words.say("probe_length", method=run.recipe["method"], duration=duration),
            _settled(run, words),
        )
    elif facts.get("seconds") is not None:
        length = words.say(
            "training_length",
            done=_done(run, words),
            duration=words.duration(facts["seconds"]),
        )
        say("training", length, None if run.kind else _chosen(run, words))
    if facts.get("started"):
        say("started", words.moment(facts["started"]))
    if machine := facts.get("machine"):
        cores = machine.get("cores") and words.say("cores", cores=machine["cores"])
        memory = machine.get("memory_bytes")
        memory = memory and words.say("memory", memory=words.number(memory / 2**30, 1) + " GiB")
        say(
            "machine",
            machine["processor"],
            " · ".join(part for part in (cores, memory) if part),
            machine["system"],
        )
        if machine.get("device"):
            say("device", machine["device"], said_in(language, machine.get("device_reason", "")))
        if machine.get("precision"):
            say("precision", machine["precision"], said_in(language, machine.get("precision_reason", "")))
    if command := facts.get("command"):
        program = command[0].replace("\\", "/").rsplit("/", 1)[-1]
        say("command", " ".join([program, *command[1:]]), code=True)
    return found


def _sizes(sizes: dict[str, list[int]] | None, words: Wording) -> str | None:
    if not sizes:
        return None
    shown = {
        name: f"{words.number(width)} × {words.number(height)}" for name, (height, width) in sizes.items()
    }
    return words.say("data_size" if len(set(shown.values())) == 1 else "data_sizes", **shown)


def _input(config: dict[str, Any], words: Wording) -> str | None:
    size = config.get("architecture", {}).get("image_size")
    if size is None:
        return None
    height, width = size if isinstance(size, list) else (size, size)
    return words.say("input", width=width, height=height)


def _done(run: RunContent, words: Wording) -> str:
    """How much was trained: so many epochs, or so many folds or seeds."""
    if run.kind is None:
        return words.counted("epoch_count", len(run.metrics))
    return words.counted(f"{run.kind}_count", sum(part.evaluation.exists() for part in run.folder.parts()))


def _chosen(run: RunContent, words: Wording) -> str:
    if run.best_epoch is None:
        return words["training_last"]
    metric = run.facts["best"]["metric"]
    name = words.words.get(metric, metric)
    return words.say("training_best", epoch=words.number(run.best_epoch), metric=name)


def _settled(run: RunContent, words: Wording) -> str | None:
    """What a probe chose by the answers to images that it had left out."""
    for name, form in (("strength", words.significant), ("neighbours", words.number)):
        if run.recipe.get(name) is not None:
            return words.say(f"probe_{name}", value=form(run.recipe[name]))
    return None


def _shots(evaluation: dict[str, Any] | None, words: Wording) -> list[list[str]]:
    """Accuracy after few images a class: their number, draws, mean, standard deviation, least and most."""
    rows = []
    for one in (evaluation or {}).get("shots", ()):
        deviation = one["standard_deviation"]
        rows.append(
            [
                words["all_images"] if one["shots"] == "all" else words.number(one["shots"]),
                words.number(one["draws"]),
                words.percent(one["mean"]),
                "–" if deviation is None else words.percent(deviation),
                f"{words.percent(one['minimum'])} – {words.percent(one['maximum'])}",
            ]
        )
    return rows


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


def _confusion(evaluation: dict[str, Any] | None, words: Wording) -> dict[str, Any] | None:
    """The matrix where it can be taken in at a glance, else its largest mistakes."""
    if evaluation is None or "confusion_matrix" not in evaluation:
        return None
    names, counts = list(evaluation["per_class"]), np.array(evaluation["confusion_matrix"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(names) <= MATRIX_LIMIT:
        rows = []
        for row, name in enumerate(names):
            cells = [
                _cell(counts[row, column], shares[row, column], row == column, words)
                for column in range(len(names))
            ]
            rows.append({"name": name, "cells": cells})
        return {"names": names, "rows": rows, "pairs": [], "dense": len(names) > DENSE}
    mistakes = counts.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:PAIRS]
    pairs = []
    for true, predicted in zip(*np.unravel_index(order, mistakes.shape), strict=True):
        if mistakes[true, predicted]:
            pairs.append(
                {
                    "true": names[true],
                    "predicted": names[predicted],
                    "images": int(mistakes[true, predicted]),
                    "share": float(shares[true, predicted]),
                }
            )
    return {"names": names, "rows": [], "pairs": pairs, "dense": False}


def _cell(count: int, share: float, right: bool, words: Wording) -> dict[str, str]:
    if not count:
        return {"kind": "", "text": "", "strength": ""}
    # The square root lets a mistake of a few per cent be seen; the text turns white where the colour is deep.
    strength = 0.1 + 0.9 * float(np.sqrt(share))
    kind = ("right" if right else "wrong") + (" strong" if strength > 0.72 else "")
    return {"kind": kind, "text": words.number(count), "strength": f"{strength:.2f}"}


def _reliability(run: RunContent, words: Wording) -> str | None:
    answers, variant = run.answers, "_multi_label" if run.multi_label else ""
    if answers is None or len(answers.paths) == 0:
        return None
    bins = reliability_bins(answers.probabilities, answers.came_true)
    return reliability_chart(
        bins,
        percent_axis(words[f"confidence_unit{variant}"]),
        percent_axis(words[f"right_unit{variant}"]),
        words=words,
        alt=words[f"calibration_alt{variant}"],
    )


def _examples(
    answers: Answers | None, images: ReadImage | None, explain: Explain | None, words: Wording
) -> dict[str, Any] | None:
    if answers is None or images is None:
        return None
    kinds = []
    chosen = choose_examples(answers.right, answers.confidence)
    for kind, positions in zip(("mistakes", "uncertain"), chosen, strict=True):
        shown = [
            picture_example(
                answers.paths[index],
                words.label(str(answers.labels[index])),
                words.label(str(answers.predicted[index])),
                float(answers.confidence[index]),
                images,
                explain,
            )
            for index in positions
        ]
        kinds.append((kind, f"{kind}_lead", shown))
    heat = any(example.heatmap for _, _, shown in kinds for example in shown)
    return {"kinds": kinds, "heat": heat}


def _images(data: dict[str, Any], words: Wording, *, with_names: bool) -> dict[str, Any] | None:
    """How many images of each class each split or fold has, and what was left out."""
    if not data:
        return None
    folds = data.get("folds", ())
    if 0 < len(folds) <= FOLDS:
        columns = {f"{words['fold']} {number}": counts for number, counts in enumerate(folds, start=1)}
        sums = images_by_fold(data)
    else:
        columns = {words[split]: data["images"][split] for split in SPLITS if split in data["images"]}
        sums = [images_by_split(data)[split] for split in SPLITS if split in data["images"]]
    labels = list(dict.fromkeys(name for counts in columns.values() for name in counts))
    rows = []
    for label in labels:
        counts = [by_class.get(label, 0) for by_class in columns.values()]
        rows.append((label, [*counts, sum(counts)]))
    totals = [*sums, sum(sums)]
    left = []
    for kind in ("bad_files", "left_out"):
        files = data.get(kind) or []
        if files:
            named = (
                [(shown_path(file["path"]), file["reason"]) for file in files[:FILES]] if with_names else []
            )
            title = words.say(kind, count=words.number(len(files)))
            left.append(
                {"title": title, "files": named, "more": len(files) - len(named) if with_names else 0}
            )
    lead = words["images_lead_folds" if folds else "images_lead"]
    if "images_by_split" in data:
        lead += " " + words["images_lead_multi_label"]
    return {"columns": list(columns), "rows": rows, "totals": totals, "left": left, "lead": lead}


def _versions(facts: dict[str, Any], words: Wording) -> list[tuple[str, str]]:
    versions = list(facts.get("versions", {}).items())
    hashes = [
        (words.say("hash", name=name), value) for name, value in facts.get("hashes", {}).items() if value
    ]
    return [*versions, *hashes]
