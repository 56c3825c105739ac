"""Do folds and seeds give honest, repeatable figures, and go on where they were stopped?"""

import csv
import json
import signal
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from vitral.data import fold, open_data
from vitral.errors import DataError, UsageError
from vitral.inference import Classifier
from vitral.runs import RunFolder, paired_difference, read_predictions, read_second_look
from vitral.training import EpochDone, Event, StepDone
from vitral.workflow import Run, compare, evaluate, one_training, report, train

Recipe = dict[str, Any]
MakeFolder = Callable[..., Path]
FILES = ["config.json", "model.safetensors", "recipe.toml", "run.json", "splits.csv", "metrics.jsonl"]
FILES += ["evaluation.json", "predictions.csv", "batch.png", "curves.png", "report.html", "checkpoints"]


@pytest.fixture(scope="session")
def short(tiny: Recipe) -> Recipe:
    """So short that mistakes are left."""
    return tiny | {"epochs": 2, "learning_rate": 3e-4, "metric": "accuracy"}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, make_folder: MakeFolder) -> Path:
    """Twenty-four pictures of three colours, some in train and some in test."""
    return make_folder(tmp_path_factory.mktemp("data") / "photos", counts={"train": 5, "test": 3})


@pytest.fixture(scope="session")
def folds(photos: Path, short: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three folds; not to be changed."""
    return train(photos, folds=3, output=tmp_path_factory.mktemp("runs") / "folds", **short)


@pytest.fixture(scope="session")
def seeds(photos: Path, short: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three seeds; not to be changed."""
    return train(photos, seeds=(0, 1, 4), output=tmp_path_factory.mktemp("runs") / "seeds", **short)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def test_folds_leave_complete_runs_below_one_that_sums_them_up(folds: Run, photos: Path) -> None:
    assert sorted(path.name for path in folds.path.iterdir()) == [
        *("evaluation.json", "fold-1", "fold-2", "fold-3", "predictions.csv", "recipe.toml", "report.html"),
        *("run.json", "second_look.csv", "splits.csv"),
    ]
    assert [run.path.name for run in folds.runs] == ["fold-1", "fold-2", "fold-3"]
    for run in folds.runs:
        assert sorted(path.name for path in run.path.iterdir()) == sorted(FILES)
        assert facts(run.path)["state"] == "finished"
        assert len(run.epochs) == 2
        assert run.runs == ()
    about = facts(folds.path)
    assert (about["state"], about["kind"]) == ("finished", "folds")
    assert about["parts"] == ["fold-1", "fold-2", "fold-3"]
    assert about["data"]["images"] == {"test": {"blue": 8, "green": 8, "red": 8}}
    assert all(sum(counts.values()) == 8 for counts in about["data"]["folds"])
    assert about["seconds"] == pytest.approx(sum(facts(r.path)["seconds"] for r in folds.runs), abs=0.06)
    assert sum("3 folds over all 24 images" in note["en"] for note in about["notes"]) == 1
    recipe = tomllib.loads((folds.path / "recipe.toml").read_text())
    assert (recipe["folds"], recipe["data"], recipe["epochs"]) == (3, str(photos), 2)
    for run in folds.runs:
        assert tomllib.loads((run.path / "recipe.toml").read_text()) | {"folds": 3} == recipe


def test_every_image_is_tested_once_by_the_run_that_did_not_learn_from_it(folds: Run) -> None:
    tested: Counter[str] = Counter()
    fold_of = {row["path"]: int(row["fold"]) for row in rows(folds.path / "splits.csv")}
    together = {row["path"]: row for row in rows(folds.path / "predictions.csv")}
    assert len(fold_of) == len(together) == 24
    for number, run in enumerate(folds.runs, start=1):
        sides = {row["path"]: row["split"] for row in rows(run.path / "splits.csv")}
        assert len(sides) == 24
        for row in rows(run.path / "predictions.csv"):
            assert (row["split"], sides[row["path"]], fold_of[row["path"]]) == ("test", "test", number)
            assert together[row["path"]] == row
            tested[row["path"]] += 1
    assert dict(tested) == dict.fromkeys(fold_of, 1)


def test_the_networks_themselves_answer_as_the_table_says(folds: Run, photos: Path) -> None:
    kept = {row["path"]: row for row in rows(folds.path / "predictions.csv")}
    fold_of = {row["path"]: row["fold"] for row in rows(folds.path / "splits.csv")}
    for number in "123":
        classifier = Classifier.load(folds.path / f"fold-{number}", precision="fp32")
        paths = [path for path in kept if fold_of[path] == number]
        for path, answer in zip(paths, classifier.predict([photos / p for p in paths]), strict=True):
            assert answer.label == kept[path]["predicted"]
            assert answer.probability == pytest.approx(float(kept[path][answer.label]), abs=1e-5)


def test_the_figures_are_scikit_learns_of_all_answers(folds: Run) -> None:
    kept = rows(folds.path / "predictions.csv")
    truth, answers = ([row[key] for row in kept] for key in ("label", "predicted"))
    found = folds.metrics
    assert (found["kind"], found["split"], found["images"]) == ("folds", "test", 24)
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, answers))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, answers))
    assert found["confusion_matrix"] == confusion_matrix(truth, answers).tolist()
    single = [run.metrics["accuracy"] for run in folds.runs]
    assert found["accuracy_mean"] == pytest.approx(np.mean(single))
    assert found["accuracy_spread"] == pytest.approx(np.std(single, ddof=1))
    assert [one["accuracy"] for one in found["runs"]] == single
    assert len(read_second_look(folds.path / "second_look.csv")) == found["second_look"]


