"""Does one call leave what the contract promises, repeatably, resumably, and without destroying anything?"""

import csv
import json
import re
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from vitral.errors import ConfigError, DataError, UsageError, VitralError
from vitral.inference import Classifier
from vitral.model import VisionTransformer
from vitral.training import RECIPES, EpochDone, Event, StepDone
from vitral.workflow import Run, report, train

Recipe = dict[str, Any]
MakeFolder = Callable[..., Path]
Draw = Callable[..., None]


def timeless(epochs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The figures that must repeat: not those that the clock gives."""
    return [{k: v for k, v in epoch.items() if k not in ("seconds", "images_per_second")} for epoch in epochs]


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run.path / "model.safetensors")


def test_the_run_folder_is_complete(run: Run, photos: Path) -> None:
    names = {path.name for path in run.path.iterdir()}
    files = "config.json model.safetensors recipe.toml run.json splits.csv metrics.jsonl evaluation.json"
    assert names == {
        *files.split(),
        "predictions.csv",
        "batch.png",
        "curves.png",
        "report.html",
        "checkpoints",
    }

    facts = json.loads((run.path / "run.json").read_text())
    assert facts["state"] == "finished"
    assert facts["data"]["spec"] == str(photos)
    assert facts["data"]["images"]["train"] == {"blue": 8, "green": 8, "red": 8}
    assert facts["data"]["sizes"]["median"] == [16, 20]
    assert facts["model"]["name"] == "vit_mini_patch8_16"
    assert facts["model"]["parameters"] == sum(tensor.numel() for tensor in weights_of(run).values())
    assert facts["machine"]["precision"] == "fp32"
    assert facts["machine"]["precision_reason"] == {"en": "asked for", "pt": "a pedido"}
    assert re.fullmatch("[0-9a-f]{64}", facts["hashes"]["data"])
    assert facts["best"]["metric"] == "balanced_accuracy"
    assert str(Path.cwd()) not in (run.path / "run.json").read_text().replace(str(photos), "")

    recipe = tomllib.loads((run.path / "recipe.toml").read_text())
    assert recipe["data"] == str(photos)
    assert (recipe["model"], recipe["epochs"], recipe["seed"]) == ("vit_mini_patch8_16", 4, 0)

    rows = list(csv.DictReader((run.path / "splits.csv").read_text().splitlines()))
    assert len(rows) == 3 * 16
    assert list(rows[0]) == ["path", "label", "split", "group", "hash"]
    predictions = list(csv.DictReader((run.path / "predictions.csv").read_text().splitlines()))
    assert {row["split"] for row in predictions} == {"validation", "test"}
    assert list(predictions[0]) == ["path", "label", "split", "predicted", "blue", "green", "red"]
    with Image.open(run.path / "batch.png") as picture:
        assert min(picture.size) > 100


def test_a_task_that_is_easy_is_learned(run: Run) -> None:
    assert run.metrics["accuracy"] == 1
    assert run.classifier().predict(np.full((16, 16, 3), (200, 40, 40), np.uint8)).label == "red"


def test_metrics_have_the_contracts_keys(run: Run) -> None:
    keys = {
        f"{split}_{figure}" for split in ("train", "validation", "test") for figure in ("loss", "accuracy")
    }
    keys |= {"epoch", "step", "learning_rate", "images_per_second", "seconds"}
    assert [epoch["epoch"] for epoch in run.epochs] == [1, 2, 3, 4]
    assert all(keys <= set(epoch) for epoch in run.epochs)
    keys = (
        "split images classes accuracy accuracy_interval balanced_accuracy macro_f1 auroc majority_accuracy "
        "accuracy_top5 loss calibration_error per_class confusion_matrix device backend precision"
    )
    assert set(keys.split()) <= set(run.metrics)
    assert run.metrics["accuracy_top5"] is None
    assert set(run.metrics["per_class"]["red"]) == {"precision", "recall", "recall_interval", "f1", "images"}


def test_config_and_weights_alone_predict_elsewhere(run: Run, photos: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    photo = photos / "test" / "green" / "00.png"
    here = run.classifier().predict(str(photo))
    there = Classifier.load(tmp_path).predict(str(photo))
    assert (there.label, there.probability) == (here.label, here.probability) == ("green", here.probability)


def test_a_seed_repeats_a_run_and_another_does_not(
    run: Run, photos: Path, tmp_path: Path, tiny: Recipe
) -> None:
    again = train(photos, output=tmp_path / "again", **tiny)
    assert timeless(again.epochs) == timeless(run.epochs)
    other = train(photos, output=tmp_path / "other", seed=1, **tiny)
    assert timeless(other.epochs) != timeless(run.epochs)


def test_the_callers_random_numbers_are_left_alone(photos: Path, tmp_path: Path, tiny: Recipe) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(photos, output=tmp_path / "run", **(tiny | {"epochs": 1}))
    assert torch.equal(torch.rand(3), expected)


def test_a_network_that_merges_is_trained_and_kept_so(
    run: Run, photos: Path, tmp_path: Path, tiny: Recipe
) -> None:
    """From scratch and from weights; the run says so itself afterwards."""
    for name, start in (("anew", {}), ("from", {"model": None, "weights": run.path})):
        done = train(photos, output=tmp_path / name, **(tiny | {"epochs": 1, "merge": 1} | start))
        assert json.loads((done.path / "config.json").read_text())["architecture"]["merge"] == 1
        assert done.classifier().model.config.merge == 1


def interrupt_at(step: int) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            signal.raise_signal(signal.SIGINT)

    return listen


@pytest.mark.parametrize("step", [5, 6], ids=["within an epoch", "at the end of one"])
def test_resuming_gives_what_an_uninterrupted_run_gives(
    run: Run, photos: Path, tmp_path: Path, step: int, tiny: Recipe
) -> None:
    with pytest.raises(KeyboardInterrupt) as interruption:
        train(photos, output=tmp_path / "run", listen=interrupt_at(step), **tiny)
    assert "--resume" in interruption.value.__notes__[0]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "interrupted"
    resumed = train(resume=tmp_path / "run", progress=False)
    assert timeless(resumed.epochs) == timeless(run.epochs)
    assert resumed.metrics == run.metrics
    assert all(torch.equal(weights_of(resumed)[name], tensor) for name, tensor in weights_of(run).items())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "finished"


def test_resuming_with_everything_random_and_an_average(photos: Path, tmp_path: Path, tiny: Recipe) -> None:
    recipe = tiny | {
        "mixup": 0.4,
        "dropout": 0.1,
        "drop_path": 0.2,
        "ema_decay": 0.9,
        "accumulate": 2,
        "flip": "both",
    }
    whole = train(photos, output=tmp_path / "whole", **recipe)
    with pytest.raises(KeyboardInterrupt):
        train(photos, output=tmp_path / "parts", listen=interrupt_at(3), **recipe)
    resumed = train(resume=tmp_path / "parts", progress=False)
    assert timeless(resumed.epochs) == timeless(whole.epochs)
    assert resumed.metrics == whole.metrics


def test_only_what_does_not_change_the_result_may_be_new_when_resuming(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave out epochs"):
        train(resume=run.path, epochs=8)
    with pytest.raises(UsageError, match="leave out seed"):
        train(resume=run.path, seed=1)
    with pytest.raises(UsageError, match="is finished"):
        train(resume=run.path, progress=False)
    with pytest.raises(UsageError, match="is no run"):
        train(resume=tmp_path, progress=False)


def test_resuming_says_what_has_changed(
    photos: Path, tmp_path: Path, tiny: Recipe, make_folder: MakeFolder, draw: Draw
) -> None:
    folder = make_folder(tmp_path / "photos", counts={"train": 8, "validation": 4})
    with pytest.raises(KeyboardInterrupt):
        train(folder, output=tmp_path / "run", listen=interrupt_at(2), **tiny)
    draw(folder / "train" / "red" / "03.png", (1, 2, 3), 0)
    with pytest.raises(DataError, match=r"changed since: train/red/03\.png"):
        train(resume=tmp_path / "run", progress=False)
    folder.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match=r"photos, which .* was trained on, is not here"):
        train(resume=tmp_path / "run", progress=False)


def test_an_existing_run_is_refused_unless_it_may_be_overwritten(
    photos: Path, tmp_path: Path, tiny: Recipe
) -> None:
    short = tiny | {"epochs": 1}
    first = train(photos, output=tmp_path / "run", **short)
    before = {path: path.read_bytes() for path in first.path.glob("*.*")}
    with pytest.raises(UsageError, match="--overwrite"):
        train(photos, output=tmp_path / "run", **short)
    assert {path: path.read_bytes() for path in first.path.glob("*.*")} == before
    (first.path / "notes.txt").write_text("mine")
    # From its own weights: they are read before anything is removed.
    del short["model"]
    second = train(
        photos, weights=first.path, output=first.path, overwrite=True, recipe="small-data", **short
    )
    assert len(second.epochs) == 1
    assert (first.path / "notes.txt").read_text() == "mine"


def test_what_is_no_run_is_never_overwritten(photos: Path, tmp_path: Path, tiny: Recipe) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="no run"):
        train(photos, output=tmp_path, overwrite=True, **tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_runs_get_the_next_free_name(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Recipe
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "photos-1").mkdir(parents=True)
    assert train(photos, **(tiny | {"epochs": 1})).path == Path("runs/photos-2")


def test_a_dry_run_tells_the_cost_and_leaves_nothing(
    photos: Path, tmp_path: Path, capsys: Any, tiny: Recipe
) -> None:
    planned = train(photos, output=tmp_path / "run", dry_run=True, **(tiny | {"progress": True}))
    assert list(tmp_path.iterdir()) == []
    overview = planned.overview
    assert overview["data"]["images"]["test"] == {"blue": 4, "green": 4, "red": 4}
    assert (overview["steps_per_epoch"], overview["steps"], overview["epochs"]) == (3, 12, 4)
    assert overview["seconds"] > 0
    assert overview["disk_bytes"] > 4 * overview["model"]["parameters"]
    json.dumps(overview, allow_nan=False)
    said = capsys.readouterr().err
    for word in (
        "3 classes",
        "training   validation   test",
        "16 × 20 px",
        "vit_mini_patch8_16",
        "asked for",
        "MB on",
    ):
        assert word in said


def test_without_a_model_the_default_of_the_catalogue_is_tuned(
    photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitral.workflow.training.DEFAULT", str(run.path))  # no network here
    planned = train(photos, image_size=16, dry_run=True, progress=False)
    assert planned.overview["model"]["weights"] == str(run.path)
    # Few images are fine-tuned from the linear probe, layers at rates of their own.
    recipe = planned.overview["recipe"]
    assert (recipe["head_start"], recipe["layer_decay"]) == ("probe", RECIPES["finetune-small"].layer_decay)


def test_a_contradicting_start_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give one of them"):
        train(photos, model="vit_mini_patch8_16", weights=tmp_path, progress=False)
    with pytest.raises(UsageError, match="name the images"):
        train(model="vit_mini_patch8_16")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_request_is_refused_before_the_images_are_looked_at(tmp_path: Path) -> None:
    nowhere = tmp_path / "no such folder"
    for wrong, said in (
        ({"model": "vit_tinny_patch8_16"}, "did you mean"),
        ({"recipe": "smal-data"}, "did you mean small-data"),
        ({"epoch": 3}, "did you mean epochs"),
        ({"device": "tpu"}, "no device is called"),
        ({"columns": "path"}, "is not of the form"),
        ({"language": "fr"}, "choose en or pt"),
    ):
        with pytest.raises(UsageError, match=said):
            train(nowhere, **({"model": "vit_mini_patch8_16", "progress": False} | wrong))


def test_bad_files_are_listed_once_with_their_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny: Recipe, make_folder: MakeFolder
) -> None:
    folder = make_folder(tmp_path / "photos", counts={"train": 12, "test": 4})
    whole = (folder / "train" / "red" / "00.png").read_bytes()
    (folder / "train" / "red" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "train" / "blue" / "empty.jpg").write_bytes(b"")
    (folder / "train" / "blue" / "page.jpeg").write_text("<html>not an image</html>")
    done = train(folder, output=tmp_path / "run", **(tiny | {"epochs": 1, "progress": True}))
    said = capsys.readouterr().err
    for name in ("train/red/cut.png", "train/blue/empty.jpg", "train/blue/page.jpeg"):
        assert len(re.findall(f"  {name}: ", said)) == 1
    assert "3 files cannot be used" in said
    kept = json.loads((done.path / "run.json").read_text())["data"]["bad_files"]
    assert [file["path"] for file in kept] == [
        "train/blue/empty.jpg",
        "train/blue/page.jpeg",
        "train/red/cut.png",
    ]
    assert all(file["reason"] for file in kept)
    with pytest.raises(DataError, match="3 bad files"):
        train(folder, output=tmp_path / "strict", strict=True, **tiny)
    for number in range(4):
        (folder / "train" / "green" / f"bad{number}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="more than 10%"):
        train(folder, output=tmp_path / "bad", **tiny)
    assert not (tmp_path / "strict").exists()
    assert not (tmp_path / "bad").exists()


def test_classes_that_cannot_be_trained_are_named(
    tmp_path: Path, tiny: Recipe, make_folder: MakeFolder
) -> None:
    folder = make_folder(tmp_path / "photos", ("red", "green"))
    (folder / "blue").mkdir()
    with pytest.raises(DataError, match="'blue'"):
        train(folder, **tiny)
    (folder / "blue").rmdir()
    with pytest.raises(DataError, match="one class only, 'red'"):
        train(make_folder(tmp_path / "one", ("red",)), **tiny)
    (folder / "green").rename(folder / "a|b")
    with pytest.raises(DataError, match=r"a\|b"):
        train(folder, **tiny)


def test_a_loss_that_is_not_finite_stops_and_says_what_to_lower(
    photos: Path, tmp_path: Path, tiny: Recipe
) -> None:
    wild = tiny | {"learning_rate": 1e30, "optimizer": "sgd", "clip_norm": 0.0, "epochs": 30}
    with pytest.raises(VitralError, match=r"finite in step \d+.*--learning-rate"):
        train(photos, output=tmp_path / "run", **wild)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "failed"
    assert not list((tmp_path / "run").glob(".*"))


def test_the_last_good_weights_outlive_a_loss_that_is_not_finite(
    photos: Path, tmp_path: Path, tiny: Recipe
) -> None:
    good: dict[str, torch.Tensor] = {}

    class Spoil:
        """After the first good epoch, weights that are no numbers."""

        def __call__(self, event: Event) -> None:
            if isinstance(event, EpochDone) and event.figures["epoch"] == 1:
                for model in models:
                    good.update({name: t.clone() for name, t in model.state_dict().items()})
                    with torch.no_grad():
                        model.head.weight.fill_(float("nan"))

    models: list[VisionTransformer] = []
    original = VisionTransformer.forward

    def forward(self: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
        models[:] = [self]
        return original(self, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VisionTransformer, "forward", forward)
        with pytest.raises(VitralError, match="finite"):
            train(photos, output=tmp_path / "run", listen=Spoil(), **tiny)
    kept = safetensors.torch.load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in good.items())


@pytest.mark.parametrize("after", [0, 30], ids=["while measuring", "while training"])
def test_out_of_memory_names_a_batch_size_that_keeps_the_recipe(
    photos: Path, tmp_path: Path, after: int, tiny: Recipe
) -> None:
    calls = 0
    original = VisionTransformer.forward

    def forward(self: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > after:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")
        return original(self, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VisionTransformer, "forward", forward)
        with pytest.raises(VitralError, match=r"2\.00 GiB.*--batch-size 4 --accumulate 2.*8 images"):
            train(photos, output=tmp_path / "run", **(tiny | {"epochs": 40}))


def test_a_time_limit_ends_the_training_with_what_it_reached(
    photos: Path, tmp_path: Path, tiny: Recipe
) -> None:
    done = train(photos, output=tmp_path / "run", time_limit=1.0, **(tiny | {"epochs": 3000}))
    facts = json.loads((done.path / "run.json").read_text())
    assert 1 <= len(done.epochs) < 3000
    assert facts["state"] == "finished"
    assert any("time limit" in note["en"] and "tempo pedido" in note["pt"] for note in facts["notes"])
    assert done.metrics["images"] == 12


def test_test_without_validation_chooses_nothing_unless_asked(
    tmp_path: Path, tiny: Recipe, make_folder: MakeFolder
) -> None:
    folder = make_folder(tmp_path / "photos", counts={"train": 10, "test": 4})
    last = train(folder, output=tmp_path / "last", **(tiny | {"epochs": 2}))
    assert json.loads((last.path / "run.json").read_text())["best"] == {
        "epoch": None,
        "metric": None,
        "value": None,
    }
    assert "validation_loss" not in last.epochs[0]
    chosen = train(folder, output=tmp_path / "chosen", validation=0.3, **(tiny | {"epochs": 2}))
    assert json.loads((chosen.path / "run.json").read_text())["best"]["epoch"] in (1, 2)
    assert chosen.metrics["split"] == "test"


def test_a_csv_with_its_own_headings(photos: Path, tmp_path: Path, tiny: Recipe) -> None:
    lines = ["file;what;split"]
    for path in sorted(photos.rglob("*.png")):
        split, label, _ = path.relative_to(photos).parts
        lines.append(f"{path};{label.upper()};{split}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    options = {"columns": {"path": "file", "label": "what"}, "output": tmp_path / "run"}
    done = train(tmp_path / "table.csv", **options, **(tiny | {"epochs": 1}))
    assert done.metrics["classes"] == ["BLUE", "GREEN", "RED"]
    assert tomllib.loads((done.path / "recipe.toml").read_text())["columns"] == "path=file,label=what"


def test_portuguese_report(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny: Recipe
) -> None:
    short = tiny | {"epochs": 1, "progress": True}
    done = train(photos / "train", output=tmp_path / "run", language="pt", **short)
    assert '<html lang="pt' in (done.path / "report.html").read_text()
    said = capsys.readouterr().err
    assert "treino   validação   teste" in said
    assert "DATA não traz divisão" in said
    page = (done.path / "report.html").read_text()
    assert "DATA não traz divisão" in page
    assert "a pedido" in page  # the device, by the recipe of these tests
    report([done.path], language="en")
    assert "no splits in DATA" in (done.path / "report.html").read_text()


def test_a_recipe_that_contradicts_the_model_is_refused(
    photos: Path, run: Run, tmp_path: Path, tiny: Recipe
) -> None:
    with pytest.raises(ConfigError, match="image_size"):
        train(photos, image_size=20, output=tmp_path / "run", **tiny)
    fine = {name: value for name, value in tiny.items() if name != "model"} | {"position_embedding": "rope"}
    with pytest.raises(ConfigError, match="position_embedding"):
        train(photos, weights=run.path, output=tmp_path / "run", **fine)
