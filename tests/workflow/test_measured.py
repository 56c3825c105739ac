"""Images with more than 8 bits a channel, or five bands: from training to the explanation, in Python and by command."""

import csv
import json
import shutil
import signal
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from vitral import Classifier
from vitral.cli.app import main
from vitral.data import open_data
from vitral.errors import ConfigError, DataError, ImageError, UsageError
from vitral.images import Preprocessing
from vitral.inference import Normalise
from vitral.model import create_model
from vitral.training import Recipe
from vitral.weights import Checkpoint, read_checkpoint, write_checkpoint
from vitral.workflow import Run, evaluate, report, train
from vitral.workflow.starting import start_from

KEEP = Recipe()
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
CLASSES = ("dark", "light", "striped")


def draw(seed: int, name: str, bands: int) -> np.ndarray:
    """16 x 20 pixels of 12 bits; classes differ by some hundred levels, which 8 bits out of 16 would not show."""
    random = np.random.default_rng(seed)
    image = random.normal(1500, 60, (16, 20, bands))
    image += {"dark": -120, "light": 120, "striped": 0}[name]
    if name == "striped":
        image[::2] += 200
    return image.clip(0, 4095).astype(np.uint16)


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, image)
    elif path.suffix == ".png":
        Image.fromarray(image[..., 0]).save(path)
    else:
        bands = {"planarconfig": "contig"} if image.shape[2] > 1 else {}
        tifffile.imwrite(path, image.squeeze(), photometric="minisblack", compression="lzw", **bands)


def make(root: Path, bands: int, suffixes: tuple[str, ...], classes: tuple[str, ...] = CLASSES) -> Path:
    for place, (split, count) in enumerate((("train", 8), ("validation", 4), ("test", 4))):
        for name in classes:
            for index in range(count):
                image = draw(1000 * place + 100 * CLASSES.index(name) + index, name, bands)
                write(root / split / name / f"{index}{suffixes[index % len(suffixes)]}", image)
    return root


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("data") / "five", 5, (".tif", ".npy"))


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("data") / "grey", 1, (".png", ".tif"))


