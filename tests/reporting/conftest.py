"""A run folder as training leaves it, with answers of any quality and class names of any kind."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from vitral.files import write_json, write_text
from vitral.runs import (
    Predictions,
    RunFolder,
    evaluate_multi_label,
    evaluate_predictions,
    read_predictions,
    write_predictions,
)

MakeRun = Callable[..., RunFolder]
CLASS_NAMES = ("pizza", "steak", "sushi")


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(name, right, ...)`: a finished run that answers `right` (booleans, one an image) as asked."""

    def make(
        name: str,
        right: Sequence[bool],
        *,
        class_names: Sequence[str] = CLASS_NAMES,
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


@pytest.fixture
def make_several(make_run):
    """`make_several(name, targets, probabilities, …)`: a finished run of several labels an image."""

    def make(name, targets, probabilities, thresholds=(0.5, 0.5, 0.5), unknown=None) -> RunFolder:
        images = len(targets)
        run = make_run(name, [True] * images)
        texts, answers = (
            tuple("|".join(np.array(CLASS_NAMES)[row]) for row in rows)
            for rows in (np.asarray(targets) > 0, probabilities >= np.array(thresholds))
        )
        paths = tuple(f"test/{index}.jpg" for index in range(images))
        write_predictions(
            run.predictions,
            Predictions(CLASS_NAMES, paths, texts, ("test",) * images, answers, probabilities),
        )
        evaluation = evaluate_multi_label(
            targets, probabilities, CLASS_NAMES, thresholds, split="test", unknown=unknown
        )
        write_json(run.evaluation, evaluation.to_dict(device="cpu", backend="torch", precision="fp32"))
        with run.splits.open("w") as file:
            file.write("path,label,split,group,hash\n")
            file.writelines(f"{path},{text},test,,{path}\n" for path, text in zip(paths, texts, strict=True))
        for line in run.read_metrics():
            run.append_metrics(line | {"test_mean_average_precision": 1 - 0.5 / line["epoch"]})
        facts = run.read_run()
        counts = {name: int(count) for name, count in zip(CLASS_NAMES, np.sum(targets, axis=0), strict=True)}
        images_by_split = {"train": 1000, "test": images}
        data = facts["data"] | {"images": facts["data"]["images"] | {"test": counts}}
        run.update_run(data=data | {"images_by_split": images_by_split})
        return run

    return make


@pytest.fixture
def make_whole(make_run, tmp_path: Path):
    """`make_whole("run", "folds", rights)`: a whole with a part for each list of right and wrong answers."""

    def make(name: str, kind: str, rights: Sequence[Sequence[bool]]) -> RunFolder:
        whole = RunFolder(tmp_path / name)
        whole.path.mkdir()
        parts = [f"{kind.removesuffix('s')}-{number}" for number in range(1, len(rights) + 1)]
        content, lines = {}, ["path,label,split,group,hash" + (",fold" if kind == "folds" else "")]
        for number, (part, right) in enumerate(zip(parts, rights, strict=True), start=1):
            prefix = f"photos/{number}" if kind == "folds" else "photos"
            run = make_run(
                f"{name}/{part}", right, prefix=prefix, confidence=np.linspace(0.5, 0.9, len(right))
            )
            content = run.read_run()
            run.update_run(notes=[])
            write_text(run.report, "<html></html>")
            if kind == "seeds" and number > 1:
                continue
            predictions = read_predictions(run.predictions)
            for index, (path, label) in enumerate(zip(predictions.paths, predictions.labels, strict=True)):
                fold = f",{number}" if kind == "folds" else ""
                lines.append(f"{path},{label},train,,{1000 * number + index:064x}{fold}")
        write_text(whole.splits, "\n".join(lines) + "\n")
        write_text(whole.recipe, f'data = "photos"\n{kind} = 3\n')
        del content["data"]["images"]["train"]
        if kind == "folds":
            content["data"]["folds"] = [dict.fromkeys(("pizza", "steak", "sushi"), 4) for _ in parts]
        whole.write_run(content | {"kind": kind, "parts": parts, "seconds": 300.0})
        return whole

    return make
