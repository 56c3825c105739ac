"""Several labels an image, from a csv to answers: in Python and by the command line."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from vitral.cli.app import main
from vitral.data import open_data
from vitral.errors import ConfigError, DataError
from vitral.inference import Classifier
from vitral.runs import read_predictions, read_second_look
from vitral.training import Event, StepDone
from vitral.weights import read_checkpoint
from vitral.workflow import Run, evaluate, report, train
from vitral.workflow.prediction import answers, write_answers
from vitral.workflow.wanted import expand

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 220)}
SHAPES = ("round", "square")
NAMES = ("blue", "green", "red", "round", "square")
MakeFolder = Callable[..., Path]
Recipe = dict[str, Any]


def draw(path: Path, labels: Sequence[str], random: np.random.Generator) -> None:
    """A shape on grey, in a colour where it has one; a colour without a shape is a rim."""
    picture = Image.new("RGB", (16, 16), (120, 120, 120))
    colour = next((COLOURS[name] for name in labels if name in COLOURS), (240, 240, 240))
    pen = ImageDraw.Draw(picture)
    if "round" in labels:
        pen.ellipse((2, 2, 13, 13), fill=colour)
    elif "square" in labels:
        pen.rectangle((2, 2, 13, 13), fill=colour)
    elif labels:
        pen.rectangle((0, 0, 15, 15), outline=colour, width=3)
    pixels = np.asarray(picture) + random.normal(0, 12, (16, 16, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def make_table(root: Path, images: int = 100, seed: int = 0, names: Sequence[str] = NAMES) -> Path:
    """Pictures with a colour or none and a shape or none, drawn apart, and the csv that names them."""
    random = np.random.default_rng(seed)
    root.mkdir()
    rows = []
    for index in range(images):
        labels = [str(random.choice([*COLOURS, ""])), str(random.choice([*SHAPES, ""]))]
        labels = [label for label in labels if label in names]
        draw(root / f"{index:03d}.png", labels, random)
        split = "train" if index % 10 < 6 else "validation" if index % 10 < 8 else "test"
        rows.append((f"{index:03d}.png", "|".join(labels[:: 1 if index % 2 else -1]), split))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return root / "labels.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_table(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def several(tiny: Recipe) -> Recipe:
    """A recipe that learns the shapes in seconds."""
    return tiny | {"epochs": 12, "batch_size": 12, "random_crop": 0.0}


@pytest.fixture(scope="module")
def shapes(table: Path, several: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run; not to be changed."""
    return train(table, output=tmp_path_factory.mktemp("runs") / "shapes", **several)


def truth_of(table: Path, split: str) -> tuple[list[str], np.ndarray]:
    """The images of a split, and `(images, classes)` of what the csv says."""
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    paths = [str(table.parent / row["path"]) for row in rows]
    return paths, np.array([[name in row["label"].split("|") for name in NAMES] for row in rows])


def test_a_run_learns_to_name_colour_and_shape(shapes: Run, table: Path) -> None:
    figures = shapes.metrics
    assert (figures["split"], figures["images"], tuple(figures["classes"])) == ("test", 20, NAMES)
    assert figures["mean_average_precision"] > 0.9 > 2 * figures["chance_average_precision"]
    assert figures["accuracy"] > figures["majority_accuracy"] + 0.3
    low, high = figures["mean_average_precision_interval"]
    assert low < figures["mean_average_precision"] <= high <= 1
    # Asked one by one, the run says the same.
    paths, truth = truth_of(table, "test")
    predictions = shapes.classifier(precision="fp32").predict(paths)
    answered = np.array([[name in one.labels for name in NAMES] for one in predictions])
    assert figures["accuracy"] == figures["exact_match"] == accuracy_score(truth, answered)
    assert figures["micro_f1"] == pytest.approx(f1_score(truth, answered, average="micro"))
    probabilities = np.stack([one.probabilities for one in predictions])
    precision = average_precision_score(truth, probabilities)
    assert figures["mean_average_precision"] == pytest.approx(precision)


def test_before_the_first_step_it_is_said_what_the_labels_change(shapes: Run, table: Path) -> None:
    note = (
        "an image may have several labels, so the recipe takes loss sigmoid and metric mean_average_precision"
    )
    assert note in shapes.overview["notes"]
    assert shapes.overview["recipe"]["loss"] == "sigmoid"
    _, training = truth_of(table, "train")
    assert shapes.overview["data"]["images"]["train"] == dict(
        zip(NAMES, training.sum(axis=0).tolist(), strict=True)
    )
    assert shapes.overview["data"]["images_by_split"] == {"train": 60, "validation": 20, "test": 20}
    assert training.sum() != 60