def test_the_folds_are_those_that_data_has_beforehand(folds: Run, photos: Path) -> None:
    data = open_data(photos, folds=3)
    assert {s.path: s.fold for s in data.samples} == {
        row["path"]: int(row["fold"]) for row in rows(folds.path / "splits.csv")
    }
    for number, run in enumerate(folds.runs, start=1):
        expected = {(s.path, s.split) for s in fold(data, number).samples}
        assert {(row["path"], row["split"]) for row in rows(run.path / "splits.csv")} == expected


def stop_in(part: int, step: int) -> Callable[[Event], None]:
    """Ctrl-C at a step of a part (from 1)."""
    finished = 0

    def listen(event: Event) -> None:
        nonlocal finished
        if isinstance(event, EpochDone) and event.figures["epoch"] == event.epochs:
            finished += 1
        if isinstance(event, StepDone) and finished == part - 1 and event.step == step:
            signal.raise_signal(signal.SIGINT)

    return listen


@pytest.mark.parametrize(("part", "step"), [(1, 1), (2, 3)])
def test_stopped_folds_go_on_and_end_as_if_nothing_had_happened(
    folds: Run, photos: Path, tmp_path: Path, short: Recipe, part: int, step: int
) -> None:
    with pytest.raises(KeyboardInterrupt) as interruption:
        train(photos, folds=3, output=tmp_path / "run", listen=stop_in(part, step), **short)
    assert interruption.value.__notes__ == [
        f"`vitral train --resume {tmp_path / 'run'}` goes on with what is not finished"
    ]
    assert facts(tmp_path / "run")["state"] == "interrupted"
    with pytest.raises(UsageError, match=rf"has {part - 1} of its 3 runs.*makes fold-{part}"):
        evaluate(tmp_path / "run")
    report([tmp_path / "run"])
    assert "Training was interrupted" in (tmp_path / "run" / "report.html").read_text()
    done = [path for n in range(1, part) for path in (tmp_path / "run" / f"fold-{n}").rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in done}
    again = train(resume=tmp_path / "run", progress=False)
    assert {path: path.stat().st_mtime_ns for path in done} == before
    assert again.metrics == folds.metrics
    assert (again.path / "predictions.csv").read_bytes() == (folds.path / "predictions.csv").read_bytes()
    assert facts(again.path)["state"] == "finished"
    with pytest.raises(UsageError, match="is finished"):
        train(resume=tmp_path / "run", progress=False)


