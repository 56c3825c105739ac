"""Does a probe leave a run like any other, from features that are computed once?"""

import csv
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import RidgeClassifierCV

from vitral.data import open_data
from vitral.errors import DataError, UsageError
from vitral.images import Preprocessing
from vitral.inference import Normalise
from vitral.model import VisionTransformer, config_for
from vitral.model.heads import NeighbourHead
from vitral.runs import RunFolder
from vitral.transfer import Extraction, ProbeRecipe
from vitral.weights import Checkpoint, load_model, read_checkpoint, write_checkpoint
from vitral.workflow import Run, evaluate, probe, report, train
from vitral.workflow.extracting import lessons
from vitral.workflow.one_probe import prepare_probe, probe_data
from vitral.workflow.options import Options, read_options
from vitral.workflow.progress import Display

MakeFolder = Callable[..., Path]
METHODS = ("least-squares", "logistic", "knn")


@pytest.fixture(scope="module", autouse=True)
def _own_features(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRAL_CACHE", str(tmp_path_factory.mktemp("features")))
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights, without classes, that says something of colours."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    model = VisionTransformer(config_for("vit_mini_patch8_16", num_classes=0))
    write_checkpoint(folder, Checkpoint(model.config, Preprocessing((16, 16)), (), model.state_dict()))
    return folder


@pytest.fixture(scope="module")
def usual(weights: Path) -> dict[str, Any]:
    return {"weights": weights, "progress": False, "precision": "fp32"}


@pytest.fixture(scope="module", params=METHODS)
def probed(
    request: Any, photos: Path, usual: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A finished probe of each method; not to be changed."""
    output = tmp_path_factory.mktemp("probes") / request.param
    return probe(photos, output=output, method=request.param, **usual)


def test_the_run_folder_is_complete(probed: Run, photos: Path, weights: Path) -> None:
    names = {path.name for path in probed.path.iterdir()}
    files = "config.json model.safetensors recipe.toml run.json splits.csv evaluation.json predictions.csv batch.png"
    assert names == {*files.split(), "report.html"}
    facts = json.loads((probed.path / "run.json").read_text())
    assert (facts["state"], facts["data"]["spec"], facts["model"]["weights"]) == (
        "finished",
        str(photos),
        str(weights),
    )
    assert probed.epochs == []
    recipe = tomllib.loads((probed.path / "recipe.toml").read_text())
    assert recipe["method"] == probed.path.name
    assert (recipe["layer"], recipe["data"], recipe["weights"]) == (5, str(photos), str(weights))
    assert ("neighbours" in recipe) == (recipe["method"] == "knn") != ("strength" in recipe)
    predictions = list(csv.DictReader((probed.path / "predictions.csv").read_text().splitlines()))
    assert {row["split"] for row in predictions} == {"validation", "test"}
    with Image.open(probed.path / "batch.png") as picture:
        assert min(picture.size) > 100


def test_a_probe_of_a_network_that_merges_answers_as_it_was_measured(
    photos: Path, usual: dict[str, Any], tmp_path: Path
) -> None:
    plain = probe(photos, output=tmp_path / "plain", image_size=32, **usual)
    merged = probe(photos, output=tmp_path / "merged", image_size=32, merge=2, **usual)
    architecture = json.loads((merged.path / "config.json").read_text())["architecture"]
    assert (architecture["merge"], architecture["image_size"]) == (2, [32, 32])
    weights = [read_checkpoint(run.path).tensors["head.weight"] for run in (plain, merged)]
    assert weights[0].shape == weights[1].shape
    assert not torch.allclose(*weights)  # the features are others
    rows = list(csv.DictReader((merged.path / "predictions.csv").read_text().splitlines()))
    classifier = merged.classifier(precision="fp32")
    for row in rows[::5]:
        for name, value in classifier.predict(str(photos / row["path"])).top(3):
            assert value == pytest.approx(float(row[name]), abs=2e-4)
    assert classifier.explain(str(photos / rows[0]["path"])).heatmap.max() > 0


def test_a_probe_evaluates_predicts_and_explains_like_a_training(probed: Run, photos: Path) -> None:
    assert probed.metrics["split"] == "test"
    assert probed.metrics["accuracy"] > 0.7
    again = evaluate(probed.path, precision="fp32")
    for name in ("accuracy", "images", "confusion_matrix", "split"):
        assert again[name] == probed.metrics[name]
    assert again["loss"] == pytest.approx(probed.metrics["loss"], rel=1e-3)
    validation = evaluate(probed.path, split="validation", precision="fp32")
    assert validation["images"] == 12
    rows = list(csv.DictReader((probed.path / "predictions.csv").read_text().splitlines()))
    classifier = probed.classifier(precision="fp32")
    for row in rows[::5]:
        prediction = classifier.predict(str(photos / row["path"]))
        assert prediction.label == row["predicted"]
        for name, value in prediction.top(3):
            assert value == pytest.approx(float(row[name]), abs=2e-4)
    explanation = classifier.explain(str(photos / rows[0]["path"]))
    assert explanation.heatmap.shape == (16, 20)
    assert explanation.heatmap.max() > 0
    page = report([probed.path])
    text = page.read_text()
    assert probed.path.name in text
    assert "on frozen features" in text
    assert "epoch" not in text.split("<h2>")[1]
    assert not (probed.path / "curves.png").exists()
    assert "em atributos" not in report([probed.path], language="pt").read_text()


def test_least_squares_is_scikit_learns_on_the_networks_own_features(
    photos: Path, usual: dict[str, Any], weights: Path, tmp_path: Path
) -> None:
    run = probe(photos, output=tmp_path / "run", pool="token", feature_layers=1, flip="none", **usual)
    checkpoint, data = read_checkpoint(weights), open_data(str(photos))
    model = checkpoint.model()
    from vitral.device import choose

    normalise = Normalise(checkpoint.preprocessing, choose("cpu", "fp32"))

    def features(split: str) -> np.ndarray:
        pixels = np.stack([checkpoint.preprocessing.fit_image(data.read(one)) for one in data.split(split)])
        with torch.no_grad():
            return (
                model.forward_features(normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2)))[:, 0]
                .double()
                .numpy()
            )

    labels = [sample.label for sample in data.split("train")]
    strength = tomllib.loads((run.path / "recipe.toml").read_text())["strength"]
    theirs = RidgeClassifierCV(alphas=[strength / 10, strength, 10 * strength]).fit(features("train"), labels)
    assert theirs.alpha_ == strength
    head = read_checkpoint(run.path).tensors
    # The head's scale is that of probabilities; the direction of its rows is scikit-learn's.
    scale = (head["head.weight"].double().numpy() * theirs.coef_).sum() / (theirs.coef_**2).sum()
    np.testing.assert_allclose(
        head["head.weight"] / scale, theirs.coef_, atol=1e-4 * np.abs(theirs.coef_).max()
    )
    answers = [sample.label for sample in data.split("test")]
    assert run.metrics["accuracy"] == pytest.approx((theirs.predict(features("test")) == answers).mean())


def test_the_network_is_cut_off_and_otherwise_as_it_was(
    photos: Path, usual: dict[str, Any], weights: Path, tmp_path: Path
) -> None:
    run = probe(photos, output=tmp_path / "run", layer=2, feature_layers=2, pool="average", **usual)
    before, after = read_checkpoint(weights), read_checkpoint(run.path)
    assert (after.config.layers, after.config.feature_layers, after.config.pool) == (3, 2, "average")
    assert after.class_names == ("blue", "green", "red")
    heads = {"head.weight", "head.bias"}
    assert (
        after.tensors.keys()
        == {name for name in before.tensors if not name.startswith(("blocks.3", "blocks.4", "blocks.5"))}
        | heads
    )
    for name in after.tensors.keys() - heads:
        assert torch.equal(after.tensors[name], before.tensors[name])
    assert after.tensors["head.weight"].shape == (3, 2 * 128)


def test_features_are_computed_once_for_all_probes(
    photos: Path, usual: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "cache"))
    computed: list[int] = []
    forward = Extraction._forward
    monkeypatch.setattr(
        Extraction, "_forward", lambda self, images: (computed.append(len(images)), forward(self, images))[1]
    )
    run = probe(photos, dry_run=True, **usual)
    assert sum(computed) == 24  # a first batch to tell the time, here all training images
    assert run.overview["features"] == 2 * 24 + 12 + 12
    assert run.overview["features_left"] == 24 + 12 + 12
    first = probe(photos, output=tmp_path / "first", **usual)
    assert sum(computed) == 72
    again = probe(photos, output=tmp_path / "again", split_seed=3, method="knn", **usual)
    assert sum(computed) == 72
    assert again.overview["features_left"] == 0
    assert first.overview["features_left"] == 24 + 12  # after a first batch of the next part
    same = probe(photos, output=tmp_path / "same", **usual)
    assert same.metrics == first.metrics


def test_a_dry_run_leaves_no_run(photos: Path, usual: dict[str, Any], tmp_path: Path) -> None:
    run = probe(photos, output=tmp_path / "run", dry_run=True, **usual)
    assert not (tmp_path / "run").exists()
    assert run.overview["data"]["images"]["train"] == {"blue": 8, "green": 8, "red": 8}
    assert run.overview["recipe"]["method"] == "least-squares"
    json.dumps(run.overview)


def test_few_shots_are_drawn_from_the_seed_and_measured_on_the_test_images(
    photos: Path, usual: dict[str, Any], tmp_path: Path
) -> None:
    options = usual | {"shots": "1,4,all", "draws": 3}
    run = probe(photos, output=tmp_path / "run", **options)
    shots = {one["shots"]: one for one in run.metrics["shots"]}
    assert list(shots) == [1, 4, "all"]
    assert [shots[one]["images"] for one in shots] == [3, 12, 24]
    assert [shots[one]["draws"] for one in shots] == [3, 3, 1]
    assert shots["all"]["mean"] == shots["all"]["minimum"] == run.metrics["accuracy"]
    assert shots["all"]["standard_deviation"] is None
    for one in (1, 4):
        row = shots[one]
        assert row["minimum"] <= row["mean"] <= row["maximum"]
        assert (row["standard_deviation"] == 0) == (row["minimum"] == row["maximum"])
    assert shots[4]["mean"] >= shots[1]["mean"]
    again = probe(photos, output=tmp_path / "again", **options)
    assert again.metrics["shots"] == run.metrics["shots"]
    assert "Few images a class" in (run.path / "report.html").read_text()
    with pytest.raises(DataError, match="--shots 9 is more than the 8 training images"):
        probe(photos, output=tmp_path / "more", **(options | {"shots": [1, 9]}))


def test_images_that_the_weights_learned_from_are_no_test_images(
    run: Run, photos: Path, make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "photos", counts={"train": 8, "test": 4}, seed=3)
    for name in ("0", "1"):
        content = (photos / "train" / "red" / f"0{name}.png").read_bytes()
        (folder / "test" / "red" / f"seen-{name}.png").write_bytes(content)
    probed = probe(folder, weights=run.path, output=tmp_path / "run", progress=False)
    assert probed.metrics["images"] == 12
    notes = json.loads((probed.path / "run.json").read_text())["notes"]
    assert any("2 test images left out" in note["en"] for note in notes)
    # And whoever goes on from the probe has seen both.
    from vitral.workflow.starting import seen_by

    hashes = {sample.hash for sample in open_data(str(photos)).split("train")}
    assert hashes < seen_by(probed.path)


@pytest.mark.parametrize("method", ["least-squares", "knn"])
def test_training_goes_on_from_a_probe(
    method: str, photos: Path, usual: dict[str, Any], tmp_path: Path, tiny: dict[str, Any]
) -> None:
    first = probe(photos, output=tmp_path / "probe", method=method, **usual)
    recipe = {
        name: value for name, value in tiny.items() if name not in ("model", "pool", "position_embedding")
    }
    second = train(
        photos, weights=first.path, output=tmp_path / "run", **(recipe | {"epochs": 1, "learning_rate": 1e-6})
    )
    kept = read_checkpoint(second.path)
    assert kept.config.neighbours is None
    assert kept.config.feature_layers == read_checkpoint(first.path).config.feature_layers
    notes = [note["en"] for note in json.loads((second.path / "run.json").read_text())["notes"]]
    if method == "knn":
        assert isinstance(first.classifier().model.head, NeighbourHead)
        assert any("neighbours answered for the weights" in note for note in notes)
        other = load_model(first.path, class_names=["blue", "pink"])
        assert torch.equal(other.head.weight, torch.zeros_like(other.head.weight))
        same = load_model(first.path, class_names=["blue", "green", "red"])
        assert isinstance(same.head, NeighbourHead)
        assert kept.tensors["head.weight"].abs().max() < 1e-3
    else:
        # So small a step leaves the probe's answers as they are.
        assert second.metrics["accuracy"] == first.metrics["accuracy"]


def test_what_a_probe_was_asked_is_read_again(probed: Run, photos: Path, weights: Path) -> None:
    options, recipe = read_options(RunFolder(probed.path))
    assert isinstance(recipe, ProbeRecipe)
    assert (options.data, options.weights, recipe.method) == (str(photos), str(weights), probed.path.name)
    with pytest.raises(UsageError, match="is finished"):
        train(resume=probed.path, progress=False)


def test_a_probe_that_was_interrupted_says_how_to_go_on(
    photos: Path, usual: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vitral.workflow.one_probe.fit", stop)
    with pytest.raises(KeyboardInterrupt) as interruption:
        probe(photos, output=tmp_path / "run", **usual)
    assert "features computed so far are kept" in interruption.value.__notes__[0]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "interrupted"
    report([tmp_path / "run"])
    monkeypatch.undo()
    with pytest.raises(UsageError, match="already holds a run"):
        probe(photos, output=tmp_path / "run", **usual)
    assert probe(photos, output=tmp_path / "run", overwrite=True, **usual).metrics["images"] == 12


def test_groups_stay_together_and_the_weights_own_classes_do_not_matter(
    run: Run, make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "photos", ("red", "grey"), counts=20, seed=7)
    options = Options(data=str(folder), weights=str(run.path), group_by=r"(\d\d)\.png", precision="fp32")
    with Display(shown=False) as display:
        ready = prepare_probe(options, ProbeRecipe(method="logistic"), display)
        found = probe_data(ready, display)
    taught = lessons(ready.extractions, ready.data, ready.choice)
    groups = taught.groups
    assert groups is not None
    assert taught.views == 2
    samples = 2 * ready.data.split("train")
    for one in range(len(samples)):
        for other in range(len(samples)):
            assert (groups[one] == groups[other]) == (samples[one].group == samples[other].group)
    assert found.checkpoint.class_names == ("grey", "red")
    probed = probe(
        folder, weights=run.path, output=tmp_path / "run", group_by=options.group_by, progress=False
    )
    assert 2 * probed.metrics["groups"] == probed.metrics["images"]


def test_a_probe_of_data_that_are_open_already(photos: Path, usual: dict[str, Any], weights: Path) -> None:
    data = open_data(str(photos))
    options = Options(data=str(photos), weights=str(weights), precision="fp32")
    with Display(shown=False) as display:
        ready = prepare_probe(options, ProbeRecipe(method="logistic"), display, data)
        found = probe_data(ready, display)
    assert found.answers.keys() == {"train", "validation", "test"}
    assert found.answers["test"].shape == (12, 3)
    np.testing.assert_allclose(found.answers["test"].sum(axis=1), 1, atol=1e-5)
    assert found.recipe.strength is not None
    assert found.checkpoint.class_names == data.class_names


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"method": "svm"}, "method must be one of least-squares, logistic, knn"),
        ({"shots": "few"}, "--shots takes whole numbers and all"),
        ({"shots": "0"}, "--shots takes whole numbers and all"),
        ({"draws": 0}, "draws must be a whole number, 1 or more"),
        ({"layer": 6}, "no layer 6: the network has 6"),
        ({"pool": "distilled"}, "--pool distilled is not for layer 5"),
        ({"feature_layers": 7}, "--feature-layers 7 is more than"),
        ({"image_size": 15}, "15"),
        ({"heads": 3.5}, "heads is 3.5"),
        ({"epochs": 3}, "weights cannot be told 'epochs'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    photos: Path, usual: dict[str, Any], tmp_path: Path, asked: dict[str, Any], words: str
) -> None:
    from vitral.errors import VitralError

    with pytest.raises(VitralError) as refused:
        probe(photos, output=tmp_path / "run", **(usual | asked))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_folds_are_those_of_training_and_their_features_computed_once(
    make_folder: MakeFolder, usual: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    forward = Extraction._forward
    monkeypatch.setattr(
        Extraction, "_forward", lambda self, images: (computed.append(len(images)), forward(self, images))[1]
    )
    folder = make_folder(tmp_path / "photos", counts=9, seed=11)
    run = probe(folder, output=tmp_path / "folds", folds=3, **usual)
    assert sum(computed) == 2 * 27  # each image once, and once more mirrored
    assert run.metrics["kind"] == "folds"
    assert [one["name"] for one in run.metrics["runs"]] == ["fold-1", "fold-2", "fold-3"]
    assert run.metrics["images"] == 27
    rows = list(csv.DictReader((run.path / "predictions.csv").read_text().splitlines()))
    assert len({row["path"] for row in rows}) == 27
    for number in (1, 2, 3):
        part = read_checkpoint(run.path / f"fold-{number}")
        assert part.class_names == ("blue", "green", "red")
    folds = {
        row["path"]: row["fold"] for row in csv.DictReader((run.path / "splits.csv").read_text().splitlines())
    }
    data = open_data(str(folder), folds=3)
    assert folds == {sample.path: str(sample.fold) for sample in data.samples}
    assert (run.path / "report.html").exists()
    assert evaluate(run.path)["accuracy"] == run.metrics["accuracy"]
    seeds = probe(folder, output=tmp_path / "seeds", seeds=(0, 1), method="knn", **usual)
    assert seeds.metrics["kind"] == "seeds"
    with pytest.raises(UsageError, match="--folds 1 leaves nothing"):
        probe(folder, folds=1, **usual)


def test_images_of_several_bands_are_probed_and_the_filters_fitted(
    weights: Path, usual: dict[str, Any], tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for place, name in enumerate(("dark", "bright")):
            for index in range(count):
                image = generator.normal(1000 + 1500 * place, 200, (16, 16, 5)).clip(0, 4095)
                file = tmp_path / "bands" / split / name / f"{index}.npy"
                file.parent.mkdir(parents=True, exist_ok=True)
                np.save(file, image.astype(np.uint16))
    run = probe(tmp_path / "bands", output=tmp_path / "run", range=(0, 4095), **usual)
    kept = read_checkpoint(run.path)
    assert kept.config.channels == 5
    assert kept.preprocessing.range == (0, 4095)
    assert run.metrics["accuracy"] == 1
    assert evaluate(run.path, precision="fp32")["accuracy"] == 1
    options, _ = read_options(RunFolder(run.path))
    assert options.range == (0, 4095)


def test_several_labels_an_image_are_refused_with_what_does_them(
    photos: Path, usual: dict[str, Any], tmp_path: Path
) -> None:
    files = sorted((photos / "train").rglob("*.png"))[:12]
    rows = [f"{file},{'a|b' if index % 3 else 'a'}" for index, file in enumerate(files)]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"may have several labels.*--freeze-backbone"):
        probe(tmp_path / "labels.csv", **usual)