def test_the_files_say_all_labels(shapes: Run, table: Path) -> None:
    with (shapes.path / "splits.csv").open(newline="") as file:
        kept = {row["path"]: row["label"] for row in csv.DictReader(file)}
    with table.open(newline="") as file:
        written = {
            row["path"]: "|".join(sorted(filter(None, row["label"].split("|"))))
            for row in csv.DictReader(file)
        }
    assert kept == written
    assert "" in kept.values()
    thresholds = json.loads((shapes.path / "config.json").read_text())["thresholds"]
    assert tuple(thresholds) == NAMES
    assert (shapes.path / "batch.png").stat().st_size > 1000


def test_an_answer_has_labels_thresholds_and_the_least_certain_probability(shapes: Run, table: Path) -> None:
    classifier = shapes.classifier(precision="fp32")
    assert classifier.multi_label
    paths, _ = truth_of(table, "test")
    for one in classifier.predict(paths):
        reached = one.probabilities >= np.array(classifier.thresholds)
        assert one.labels == tuple(np.array(NAMES)[reached])
        assert one.label == "|".join(one.labels)
        assert one.probability == pytest.approx(
            min(np.where(reached, one.probabilities, 1 - one.probabilities))
        )
        assert [value for _, value in one.top()] == sorted(one.probabilities.tolist(), reverse=True)


def test_a_run_measured_again_gives_its_own_evaluation(shapes: Run) -> None:
    figures = evaluate(shapes.path, precision="fp32")
    assert {name: figures[name] for name in shapes.metrics} == shapes.metrics
    assert figures["notes"] == []
    assert evaluate(shapes.path, split="validation")["images"] == 20


def test_other_data_are_matched_by_name(shapes: Run, tmp_path: Path) -> None:
    other = make_table(tmp_path / "other", 30, seed=5, names=("red", "round"))
    other.write_text(
        other.read_text().replace("round", "disc").replace(",train", ",test").replace(",validation", ",test")
    )
    figures = evaluate(shapes.path, other, precision="fp32")
    assert figures["images"] == 30
    discs = other.read_text().count("disc")
    assert figures["unknown_classes"] == {"disc": discs}
    assert figures["missing_classes"] == ["blue", "green", "round", "square"]
    assert set(figures["per_class"]) == set(NAMES)
    text = " ".join(figures["notes"])
    assert f"{discs} labels are of classes that the model does not know and count as wrong: 'disc'" in text


def test_a_folder_of_single_labels_can_be_measured_and_this_is_said(
    shapes: Run, make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "colours", ("red", "blue"), counts=4)
    figures = evaluate(shapes.path, folder, precision="fp32")
    assert figures["images"] == 8
    assert any("has one label an image" in note for note in figures["notes"])


def test_a_run_of_one_label_cannot_be_measured_on_several(run: Run, table: Path) -> None:
    with pytest.raises(DataError, match=r"may have several labels, and the model answers with one: .*"):
        evaluate(run.path, table)


def test_going_on_gives_what_an_uninterrupted_run_gives(
    shapes: Run, table: Path, several: Recipe, tmp_path: Path
) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 23:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(table, output=tmp_path / "run", listen=interrupt, **several)
    assert Classifier.load(tmp_path / "run").multi_label
    resumed = train(resume=tmp_path / "run", progress=False)
    assert resumed.metrics == shapes.metrics
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == (
        shapes.path / "predictions.csv"
    ).read_bytes()


