"""Are the figures those of the right images, matched by the right names, without what the run has seen?"""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitral.errors import DataError, UsageError
from vitral.training import EpochDone, Event
from vitral.workflow import Run, evaluate, train

MakeFolder = Callable[..., Path]


def by_hand(run: Run, folder: Path) -> tuple[int, int]:
    """Right answers and images of a folder of class folders, asked one by one."""
    classifier = run.classifier(precision="fp32")
    images = sorted(folder.rglob("*.png"))
    return sum(classifier.predict(str(path)).label == path.parent.name for path in images), len(images)


def test_a_run_measured_again_gives_its_own_evaluation(run: Run) -> None:
    figures = evaluate(run.path, precision="fp32")
    assert {name: figures[name] for name in run.metrics} == run.metrics
    assert figures["notes"] == []


def test_validation_and_train_can_be_asked_for(run: Run) -> None:
    figures = evaluate(run.path, split="validation")
    assert (figures["split"], figures["images"]) == ("validation", 12)
    assert evaluate(run.path, split="train")["images"] == 24
    with pytest.raises(UsageError, match="there is no split 'tset'"):
        evaluate(run.path, split="tset")


def test_other_data_are_measured_whole_and_matched_by_name(
    run: Run, make_folder: MakeFolder, tmp_path: Path
) -> None:
    # Other classes in another order: the run knows blue, green, red.
    folder = make_folder(tmp_path / "new", ("red", "grey", "green"), counts=6, seed=7)
    said: list[str] = []
    figures = evaluate(run.path, folder, precision="fp32", warn=said.append)
    right, images = by_hand(run, folder)
    assert images == figures["images"] == 18
    assert figures["accuracy"] == right / images <= 12 / 18  # grey is unknown and counts as wrong
    assert figures["unknown_classes"] == {"grey": 6}
    assert figures["missing_classes"] == ["blue"]
    assert said == figures["notes"]
    text = " ".join(said)
    for words in (
        "no splits: all of its 18 images",
        "6 images are of classes",
        "'grey'",
        "no image of 'blue'",
    ):
        assert words in text


def test_images_that_the_run_learned_from_do_not_count(
    run: Run, photos: Path, make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "mixed", counts=3, seed=8)
    for split in ("train", "validation", "test"):
        for name in ("red", "green"):
            shutil.copy(photos / split / name / "01.png", folder / name / f"renamed-{split}.png")
    figures = evaluate(run.path, folder)
    assert figures["images"] == 9 + 2  # of the six copies the two test images stay
    assert any(
        note.startswith("4 test images left out: the run trained or chose") for note in figures["notes"]
    )
    with pytest.raises(DataError, match="trained or chose on every one"):
        evaluate(run.path, photos / "train")


def test_data_with_splits_are_measured_on_the_split_asked_for(
    run: Run, make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "new", counts={"train": 3, "validation": 2}, seed=9)
    assert evaluate(run.path, folder, split="validation")["images"] == 6
    with pytest.raises(DataError, match="no test split, only train and validation"):
        evaluate(run.path, folder)


def test_weights_alone_need_data(run: Run, make_folder: MakeFolder, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(run.path / name, tmp_path / name)
    with pytest.raises(UsageError, match="name the DATA"):
        evaluate(tmp_path)
    folder = make_folder(tmp_path / "new", counts=4, seed=10)
    assert evaluate(tmp_path, folder)["images"] == 12
    with pytest.raises(UsageError, match="no weights at"):
        evaluate(tmp_path / "nowhere", folder)


def test_bad_files_are_said(run: Run, make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "new", counts=6, seed=11)
    (folder / "red" / "cut.png").write_bytes((folder / "red" / "00.png").read_bytes()[:100])
    figures = evaluate(run.path, folder)
    assert figures["images"] == 18
    assert any("1 file cannot be used, first red/cut.png" in note for note in figures["notes"])


def test_an_interrupted_run_gets_its_evaluation(photos: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, EpochDone) and event.figures["epoch"] == 2:
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(photos, output=tmp_path / "run", listen=stop, **tiny)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not (tmp_path / "run" / "evaluation.json").exists()
    figures = evaluate(tmp_path / "run", precision="fp32")
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert kept == {name: value for name, value in figures.items() if name != "notes"}
    assert (tmp_path / "run" / "predictions.csv").read_text().count("\n") == 13


def test_data_that_moved_are_missed_by_name(
    tiny: dict[str, Any], make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "photos", counts={"train": 8, "test": 4})
    done = train(folder, output=tmp_path / "run", **(tiny | {"epochs": 1}))
    folder.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="is not here"):
        evaluate(done.path)
    assert evaluate(done.path, tmp_path / "moved", precision="fp32")["accuracy"] == done.metrics["accuracy"]
