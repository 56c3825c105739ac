"""Is what `tune` recommends the fastest of what may be taken, and are its figures those of `evaluate`?"""

import itertools
import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vitral.cli.app import build_app, main
from vitral.data import open_data
from vitral.errors import DataError, UsageError
from vitral.inference import Classifier
from vitral.model import config_for
from vitral.runs import evaluate_predictions
from vitral.workflow import Run, evaluate, train, tune
from vitral.workflow.candidates import Candidate
from vitral.workflow.measuring import Task
from vitral.workflow.progress import Display
from vitral.workflow.trials import Bench, Trial, drawn
from vitral.workflow.tuning import usage_of
from vitral.workflow.tuning_search import Search, Wanted

MakeFolder = Callable[..., Path]
# Without the other runtimes, so that a tuning takes a second.
TORCH = {"backends": ("torch",), "precisions": ("fp32",), "device": "cpu", "progress": False}
NAMES = ("a", "b")
IMAGES = 200


@pytest.fixture(scope="module")
def trained(photos: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with 16 patches, so that merging and smaller images can be tried."""
    folder = tmp_path_factory.mktemp("tuned") / "run"
    train(photos, output=folder, **(tiny | {"model": "vit_mini_patch4_16", "epochs": 2}))
    return folder


class FakeBench:
    """Stands for a `Bench`: candidates whose right answers and seconds are known."""

    def __init__(self, known: dict[Candidate, tuple[int, float]], slow: str) -> None:
        self.known, self.batch, self.device = known, 10, "cpu"
        self.slow = slow  # a precision that is ten times as slow as it seems at first
        self.tried: list[Candidate] = []
        self.in_turns: list[Candidate] = []
        sample = SimpleNamespace(labels=(0,), group="")
        data = SimpleNamespace(class_names=NAMES, has_groups=False, spec="known")
        self.task = Task(data, (sample,) * IMAGES, "validation", 10)  # type: ignore[arg-type]
        config = config_for("vit_tiny_patch16_224", num_classes=2)
        self.checkpoint = SimpleNamespace(config=config, class_names=NAMES, thresholds=None)

    def measure(self, candidate: Candidate) -> Trial:
        self.tried.append(candidate)
        right, seconds = self.seen(candidate)
        answers = np.where(np.arange(IMAGES)[:, None] < right, (0.9, 0.1), (0.1, 0.9))
        evaluation = evaluate_predictions(np.zeros(IMAGES, int), answers, NAMES, split="validation")
        return Trial(candidate, answers, evaluation, seconds / self.known[OPENVINO_32][1], 1.0)

    def seen(self, candidate: Candidate) -> tuple[int, float]:
        """Each patch merged costs an image and saves a hundredth, smaller images cost ten and save a third."""
        pair = Candidate(candidate.backend, candidate.precision, 0, (224, 224))
        right, seconds = self.known[pair]
        if candidate.merge:
            right, seconds = right - candidate.merge, seconds * (1 - candidate.merge / 100)
        if candidate.image_size != (224, 224):
            right, seconds = right - 10, seconds * 2 / 3
        return right, seconds

    def take_turns(self, trials: list[Trial], kept: int, turn: Callable[[int], bool]) -> None:
        turn(0)
        for trial in trials:
            self.in_turns.append(trial.candidate)
            times = 10 if trial.candidate.precision == self.slow else 1
            trial.batches, trial.singles = [times * self.seen(trial.candidate)[1]], [0.001]


TORCH_32 = Candidate("torch", "fp32", 0, (224, 224))
OPENVINO_32 = Candidate("openvino", "fp32", 0, (224, 224))
OPENVINO_8 = Candidate("openvino", "int8", 0, (224, 224))


def search(slow: str = "", **wanted: Any) -> tuple[Search, FakeBench]:
    bench = FakeBench({TORCH_32: (180, 10.0), OPENVINO_32: (180, 5.0), OPENVINO_8: (176, 2.0)}, slow)
    pairs = [(one.backend, one.precision) for one in bench.known]
    done = Search(
        bench,  # type: ignore[arg-type]
        Wanted(**{"pairs": pairs, "image_sizes": [(160, 160)], **wanted}),
        TORCH_32,
        OPENVINO_32,
        Display(shown=False),
        on_gpu=False,
    )
    done.run()
    return done, bench


@pytest.mark.parametrize(
    ("max_drop", "best"),
    [
        (0.0, OPENVINO_32),  # int8 loses 4 of 200
        (1.9, replace(OPENVINO_32, merge=3)),  # 3 of 200; merging 4 would lose 2 points
        (2.0, OPENVINO_8),
        (5.0, replace(OPENVINO_8, merge=6)),  # 4 + 6 of 200
        (20.0, replace(OPENVINO_8, merge=6, image_size=(160, 160))),
    ],
)
def test_the_recommendation_is_the_fastest_that_loses_no_more(
    max_drop: float, best: Candidate, extras: Path
) -> None:
    done, _ = search(max_drop=max_drop, merging=(3, 6))
    found = done.document()
    assert next(iter(done.trials)) == TORCH_32
    recommended = found["candidates"][found["recommended"]]
    assert recommended["difference"] >= -max_drop / 100 - 1e-9
    assert (
        Candidate(
            recommended["backend"],
            recommended["precision"],
            recommended["merge"],
            tuple(recommended["image_size"]),
        )
        == best
    )
    assert found["candidates"][found["default"]]["backend"] == "openvino"
    assert found["candidates"][found["reference"]]["difference"] == 0


def test_only_what_is_on_the_front_is_tried_further(extras: Path) -> None:
    done, bench = search(merging=(3,))
    assert len(set(bench.tried)) == len(bench.tried)
    assert [one for one in bench.tried if one.backend == "torch"] == [TORCH_32]  # beaten by openvino in fp32
    small = [one for one in bench.tried if one.image_size == (160, 160)]
    assert {one.precision for one in small if one.merge} == {"int8"}  # small ones in fp32 are beaten by int8
    found = done.document()
    front = [one for one in found["candidates"] if one["front"]]
    assert found["candidates"][: len(front)] == front
    for faster, slower in itertools.pairwise(front):
        assert faster["images_per_second"] > slower["images_per_second"]
        assert faster["accuracy"] < slower["accuracy"]
    assert {TORCH_32, OPENVINO_32, OPENVINO_8} <= set(bench.in_turns)


def test_what_turns_out_to_be_on_the_front_takes_turns_as_well(extras: Path) -> None:
    """Small images in fp32 are beaten by int8 at first sight, and int8 turns out to be slow when they take turns."""
    done, bench = search(merging=(3,), slow="int8", max_drop=100)
    small = replace(OPENVINO_32, image_size=(160, 160))
    assert (bench.in_turns.count(small), bench.in_turns.count(OPENVINO_8)) == (1, 2)
    found = done.document()
    assert all(one["in_turns"] for one in found["candidates"] if one["front"])
    best = found["candidates"][found["recommended"]]
    assert (best["precision"], best["image_size"]) == ("fp32", [160, 160])


def test_no_time_leaves_out_what_was_not_tried_and_says_so(extras: Path) -> None:
    done, bench = search(seconds=0.0)
    assert bench.tried == [TORCH_32, OPENVINO_32]  # the default is what all is about
    found = done.document()
    assert next(one["precision"] for one in found["left_out"]) == "int8"
    assert "raise --time-limit" in found["left_out"][0]["reason"]["en"]


def test_what_this_machine_has_not_is_left_out_with_the_reason(extras: Path) -> None:
    done, _ = search(pairs=[("torch", "fp16")])
    (left_out,) = done.document()["left_out"]
    assert (left_out["backend"], left_out["precision"]) == ("torch", "fp16")
    assert "fp16 is not for processors" in left_out["reason"]["en"]


def test_figures_are_those_of_evaluate(trained: Path, tmp_path: Path) -> None:
    found = tune(trained, output=tmp_path, language="pt", **TORCH)
    assert (found["split"], found["images"], found["notes"]) == ("validation", 12, [])
    assert {(one["merge"], tuple(one["image_size"])) for one in found["candidates"]} >= {
        (0, (16, 16)),
        (1, (16, 16)),
        (0, (12, 12)),
    }
    for one in found["candidates"]:
        how = {"merge": one["merge"], "image_size": tuple(one["image_size"]), "backend": "torch"}
        figures = evaluate(trained, split="validation", device="cpu", precision="fp32", **how)
        assert one["accuracy"] == figures["accuracy"]
        assert one["accuracy_interval"] == figures["accuracy_interval"]


def test_the_document_is_the_file_and_its_commands_can_be_typed(
    trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tune(trained, images=9, batch_size=4, max_drop=100, **TORCH)
    assert found["images"] == 9
    assert json.loads((trained / "tune" / "tune.json").read_text("utf-8")) == found
    assert (trained / "tune" / "tune.png").stat().st_size > 10_000
    with pytest.raises(UsageError, match="holds a tuning already"):
        tune(trained, **TORCH)
    best = found["candidates"][found["recommended"]]
    assert best["images_per_second"] == max(
        one["images_per_second"] for one in found["candidates"] if one["in_turns"]
    )
    classifier = Classifier.load(
        trained,
        backend="torch",
        precision="fp32",
        device="cpu",
        merge=best["merge"],
        image_size=tuple(best["image_size"]),
    )
    image = str(photos / "test" / "red" / "00.png")
    words = [image if word == "IMAGE" else word for word in shlex.split(found["usage"]["predict"])]
    assert main([*words[1:], "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["probability"] == pytest.approx(classifier.predict(image).probability, abs=1e-4)


def test_a_file_in_int8_is_fitted_to_what_the_run_learned_from() -> None:
    """Every option that is to be typed exists, and a name with a space stays one word."""
    config = config_for("vit_tiny_patch16_224")
    best = {"backend": "openvino", "precision": "int8", "merge": 4, "image_size": [160, 192]}
    found = {
        "candidates": [best],
        "recommended": 0,
        "max_drop": 0.5,
        "name": "my food",
        "weights": "my food",
    }
    usage = usage_of(found, config, "cpu", {"mean": (0.5, 0.25, 1.0)}, {"calibrate": "my photos"})
    assert usage["predict"] == (
        "vitral predict 'my food' IMAGE --backend openvino --precision int8 --image-size 160x192 "
        "--mean 0.5,0.25,1.0 --merge 4 --device cpu"
    )
    assert usage["export"] == (
        "vitral export 'my food' my-food.xml --format openvino --precision int8 --image-size 160x192 "
        "--mean 0.5,0.25,1.0 --merge 4 --calibrate 'my photos' --max-drop 0.5"
    )
    for command in usage.values():
        build_app().parse_args(shlex.split(command)[1:])
    assert "--calibrate DATA" in usage_of(found, config, "auto", {})["export"]


@pytest.mark.slow
def test_without_validation_the_test_images_are_taken_and_it_is_said(
    tiny: dict[str, Any], make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "photos", counts={"train": 8, "test": 4}, seed=3)
    run = train(folder, output=tmp_path / "run", **(tiny | {"epochs": 1}))
    found = tune(run.path, **TORCH)
    assert (found["split"], found["images"]) == ("test", 12)
    assert "nothing was chosen on them so far" in " ".join(note["en"] for note in found["notes"])
    other = make_folder(tmp_path / "other", counts=6, seed=5)
    found = tune(run.path, other, output=tmp_path / "out", **TORCH)
    assert (found["split"], found["images"]) == ("test", 18)
    notes = " ".join(note["en"] for note in found["notes"])
    assert "no splits: all of its 18 images" in notes
    with pytest.raises(DataError, match="trained or chose on every one"):
        tune(run.path, folder / "train", output=tmp_path / "none", **TORCH)
    assert not (tmp_path / "none").exists()


def test_an_interrupted_tuning_writes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bench, "take_turns", stop)
    with pytest.raises(KeyboardInterrupt) as stopped:
        tune(run.path, output=tmp_path / "out", **TORCH)
    assert stopped.value.__notes__ == [
        "nothing was written; --time-limit ends with what was measured until then"
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"backends": ("tensorrt",)}, "no backend 'tensorrt'"),
        ({"precisions": ("fp8",)}, "no precision 'fp8'"),
        ({"split": "tset"}, "no split 'tset'"),
        ({"max_drop": -1}, "--max-drop is -1"),
        ({"images": 0}, "--images is 0"),
    ],
)
def test_what_there_is_not_is_refused_before_anything_is_tried(
    run: Run, tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        tune(run.path, output=tmp_path / "out", **(TORCH | wrong))


def test_some_images_keep_every_labels_share_and_stay_the_same(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    data = open_data(make_folder(tmp_path / "photos", counts={"train": 20, "test": 4}, seed=6))
    task = Task(data, data.split("train"), "train", 8)
    some = drawn(task, 15)
    assert [sum(sample.label == label for sample in some.samples) for label in (0, 1, 2)] == [5, 5, 5]
    assert set(drawn(replace(task, samples=task.samples[::-1]), 15).samples) == set(some.samples)
    assert drawn(task, 1000).samples == task.samples
    fewer = drawn(replace(task, samples=tuple(s for s in task.samples if s.path[-6:-4] != "07")), 15)
    assert len(set(fewer.samples) & set(some.samples)) >= 9


def test_a_network_of_several_labels_is_judged_by_its_average_precision(
    photos: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    rows = ["path,label,split"]
    for split in ("train", "validation", "test"):
        for place, file in enumerate(sorted((photos / split).rglob("*.png"))):
            more = "|warm" if file.parent.name == "red" and place % 2 else ""
            rows.append(f"{file},{file.parent.name}{more},{split}")
    (tmp_path / "table.csv").write_text("\n".join(rows), "utf-8")
    run = train(tmp_path / "table.csv", output=tmp_path / "run", **(tiny | {"epochs": 2}))
    found = tune(run.path, **TORCH)
    assert found["measure"] == "mean_average_precision"
    for one in found["candidates"]:
        how = {"merge": one["merge"], "image_size": tuple(one["image_size"]), "backend": "torch"}
        figures = evaluate(run.path, split="validation", device="cpu", precision="fp32", **how)
        assert one["mean_average_precision"] == pytest.approx(figures["mean_average_precision"])
        low, high = one["difference_interval"]
        assert low <= one["difference"] <= high
