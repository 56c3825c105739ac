"""A run folder as training leaves it, with answers of any quality and class names of any kind."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from vitral.files import write_json, write_text
from vitral.runs import Predictions, RunFolder, evaluate_predictions, write_predictions

MakeRun = Callable[..., RunFolder]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(name, right, ...)`: a finished run that answers `right` (booleans, one an image) as asked."""

    def make(
        name: str,
        right: Sequence[bool],
        *,
        class_names: Sequence[str] = ("pizza", "steak", "sushi"),
        labels: Sequence[int] | None = None,
        confidence: Sequence[float] | None = None,
        split: str = "test",
        prefix: str = "test",
        epochs: int = 3,
        **recipe: object,
    ) -> RunFolder:
        images, classes = len(right), len(class_names)
        truth = np.arange(images) % classes if labels is None else np.asarray(labels)
        answers = np.where(right, truth, (truth + 1) % classes)
        sure = np.full(images, 0.8) if confidence is None else np.asarray(confidence)
        probabilities = np.repeat(((1 - sure) / (classes - 1))[:, None], classes, axis=1)
        probabilities[np.arange(images), answers] = sure
        paths = tuple(f"{prefix}/{class_names[label]}/{index}.jpg" for index, label in enumerate(truth))
        run = RunFolder(tmp_path / name)
        run.path.mkdir()
        write_predictions(
            run.predictions,
            Predictions(
                tuple(class_names),
                paths,
                tuple(class_names[label] for label in truth),
                (split,) * images,
                tuple(class_names[answer] for answer in answers),
                probabilities,
            ),
        )
        evaluation = evaluate_predictions(truth, probabilities, class_names, split=split)
        write_json(run.evaluation, evaluation.to_dict(device="cpu", backend="torch", precision="fp32"))
        with run.splits.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "split", "group", "hash"])
            for index, (path, label) in enumerate(zip(paths, truth, strict=True)):
                writer.writerow([path, class_names[label], split, "", f"{index:064x}"])
        for epoch in range(1, epochs + 1):
            measured = {f"{one}_loss": 2 / epoch for one in ("train", split)}
            measured |= {f"{one}_accuracy": 1 - 0.6 / epoch for one in ("train", split)}
            run.append_metrics({"epoch": epoch, "step": 10 * epoch, "learning_rate": 1e-3 / epoch} | measured)
        counts = {label: int((truth == index).sum()) for index, label in enumerate(class_names)}
        run.write_run(
            {
                "command": ["/opt/tools/bin/vitral", "train", "photos"],
                "state": "finished",
                "started": "2026-03-04T05:06:07+00:00",
                "seconds": 75.4,
                "versions": {"vitral": "0.1.0", "torch": "2.15.0"},
                "machine": {
                    "system": "Linux",
                    "processor": "Some processor",
                    "cores": 8,
                    "memory_bytes": 16 * 2**30,
                    "device": "cpu",
                    "device_reason": "no GPU",
                    "precision": "bf16",
                    "precision_reason": "the processor has it",
                },
                "hashes": {"data": "ab" * 32, "weights": None},
                "data": {
                    "spec": "photos",
                    "name": "photos",
                    "images": {"train": dict.fromkeys(class_names, 1500), split: counts},
                    "sizes": {"smallest": [48, 64], "median": [64, 64], "largest": [96, 128]},
                    "bad_files": [
                        {"path": "/home/ana/photos/train/pizza/9.jpg", "reason": "the file is empty"}
                    ],
                    "left_out": [],
                },
                "model": {
                    "name": "vit_mini_patch4_32",
                    "weights": None,
                    "parameters": 1234567,
                    "multiply_adds": 98765432,
                },
                "best": {"epoch": 2, "metric": "balanced_accuracy", "value": 0.7},
                "notes": [],
            }
        )
        write_json(run.config, {"format": "vitral", "version": 1, "architecture": {"image_size": [32, 32]}})
        lines = {"data": '"photos"', "epochs": epochs} | recipe
        write_text(run.recipe, "".join(f"{key} = {value}\n" for key, value in lines.items()))
        return run

    return make