def test_the_stopped_part_can_be_finished_alone(
    folds: Run, photos: Path, tmp_path: Path, short: Recipe
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(photos, folds=3, output=tmp_path / "run", listen=stop_in(3, 4), **short)
    last = train(resume=tmp_path / "run" / "fold-3", progress=False)
    assert last.metrics == folds.runs[2].metrics
    whole = train(resume=tmp_path / "run", progress=False)  # nothing is left but to put them together
    assert whole.metrics == folds.metrics
    assert facts(whole.path)["state"] == "finished"


def test_a_part_that_left_no_state_begins_anew(
    folds: Run, photos: Path, tmp_path: Path, short: Recipe
) -> None:
    """As a kill in its first steps leaves it: there is a run.json and no checkpoint."""
    with pytest.raises(KeyboardInterrupt):
        train(photos, folds=3, output=tmp_path / "run", listen=stop_in(2, 1), **short)
    RunFolder(tmp_path / "run" / "fold-2").update_run(state="running")
    for file in (tmp_path / "run" / "fold-2" / "checkpoints").iterdir():
        file.unlink()
    (tmp_path / "run" / "fold-2" / "metrics.jsonl").unlink(missing_ok=True)
    again = train(resume=tmp_path / "run", progress=False)
    assert again.metrics == folds.metrics


def test_images_added_while_it_was_stopped_take_no_part_and_changed_ones_are_named(
    folds: Run, tmp_path: Path, make_folder: MakeFolder, short: Recipe, draw: Callable[..., None]
) -> None:
    photos = make_folder(tmp_path / "photos", counts={"train": 5, "test": 3})
    with pytest.raises(KeyboardInterrupt):
        train(photos, folds=3, output=tmp_path / "run", listen=stop_in(1, 2), **short)
    draw(photos / "train" / "red" / "new.png", (200, 40, 40), 12345)
    old = (photos / "train" / "red" / "00.png").read_bytes()
    draw(photos / "train" / "red" / "00.png", (200, 40, 40), 54321)
    with pytest.raises(DataError, match=r"changed since: train/red/00\.png"):
        train(resume=tmp_path / "run", progress=False)
    (photos / "train" / "red" / "00.png").write_bytes(old)
    again = train(resume=tmp_path / "run", progress=False)
    assert again.metrics["images"] == 24
    assert again.metrics == folds.metrics


def test_seeds_leave_the_runs_that_each_seed_leaves_alone(
    seeds: Run, photos: Path, tmp_path: Path, short: Recipe
) -> None:
    assert [run.path.name for run in seeds.runs] == ["seed-0", "seed-1", "seed-4"]
    alone = train(photos, seed=4, output=tmp_path / "alone", **short)
    assert alone.metrics == seeds.runs[2].metrics
    assert (alone.path / "predictions.csv").read_bytes() == (
        seeds.path / "seed-4" / "predictions.csv"
    ).read_bytes()
    assert tomllib.loads((alone.path / "recipe.toml").read_text()) == tomllib.loads(
        (seeds.path / "seed-4" / "recipe.toml").read_text()
    )
    single = [run.metrics["accuracy"] for run in seeds.runs]
    found = seeds.metrics
    assert (found["kind"], found["images"]) == ("seeds", 9)
    assert found["accuracy"] == pytest.approx(np.mean(single))
    assert found["accuracy_spread"] == pytest.approx(np.std(single, ddof=1))
    assert not (seeds.path / "second_look.csv").exists()
    assert rows(seeds.path / "splits.csv") == rows(alone.path / "splits.csv")
    averages = read_predictions(seeds.path / "predictions.csv").probabilities
    of_each = [read_predictions(run.path / "predictions.csv").probabilities for run in seeds.runs]
    np.testing.assert_allclose(averages, np.mean(of_each, axis=0))


def test_stopped_seeds_go_on(seeds: Run, photos: Path, tmp_path: Path, short: Recipe) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(photos, seeds=[0, 1, 4], output=tmp_path / "run", listen=stop_in(2, 3), **short)
    assert train(resume=tmp_path / "run", progress=False).metrics == seeds.metrics


def test_evaluating_the_whole_gives_its_figures_and_names_the_parts_for_the_rest(
    folds: Run, seeds: Run, photos: Path
) -> None:
    for whole in (folds, seeds):
        assert evaluate(whole.path) == whole.metrics | {"notes": []}
        first = whole.runs[0].path
        for wrong in (
            lambda w=whole: evaluate(w.path, photos),
            lambda w=whole: evaluate(w.path, split="train"),
        ):
            with pytest.raises(UsageError, match=f"such as {first}"):
                wrong()
        for wrong in (whole.classifier, lambda w=whole: train(photos, weights=w.path, progress=False)):
            with pytest.raises(UsageError, match=f"holds 3 runs and no model of its own.*such as {first}"):
                wrong()
        assert evaluate(first)["accuracy"] == whole.runs[0].metrics["accuracy"]


def test_the_plan_of_all_is_shown_once_and_each_part_by_its_number(
    photos: Path, tmp_path: Path, short: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = short | {"progress": True}
    planned = train(photos, folds=3, dry_run=True, output=tmp_path / "run", **loud)
    assert list(tmp_path.iterdir()) == []
    one = train(photos, dry_run=True, progress=False, **{k: v for k, v in short.items() if k != "progress"})
    assert planned.overview["repeated"] == {"folds": 3}
    assert planned.overview["disk_bytes"] == 3 * one.overview["disk_bytes"]
    step = planned.overview["seconds_per_step"]
    assert planned.overview["seconds"] == pytest.approx(3 * step * (4 + 4 * 8 / 16 / 3))
    said = capsys.readouterr().err
    assert "class   fold 1   fold 2   fold 3" in said
    assert "2 epochs, 3 folds: about" in said
    done = train(photos, folds=3, output=tmp_path / "run", **loud)
    said = capsys.readouterr().err
    assert said.count("2 epochs, 3 folds: about") == 1
    for number in (1, 2, 3):
        assert f"fold {number}/3  epoch 1/2" in said
    assert done.overview["data"]["images"] == {"test": {"blue": 8, "green": 8, "red": 8}}
    train(photos, seeds=(3, 5), dry_run=True, language="pt", **loud)
    assert "2 épocas, 2 sementes: cerca de" in capsys.readouterr().err


def test_the_time_is_shared_and_all_folds_train_as_long(photos: Path, tmp_path: Path, short: Recipe) -> None:
    limits = []
    original = one_training.run_plan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            one_training,
            "run_plan",
            lambda plan, *rest, **named: (limits.append(plan.time_limit), original(plan, *rest, **named)),
        )
        long = short | {"epochs": 2000, "compile": False}
        done = train(photos, folds=2, output=tmp_path / "run", time_limit=3.0, **long)
    assert limits == [1.5, 1.5]
    recipes = [tomllib.loads((run.path / "recipe.toml").read_text()) for run in done.runs]
    assert recipes[0] == recipes[1]
    assert 1 <= recipes[0]["epochs"] < 2000
    assert any("to end within the time limit" in note["en"] for note in facts(done.path)["notes"])


def test_a_part_of_the_rest_chooses_where_asked(photos: Path, tmp_path: Path, short: Recipe) -> None:
    done = train(photos, folds=2, validation=0.3, output=tmp_path / "run", **(short | {"epochs": 1}))
    for run in done.runs:
        assert facts(run.path)["best"]["metric"] == "accuracy"
        assert {row["split"] for row in rows(run.path / "splits.csv")} == {"train", "validation", "test"}
    assert {row["split"] for row in rows(done.path / "predictions.csv")} == {"test"}
    assert done.metrics["images"] == 24


def test_what_contradicts_itself_is_refused_before_the_images_are_looked_at(
    folds: Run, tmp_path: Path, short: Recipe
) -> None:
    nowhere = tmp_path / "no such folder"
    for wrong, said in (
        ({"folds": 3, "seeds": (0, 1)}, "exclude each other"),
        ({"folds": 1}, "--folds 1 leaves nothing"),
        ({"seeds": (1,)}, "--seeds 1 is not two or more"),
        ({"seeds": ()}, "is not two or more"),
        ({"seeds": (1, 1, 2)}, "--seeds 1,1,2 is not two or more different"),
        ({"seeds": (0, -1)}, "from 0 on"),
        ({"seeds": (0, 1), "seed": 5}, "leave out --seed"),
        ({"folds": 3, "device": "tpu"}, "no device is called"),
        ({"folds": 3, "output": folds.path}, "already holds a run"),
    ):
        with pytest.raises(UsageError, match=said):
            train(nowhere, **(short | wrong))
    with pytest.raises(UsageError, match="leave out folds"):
        train(resume=folds.path, folds=3)
    fine = {
        name: value for name, value in short.items() if name not in ("model", "pool", "position_embedding")
    }
    with pytest.raises(UsageError, match="would be replaced while the weights are still needed"):
        train(nowhere, weights=folds.path / "fold-1", folds=3, output=folds.path, overwrite=True, **fine)
    assert all((run.path / "model.safetensors").exists() for run in folds.runs)


def test_folds_and_single_runs_replace_one_another(photos: Path, tmp_path: Path, short: Recipe) -> None:
    quick = short | {"epochs": 1, "output": tmp_path / "run", "overwrite": True}
    train(photos, folds=3, **quick)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "run" / "fold-9").mkdir()
    one = train(photos, **quick)
    assert sorted(path.name for path in one.path.iterdir()) == sorted([*FILES, "notes.txt", "fold-9"])
    assert one.metrics["images"] == 9
    two = train(photos, seeds=(0, 1), **quick)
    assert not (two.path / "model.safetensors").exists()
    assert [run.path.name for run in two.runs] == ["seed-0", "seed-1"]
    assert (two.path / "notes.txt").read_text() == "mine"