@pytest.fixture(scope="module")
def of_five(five: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run from scratch on five bands; not to be changed."""
    wanted = tiny | {"epochs": 6, "color_jitter": 0.3, "randaugment": 2, "mixup": 0.2, "random_erasing": 0.2}
    return train(five, output=tmp_path_factory.mktemp("runs") / "five", display_bands=(5, 3, 1), **wanted)


def rgb(folder: Path, class_names: tuple[str, ...] = ()) -> str:
    """Weights for RGB pictures, none of them zero."""
    torch.manual_seed(0)
    model = create_model("vit_mini_patch8_16", num_classes=len(class_names))
    half = (0.5,) * 3
    write_checkpoint(
        folder,
        Checkpoint(
            model.config, Preprocessing((16, 16), mean=half, std=half), class_names, model.state_dict()
        ),
    )
    return str(folder)


def fine(tiny: dict[str, Any], **changes: Any) -> dict[str, Any]:
    kept = {
        name: value for name, value in tiny.items() if name not in ("model", "pool", "position_embedding")
    }
    return kept | {"recipe": "tutorial", "epochs": 5, "image_size": 16, "learning_rate": 1e-3} | changes


def facts(run: Run) -> dict[str, Any]:
    return json.loads((run.path / "run.json").read_text())


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_ramp_of_twelve_bits_reaches_the_network_with_all_its_levels(
    tmp_path: Path, suffix: str, precision: str
) -> None:
    seen = Preprocessing((64, 64), mean=(0.4,), std=(0.3,), channels=1, range=(0.0, 4095.0), dtype="uint16")
    model = create_model("vit_mini_patch8_64", num_classes=2, channels=1)
    write_checkpoint(tmp_path, Checkpoint(model.config, seen, ("a", "b"), model.state_dict()))
    classifier = Classifier.load(tmp_path, device="cpu", precision=precision)
    taken: list[torch.Tensor] = []
    classifier.model.embedding.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    write(tmp_path / f"ramp{suffix}", RAMP[..., None])
    classifier.predict(tmp_path / f"ramp{suffix}")
    np.testing.assert_allclose(taken[0][0, 0], (RAMP / 4095 - 0.4) / 0.3, atol=1e-6)
    assert len(taken[0].unique()) == 4096


def test_training_from_scratch_leaves_a_run_that_says_what_it_saw(five: Path, of_five: Run) -> None:
    config = json.loads((of_five.path / "config.json").read_text())["preprocessing"]
    files = sorted((five / "train").rglob("*.*"))
    values = np.stack(
        [np.load(file) if file.suffix == ".npy" else tifffile.imread(file) for file in files]
    ).astype(float)
    low, high = np.percentile(values, [0.5, 99.5])
    assert config["range"] == [low, high]
    assert (config["dtype"], config["channels"], config["display_bands"]) == ("uint16", 5, [5, 3, 1])
    scaled = (values - low) / (high - low)
    np.testing.assert_allclose(config["mean"], scaled.mean(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(config["std"], scaled.std(axis=(0, 1, 2)), rtol=1e-9)
    recipe = tomllib.loads((of_five.path / "recipe.toml").read_text())
    assert (recipe["range"], recipe["display_bands"]) == ([low, high], [5, 3, 1])
    assert (recipe["randaugment"], recipe["color_jitter"], recipe["random_erasing"]) == (0, 0.0, 0.2)
    notes = facts(of_five)["notes"]
    assert any(
        note["en"] == "left out, as they change the colours of 8-bit RGB: randaugment, color_jitter"
        and "fora da receita" in note["pt"]
        for note in notes
    )
    assert any(
        f"values from {low:.6g} to {high:.6g} (the 0.5 and 99.5 percentiles" in note["en"] for note in notes
    )
    assert of_five.metrics["accuracy"] > 0.6
    shown = np.asarray(Image.open(of_five.path / "batch.png").convert("RGB")).reshape(-1, 3)
    assert len(np.unique(shown, axis=0)) > 1000  # in colour: three bands that differ


def test_a_trained_run_evaluates_predicts_explains_and_reports(
    five: Path, of_five: Run, tmp_path: Path
) -> None:
    figures = evaluate(of_five.path, precision="fp32")
    assert figures["accuracy"] == of_five.metrics["accuracy"]
    assert figures["loss"] == pytest.approx(of_five.metrics["loss"], abs=1e-5)
    again = evaluate(of_five.path, five, precision="fp32")
    assert (again["accuracy"], again["images"]) == (figures["accuracy"], 12)

    classifier = of_five.classifier(device="cpu", precision="fp32")
    files = [five / "test" / "light" / "0.tif", five / "test" / "striped" / "1.npy"]
    from_files = classifier.predict(files)
    arrays = [tifffile.imread(files[0]), np.load(files[1])]
    tensors = [torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1) for array in arrays]
    for other in (classifier.predict(arrays), classifier.predict(tensors)):
        for one, two in zip(from_files, other, strict=True):
            np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-6)

    explanation = classifier.explain(files[0])
    assert explanation.heatmap.shape == (16, 20)
    assert 0 <= explanation.heatmap.min() < explanation.heatmap.max() <= 1
    low, high = classifier.preprocessing.range
    expected = np.clip((arrays[0][..., [4, 2, 0]] - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(explanation.picture, expected, atol=0.51)
    assert explanation.overlay().size == (20, 16)
    with Image.open(explanation.save(tmp_path / "seen.png")) as saved:
        assert saved.size == (20, 16)
    assert len(classifier.explain(arrays)) == 2

    copy = shutil.copytree(of_five.path, tmp_path / "copy")
    (copy / "report.html").unlink()
    said: list[str] = []
    report([copy], warn=said.append)
    assert said == []
    page = (copy / "report.html").read_text()
    assert page.count("data:image/jpeg") == 2 * 12


def test_what_the_run_was_not_trained_on_is_refused_by_name(of_five: Run, photos: Path, grey: Path) -> None:
    classifier = of_five.classifier(device="cpu", precision="fp32")
    with pytest.raises(ImageError, match="3 channels of uint8, and the network takes 5 channels of uint16"):
        classifier.predict(photos / "test" / "red" / "00.png")
    with pytest.raises(ImageError, match="5 channels of uint8"):
        classifier.predict(np.zeros((16, 16, 5), np.uint8))
    with pytest.raises(
        DataError, match="has 1 channel of uint16, and the network takes 5 channels of uint16"
    ):
        evaluate(of_five.path, grey)


def test_a_network_of_pictures_refuses_deep_images_and_says_what_to_do(
    run: Run, grey: Path, five: Path
) -> None:
    classifier = run.classifier(device="cpu", precision="fp32")
    with pytest.raises(
        ImageError, match=r"16 bits a channel.*convert it to 8-bit grey or RGB, or take a network"
    ):
        classifier.predict(grey / "test" / "dark" / "0.png")
    with pytest.raises(DataError, match="has 5 channels of uint16, and the network takes 8-bit pictures"):
        evaluate(run.path, five)


@pytest.mark.parametrize("colours", [None, (3, 2, 1)])
def test_fine_tuning_from_rgb_adapts_the_filters_and_says_how(
    five: Path, tiny: dict[str, Any], tmp_path: Path, colours: tuple[int, ...] | None
) -> None:
    weights = rgb(tmp_path / "rgb")
    own = read_checkpoint(weights).tensors["embedding.patch.weight"]
    start = start_from(weights, open_data(five), KEEP, asked=(), display_bands=colours)
    filters = start.model.embedding.patch.weight
    mean = (own[:, 0] + own[:, 1] + own[:, 2]) / 3
    torch.testing.assert_close(filters[:, 4], mean * 3 / 5)
    torch.testing.assert_close(filters[:, 0], (own[:, 2] if colours else mean) * 3 / 5)
    (said,) = [notice for notice in start.notices if "filters" in notice]
    assert said.startswith(
        "the weights' filters for 3 channels are fitted to 5: each channel gets their mean"
    )
    assert ("channels 3, 2, 1 those of red, green, blue" in said) == (colours is not None)

    tuned = train(five, weights=weights, output=tmp_path / "run", display_bands=colours, **fine(tiny))
    assert tuned.metrics["accuracy"] > 0.6
    assert tuned.classifier(device="cpu").explain(five / "test" / "dark" / "0.tif").heatmap.max() == 1


def test_deep_grey_images_are_fine_tuned_in_one_channel(
    grey: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    weights = rgb(tmp_path / "rgb")
    start = start_from(weights, open_data(grey), KEEP, asked=())
    images = torch.randn(2, 1, 16, 16)
    original = read_checkpoint(weights).model()
    with torch.no_grad():
        expected = original.forward_features(images.expand(-1, 3, -1, -1))
        torch.testing.assert_close(
            start.model.eval().forward_features(images), expected, atol=1e-5, rtol=1e-5
        )
    tuned = train(grey, weights=weights, output=tmp_path / "run", range="0,4095", **fine(tiny))
    assert tuned.metrics["accuracy"] > 0.6
    assert read_checkpoint(tuned.path).preprocessing.range == (0.0, 4095.0)


def test_going_on_from_a_run_of_five_bands_keeps_what_it_saw(
    five: Path, of_five: Run, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    old = read_checkpoint(of_five.path)
    other = make(tmp_path / "other", 5, (".npy",), CLASSES[:2])
    start = start_from(str(of_five.path), open_data(other), KEEP, asked=())
    assert start.preprocessing == old.preprocessing
    assert torch.equal(start.model.embedding.patch.weight, old.tensors["embedding.patch.weight"])
    asked = start_from(str(of_five.path), open_data(other), KEEP, asked=(), range=(0.0, 4095.0))
    assert asked.preprocessing.range == (0.0, 4095.0)
    assert asked.preprocessing.display_bands == (5, 3, 1)
    assert asked.preprocessing.mean != old.preprocessing.mean
    assert torch.equal(asked.model.embedding.patch.weight, old.tensors["embedding.patch.weight"])


def test_pictures_go_on_from_a_run_of_five_bands(
    photos: Path, of_five: Run, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    tuned = train(photos, weights=of_five.path, output=tmp_path / "run", **fine(tiny, epochs=1))
    seen = read_checkpoint(tuned.path).preprocessing
    assert (seen.dtype, seen.channels, seen.range) == (None, 3, (0.0, 255.0))
    classifier = tuned.classifier(device="cpu")
    assert classifier.predict(photos / "test" / "red" / "00.png").label in ("red", "green", "blue")


def test_a_range_reads_pictures_band_by_band_and_whoever_goes_on_does_so_too(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    for split, count in (("train", 6), ("test", 3)):
        for place, name in enumerate(("dry", "wet")):
            for index in range(count):
                image = np.random.default_rng(100 * place + index + 50 * (split == "test")).integers(
                    0, 200, (16, 16, 4)
                )
                image[..., 3] = 40 + 150 * place  # what a person would not see
                write(tmp_path / "data" / split / name / f"{index}.tif", image.astype(np.uint8))
    made = train(tmp_path / "data", output=tmp_path / "run", range=(0, 255), **(tiny | {"epochs": 3}))
    seen = read_checkpoint(made.path).preprocessing
    assert (seen.dtype, seen.channels) == ("uint8", 4)
    assert evaluate(made.path)["accuracy"] == made.metrics["accuracy"] == 1.0
    assert evaluate(made.path, tmp_path / "data")["accuracy"] == 1.0
    again = train(tmp_path / "data", weights=made.path, output=tmp_path / "again", **fine(tiny, epochs=1))
    assert read_checkpoint(again.path).preprocessing == replace(seen, fit="stretch")  # the recipe's


def test_resuming_sees_the_same(five: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    wanted = tiny | {"epochs": 3}
    whole = train(five, output=tmp_path / "whole", **wanted)

    def stop(event: Any) -> None:
        if getattr(event, "step", 0) == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(five, output=tmp_path / "run", listen=stop, **wanted)
    resumed = train(resume=tmp_path / "run", progress=False)
    assert resumed.metrics["loss"] == whole.metrics["loss"]
    assert read_checkpoint(resumed.path).preprocessing == read_checkpoint(whole.path).preprocessing


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"range": "4095,0"}, UsageError, "--range takes two numbers"),
        ({"range": "all"}, UsageError, "--range takes two numbers"),
        ({"range": (0.0, float("inf"))}, UsageError, "--range takes two numbers"),
        ({"display_bands": "3,2"}, UsageError, "--display-bands takes the numbers"),
        ({"display_bands": "0"}, UsageError, "--display-bands takes the numbers"),
        ({"display_bands": "7,2,1"}, ConfigError, "from 1 to 5"),
    ],
)
def test_options_that_make_no_sense_say_so(
    five: Path,
    tiny: dict[str, Any],
    tmp_path: Path,
    options: dict[str, Any],
    error: type[Exception],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        train(five, output=tmp_path / "run", **options, **tiny)
    assert not (tmp_path / "run").exists()


def test_what_does_not_go_together_says_so(
    five: Path, photos: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="8-bit pictures, which are shown as they are"):
        train(photos, output=tmp_path / "run", display_bands="1", **tiny)
    weights = rgb(tmp_path / "rgb")
    with pytest.raises(UsageError, match="--mean and --std"):
        train(five, weights=weights, output=tmp_path / "run", mean=(0.1, 0.2, 0.3), **fine(tiny))


@pytest.mark.parametrize("language", ["en", "pt"])
def test_the_command_line_does_all_of_it(
    five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], language: str
) -> None:
    options = ["--epochs", "2", "--batch-size", "8", "--warmup-steps", "0", "--precision", "fp32"]
    scratch, tuned = str(tmp_path / "scratch"), str(tmp_path / "tuned")
    asked = ["--range", "-1,4095", "--display-bands", "3,2,1", "--language", language]
    command = ["train", str(five), "--model", "vit_mini_patch8_16", "--output", scratch, "--mixup", "0"]
    assert main([*command, *options, *asked]) == 0
    overview = capsys.readouterr().err
    said = {
        "en": "5 channels of uint16, range -1 to 4095",
        "pt": "5 canais de uint16, faixa de -1 a 4095",
    }
    assert said[language] in overview
    assert main(["train", str(five), "--from", rgb(tmp_path / "rgb"), "--output", tuned, *options]) == 0
    capsys.readouterr()
    assert main(["evaluate", tuned, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 12
    assert main(["predict", tuned, str(five / "test"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 12
    assert all("label" in row for row in rows)
    assert main(["predict", tuned, str(five / "test/dark/0.tif"), str(tmp_path / "gone.npy"), "--json"]) == 1
    assert ["error" in row for row in json.loads(capsys.readouterr().out)] == [False, True]
    assert main(["report", scratch, tuned, "--output", str(tmp_path / "both.html")]) == 0
    assert main(["report", tuned]) == 0
    assert main(["summary", tuned]) == 0
    assert "uint16" in capsys.readouterr().out


def test_other_formats_are_told_the_network_and_not_its_values(of_five: Run, tmp_path: Path) -> None:
    from vitral.errors import WeightsError
    from vitral.weights import convert

    with pytest.raises(WeightsError, match=r"timm cannot say.*images of uint16 from .* from 0 to 1"):
        convert(of_five.path, tmp_path / "timm", "timm")
    done = convert(of_five.path, tmp_path / "timm", "timm", approximate=True)
    assert done.difference == 0.0
    convert(of_five.path, tmp_path / "own", "vitral")
    assert read_checkpoint(tmp_path / "own").preprocessing == read_checkpoint(of_five.path).preprocessing


def test_the_grey_photograph_of_eight_bits_is_read_as_before(
    run: Run, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """A network of pictures knows nothing of ranges: config.json is as it always was."""
    content = json.loads((run.path / "config.json").read_text())["preprocessing"]
    assert set(content) == {"size", "fit", "mean", "std", "interpolation", "crop_share", "channels", "range"}
    classifier = run.classifier(device="cpu", precision="fp32")
    assert Normalise(classifier.preprocessing, classifier.compute).dtype == torch.float32


def test_a_new_class_leaves_what_the_run_knew(
    photos: Path, run: Run, make_folder: Callable[..., Path], tiny: dict[str, Any], tmp_path: Path
) -> None:
    """Three colours are learned; then grey joins them."""
    four = make_folder(
        tmp_path / "four", ("red", "green", "blue", "grey"), {"train": 8, "validation": 4, "test": 8}, seed=3
    )
    old = run.classifier(device="cpu", precision="fp32")
    start = start_from(str(run.path), open_data(four), KEEP, asked=())
    names = sorted(("red", "green", "blue", "grey"))
    kept = [names.index(name) for name in old.class_names]
    images = torch.randn(16, 3, 16, 16)
    with (
        torch.no_grad()
    ):  # before the first step: the old classes' logits to the last digit, and 0 for the new one
        before, after = old.model(images), start.model.eval()(images)
        assert torch.equal(after[:, kept], before)
        assert not after[:, names.index("grey")].any()

    def accuracy(figures: dict[str, Any]) -> float:
        return float(np.mean([figures["per_class"][name]["recall"] for name in old.class_names]))

    three = make_folder(tmp_path / "three", counts={"train": 8, "validation": 4, "test": 8}, seed=3)
    known = accuracy(evaluate(run.path, three))
    tuned = train(four, weights=run.path, output=tmp_path / "tuned", **fine(tiny, epochs=8, random_crop=0.5))
    assert known == 1.0
    assert accuracy(tuned.metrics) >= known - 0.05  # 24 images: not more than one goes
    assert tuned.metrics["per_class"]["grey"]["recall"] >= 0.75
    assert tuned.classifier(device="cpu").explain(four / "test/grey/00.png").beside(100).size == (208, 80)


def test_every_fold_has_a_range_of_its_own(
    five: Path, tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a fold is measured on must not tell it which values matter."""
    done = train(
        five,
        output=tmp_path / "folds",
        folds=2,
        display_bands="3,2,1",
        **(tiny | {"epochs": 1, "progress": True}),
    )
    assert "5 channels of uint16\n" in capsys.readouterr().err
    ranges = [read_checkpoint(done.path / f"fold-{number}").preprocessing.range for number in (1, 2)]
    for number, found in zip((1, 2), ranges, strict=True):
        with (done.path / f"fold-{number}" / "splits.csv").open() as file:
            paths = [row["path"] for row in csv.DictReader(file) if row["split"] == "train"]
        values = [
            np.load(five / path) if path.endswith("npy") else tifffile.imread(five / path) for path in paths
        ]
        np.testing.assert_allclose(found, np.percentile(np.stack(values), [0.5, 99.5]))
    assert ranges[0] != ranges[1]
    assert done.metrics["images"] == 48
    assert "data:image/jpeg" in (done.path / "fold-1" / "report.html").read_text()
