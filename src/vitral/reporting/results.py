"""What came out of a run: its measures, accuracy after few images, and which classes are taken for one another."""

from typing import Any

import numpy as np

from vitral.reporting.texts import Wording

MATRIX_LIMIT = 30
DENSE = 16
PAIRS = 20
# From here on a cell's colour (style.css) is so deep that on white paper its number must be white to be read:
# black has a contrast of 4.5 below, white above.
DEEP = {"right": 0.787, "wrong": 0.875}


def measures_of(evaluation: dict[str, Any] | None, words: Wording) -> list[tuple[str, str]]:
    """The names and values of the measures beside the headline, those that there are."""
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


def shots_of(evaluation: dict[str, Any] | None, words: Wording) -> list[list[str]]:
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


def confusions_of(evaluation: dict[str, Any] | None, words: Wording) -> dict[str, Any] | None:
    """The matrix where it can be taken in at a glance, else its largest mistakes."""
    if evaluation is None or "confusion_matrix" not in evaluation:
        return None
    names, counts = list(evaluation["per_class"]), np.array(evaluation["confusion_matrix"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(names) <= MATRIX_LIMIT:
        rows = []
        for row, name in enumerate(names):
            cells = [
                _cell(counts[row, column], shares[row, column], name, other, words)
                for column, other in enumerate(names)
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


def _cell(count: int, share: float, true: str, predicted: str, words: Wording) -> dict[str, str]:
    """One cell of the matrix: its number, colour and depth, and what it says where a pointer rests on it."""
    if not count:
        return {"kind": "", "text": "", "strength": "", "title": ""}
    # The square root lets a mistake of a few per cent be seen.
    strength = 0.1 + 0.9 * float(np.sqrt(share))
    kind = "right" if true == predicted else "wrong"
    if strength > DEEP[kind]:
        kind += " strong"
    title = f"{true} → {predicted}: {words.percent(share)}"
    return {"kind": kind, "text": words.number(count), "strength": f"{strength:.2f}", "title": title}