def test_images_that_the_weights_have_seen_are_not_tested(
    photos: Path, tmp_path: Path, short: Recipe
) -> None:
    origin = train(photos, output=tmp_path / "origin", **(short | {"epochs": 1}))
    fine = {n: v for n, v in short.items() if n not in ("model", "pool", "position_embedding")} | {
        "epochs": 1
    }
    done = train(photos, weights=origin.path, folds=3, output=tmp_path / "run", **fine)
    assert done.metrics["images"] == 9  # the others taught the weights that this started from
    assert {row["path"].split("/")[0] for row in rows(done.path / "predictions.csv")} == {"test"}
    assert any("left out: the run trained or chose" in note["en"] for note in facts(done.path)["notes"])
    with pytest.raises(DataError, match=r"fold-\d has no image to test: .* has seen all of them"):
        train(photos / "train", weights=origin.path, folds=2, output=tmp_path / "none", **fine)


def test_images_of_sixteen_bits_are_scaled_by_what_each_fold_trains_on(tmp_path: Path, short: Recipe) -> None:
    draw = np.random.default_rng(0)
    for index in range(24):
        name = ("dark", "bright")[index % 2]
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        pixels = draw.normal((4000, 30000)[index % 2] + 100 * index, 500, (16, 16)).clip(0, 65535)
        Image.fromarray(pixels.astype(np.uint16)).save(tmp_path / "photos" / name / f"{index}.png")
    done = train(tmp_path / "photos", folds=2, output=tmp_path / "run", **short)
    assert done.metrics["images"] == 24
    ranges = [
        json.loads((run.path / "config.json").read_text())["preprocessing"]["range"] for run in done.runs
    ]
    assert ranges[0] != ranges[1]
    data = open_data(tmp_path / "photos", folds=2)
    for number, (low, high) in enumerate(ranges, start=1):
        one = fold(data, number)
        values = np.concatenate([one.read(sample).ravel() for sample in one.split("train")])
        assert (low, high) == pytest.approx(np.percentile(values, [0.5, 99.5]), rel=0.01)
    report([done.path])
    assert "data:image/jpeg" in (done.path / "report.html").read_text()


def test_two_cross_validations_are_compared_image_by_image(
    folds: Run, seeds: Run, photos: Path, tmp_path: Path, short: Recipe
) -> None:
    other = train(photos, folds=3, output=tmp_path / "other", **(short | {"learning_rate": 3e-3}))
    (found,) = compare([folds.path, other.path])
    right = [
        [row["label"] == row["predicted"] for row in rows(run.path / "predictions.csv")]
        for run in (folds, other)
    ]
    expected = paired_difference(np.array(right[1]), np.array(right[0]))
    assert (found["run"], found["against"], found["images"]) == ("other", "folds", 24)
    assert (found["difference"], tuple(found["interval"])) == (expected.difference, expected.interval)
    # A run from several seeds counts with the share of its seeds that are right.
    (found,) = compare([folds.path, seeds.path])
    assert found["images"] == 9
    of_folds = {row["path"]: row["label"] == row["predicted"] for row in rows(folds.path / "predictions.csv")}
    paths = [row["path"] for row in rows(seeds.path / "predictions.csv")]
    mean = np.mean([run.metrics["accuracy"] for run in seeds.runs])
    assert found["difference"] == pytest.approx(mean - np.mean([of_folds[path] for path in paths]))