def test_fine_tuning_keeps_the_head_of_classes_of_the_same_name(
    shapes: Run, several: Recipe, tmp_path: Path
) -> None:
    other = make_table(tmp_path / "other", 40, seed=3)
    other.write_text(other.read_text().replace("square", "block"))
    keep = {"model": None, "weights": shapes.path, "learning_rate": 1e-9, "epochs": 1, "weight_decay": 0.0}
    tuned = train(other, output=tmp_path / "tuned", recipe="small-data", **(several | keep))
    assert any("starts 'block' at zero, and drops 'square'" in note for note in tuned.overview["notes"])
    before, after = read_checkpoint(shapes.path), read_checkpoint(tuned.path)
    assert after.class_names == ("block", "blue", "green", "red", "round")
    assert len(after.thresholds or ()) == 5
    for name in ("blue", "green", "red", "round"):
        rows = (before.class_names.index(name), after.class_names.index(name))
        old, new = before.tensors["head.weight"][rows[0]], after.tensors["head.weight"][rows[1]]
        assert (old - new).abs().max() < 1e-6
    # One label an image from several, too.
    single = other.with_name("single.csv")
    single.write_text(
        "path,label\n"
        + "".join(f"{number:03d}.png,{'red' if number % 2 else 'round'}\n" for number in range(40))
    )
    plain = train(single, output=tmp_path / "plain", recipe="small-data", **(several | keep))
    assert read_checkpoint(plain.path).thresholds is None
    assert plain.metrics["balanced_accuracy"] is not None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"loss": "softmax"}, "softmax loss is for one label an image"),
        ({"metric": "balanced_accuracy"}, "balanced_accuracy is for one label an image"),
        ({"head_start": "probe"}, "a probe answers with one label an image"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    table: Path, several: Recipe, tmp_path: Path, asked: Recipe, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(table, output=tmp_path / "run", **several, **asked)
    assert not (tmp_path / "run").exists()


def test_one_label_an_image_has_no_mean_average_precision(photos: Path, tiny: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mean_average_precision is for images with several labels"):
        train(photos, output=tmp_path / "run", metric="mean_average_precision", **tiny)


def test_the_usual_fine_tuning_starts_from_zero(shapes: Run, table: Path, tmp_path: Path) -> None:
    other = table.with_name("others.csv")
    other.write_text(table.read_text().replace("red", "rot").replace("blue", "blau").replace("green", "grün"))
    other.write_text(other.read_text().replace("round", "rund").replace("square", "eckig"))
    tuned = train(other, weights=shapes.path, output=tmp_path / "run", epochs=1, progress=False)
    assert tuned.overview["recipe"]["head_start"] == "zero"
    assert any("head_start zero" in note for note in tuned.overview["notes"])
    assert any("the head starts anew, at zero" in note for note in tuned.overview["notes"])
    assert tuned.metrics["classes"] == ["blau", "eckig", "grün", "rot", "rund"]


def test_rows_and_files_of_answers_have_all_labels(shapes: Run, table: Path, tmp_path: Path) -> None:
    paths, _ = truth_of(table, "test")
    classifier = shapes.classifier(precision="fp32")
    rows = list(answers(classifier, expand(paths[:6]), top=2, unsure_below=0.9))
    predictions = classifier.predict(paths[:6])
    for row, one in zip(rows, predictions, strict=True):
        assert (row["label"], row["labels"]) == (one.label, list(one.labels))
        assert row["unsure"] == (one.probability < 0.9)
        assert [top["label"] for top in row["top"]] == [name for name, _ in one.top(2)]
    write_answers(tmp_path / "answers.csv", rows)
    with (tmp_path / "answers.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["label"] for row in read] == [one.label for one in predictions]
    assert [row["label_1"] for row in read] == [one.top(1)[0][0] for one in predictions]
    assert float(read[0]["probability_2"]) == pytest.approx(rows[0]["top"][1]["probability"], abs=1e-6)


def test_the_report_has_classes_thresholds_and_no_confusion_matrix(shapes: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shapes.path, copy)
    for language, words in (
        ("en", ("mean average precision on 20 test images", "threshold", "all labels right", "red + round")),
        ("pt", ("de precisão média (mAP) nas 20 imagens de teste", "limiar", "todos os rótulos certos")),
    ):
        page = report([copy], language=language).read_text()
        assert all(text in page for text in words)
        assert "confusion" not in page.split("</style>")[1]
        assert page.count("data:image/jpeg") > 10
    assert (copy / "curves.png").stat().st_size > 1000


def test_two_runs_are_compared_by_exact_matches(
    shapes: Run, table: Path, several: Recipe, tmp_path: Path
) -> None:
    short = train(table, output=tmp_path / "short", **(several | {"epochs": 1}))
    page = report([shapes.path, short.path], output=tmp_path / "both.html").read_text()
    assert "all labels right" in page
    assert "mean average precision" in page
    lost = shapes.metrics["accuracy"] - short.metrics["accuracy"]
    assert lost > 0
    assert f"−{100 * lost:.1f}" in page


def test_the_command_line_trains_measures_and_answers(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "vit_mini_patch8_16", "--epochs", "8", "--batch-size", "12", "--random-crop", "0"]
    words += ["--mixup", "0", "--warmup-steps", "0", "--precision", "fp32", "--class-weights", "balanced"]
    run = str(tmp_path / "run")
    assert main(["train", str(table), "--output", run, *words]) == 0
    printed = capsys.readouterr()
    assert "test: mean average precision" in printed.out
    assert "validation mAP" in printed.err
    assert "all labels right in" in printed.out
    assert main(["evaluate", run, "--json", "--precision", "fp32"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads((tmp_path / "run" / "evaluation.json").read_text()) | {"notes": []}
    assert main(["evaluate", run]) == 0
    assert "average_precision" in capsys.readouterr().out
    paths, _ = truth_of(table, "test")
    assert main(["predict", run, *paths, "--json", "--precision", "fp32"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [list(row) for row in rows] == [["path", "label", "labels", "probability", "top"]] * 20
    predictions = Classifier.load(run, precision="fp32").predict(paths)
    assert [row["labels"] for row in rows] == [list(one.labels) for one in predictions]
    assert main(["predict", run, paths[0], "--precision", "fp32"]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{paths[0]}: {' + '.join(rows[0]['labels']) or '–'} (")
    assert main(["train", str(table), "--output", run, "--overwrite", *words, "--loss", "softmax"]) == 1
    assert "error: the softmax loss is for one label an image" in capsys.readouterr().err
    assert main(["summary", run]) == 0
    assert "5, several an image: blue" in capsys.readouterr().out


def test_a_drawn_split_keeps_every_label(table: Path, tmp_path: Path) -> None:
    rows = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
    undivided = table.with_name("undivided.csv")
    undivided.write_text("\n".join(rows))
    data = open_data(undivided)
    assert data.multi_label
    assert {sample.split for sample in data.samples} == {"train", "validation", "test"}
    assert sum(map(len, (sample.labels for sample in data.samples))) == sum(
        len(row.rpartition(",")[2].split("|")) for row in rows[1:] if not row.endswith(",")
    )


def test_folds_answer_every_image_once_with_the_thresholds_of_its_run(
    table: Path, several: Recipe, tmp_path: Path
) -> None:
    whole = train(table, output=tmp_path / "folds", folds=3, **(several | {"epochs": 5}))
    predictions = read_predictions(whole.path / "predictions.csv")
    truth, answers = predictions.has_label(), predictions.has_predicted()
    assert len(truth) == 100
    figures = whole.metrics
    assert figures["accuracy"] == figures["exact_match"] == accuracy_score(truth, answers)
    assert figures["mean_average_precision"] == pytest.approx(
        average_precision_score(truth, predictions.probabilities)
    )
    assert figures["micro_f1"] == pytest.approx(f1_score(truth, answers, average="micro"))
    parts = [evaluate(whole.path / f"fold-{number}", precision="fp32") for number in (1, 2, 3)]
    assert [run["accuracy"] for run in figures["runs"]] == [part["accuracy"] for part in parts]
    assert [run["mean_average_precision"] for run in figures["runs"]] == [
        part["mean_average_precision"] for part in parts
    ]
    for name, one in figures["per_class"].items():
        counts = [part["per_class"][name]["images"] for part in parts]
        assert max(counts) - min(counts) <= 2
        assert one["images"] == sum(counts)
        assert one["threshold"] == pytest.approx(np.mean([p["per_class"][name]["threshold"] for p in parts]))
    data = whole.overview["data"]
    assert data["images_by_fold"] == [part["images"] for part in parts]
    assert data["images_by_split"] == {"test": 100}
    doubtful = read_second_look(whole.path / "second_look.csv")
    assert figures["second_look"] == len(doubtful)
    known = dict(zip(predictions.paths, predictions.labels, strict=True))
    for one in doubtful:
        assert one.label == known[one.path]
        given, other = (set(filter(None, text.split("|"))) for text in (one.label, one.suggested))
        assert len(given ^ other) == 1
    page = (whole.path / "report.html").read_text()
    assert "All labels right in the single runs" in page
    assert report([whole.path], language="pt").exists()


def test_seeds_give_means_and_an_ensemble(table: Path, several: Recipe, tmp_path: Path) -> None:
    whole = train(table, output=tmp_path / "seeds", seeds=[0, 1], **(several | {"epochs": 3}))
    parts = [evaluate(whole.path / f"seed-{number}", precision="fp32") for number in (0, 1)]
    figures = whole.metrics
    for name in ("mean_average_precision", "accuracy", "exact_match", "macro_f1", "loss"):
        assert figures[name] == pytest.approx(np.mean([part[name] for part in parts]))
    low, high = figures["mean_average_precision_interval"]
    assert low < figures["mean_average_precision"] < high
    classifiers = [Classifier.load(whole.path / f"seed-{number}", precision="fp32") for number in (0, 1)]
    paths, truth = truth_of(table, "test")
    probabilities = np.mean([[one.probabilities for one in c.predict(paths)] for c in classifiers], axis=0)
    thresholds = np.mean([c.thresholds for c in classifiers], axis=0)
    assert figures["ensemble_accuracy"] == accuracy_score(truth, probabilities >= thresholds)
    red = NAMES.index("red")
    answered = [[("red" in one.labels) for one in c.predict(paths)] for c in classifiers]
    recalls = [np.array(found)[truth[:, red]].mean() for found in answered]
    assert figures["per_class"]["red"]["recall"] == pytest.approx(np.mean(recalls))
    low, high = figures["per_class"]["red"]["recall_interval"]
    assert low <= np.mean(recalls) <= high
    assert "all labels right" in (whole.path / "report.html").read_text()
