"""What a finished run says of itself: evaluation.json and predictions.csv, from the answers to its own images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vitral.data import SPLITS, LabelledImages
from vitral.files import write_json
from vitral.runs.evaluation import evaluate_predictions
from vitral.runs.layout import RunFolder
from vitral.runs.multi_label import evaluate_multi_label
from vitral.runs.predictions import Predictions, answered, write_predictions


def write_results(
    folder: RunFolder,
    data: LabelledImages,
    answers: Mapping[str, np.ndarray],
    thresholds: tuple[float, ...] | None = None,
    *,
    device: str,
    backend: str,
    precision: str,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write evaluation.json, on the test split if there is one, else validation, else training; and predictions.csv.

    Training images stand there only where no others do.

    Args:
        folder: the run.
        data: its images.
        answers: probabilities `(images, classes)` of splits, in the order of their samples.
        thresholds: of multi-label data, one a class.
        device, backend, precision: what computed the answers.
        more: further entries of evaluation.json.
    """
    names, rows, measured = data.class_names, [], {}
    for split in [one for one in SPLITS if one in answers and one != "train"] or ["train"]:
        samples = data.split(split)
        targets = data.targets(samples)
        groups = [sample.group for sample in samples] if data.has_groups else None
        if thresholds is None:
            measured[split] = evaluate_predictions(targets, answers[split], names, split=split, groups=groups)
        else:
            measured[split] = evaluate_multi_label(
                targets, answers[split], names, thresholds, split=split, groups=groups
            )
        rows += list(zip(samples, answers[split], strict=True))
    probabilities = np.stack([answer for _, answer in rows])
    chosen = next(measured[split] for split in ("test", "validation", "train") if split in measured)
    figures = chosen.to_dict(device=device, backend=backend, precision=precision)
    write_json(folder.evaluation, figures | dict(more or {}))
    write_predictions(
        folder.predictions,
        Predictions(
            class_names=names,
            paths=tuple(sample.path for sample, _ in rows),
            labels=tuple(data.label_text(sample) for sample, _ in rows),
            splits=tuple(sample.split for sample, _ in rows),
            predicted=answered(names, probabilities, thresholds),
            probabilities=probabilities,
        ),
    )
