"""Do --folds, --seeds and the paired comparison work from the command line, and after a kill?"""

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vitral.cli.app import main

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture(scope="module")
def folds(photos: Path, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of one epoch; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "folds"
    assert main(["train", str(photos), "--folds", "2", "--output", str(folder), *tiny]) == 0
    return folder


def test_folds_as_json_and_as_text(
    folds: Path, photos: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(folds), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["kind"], figures["images"], len(figures["runs"])) == ("folds", 48, 2)
    assert figures == json.loads((folds / "evaluation.json").read_text()) | {"notes": []}
    assert main(["evaluate", str(folds)]) == 0
    said = capsys.readouterr().out
    assert "of 48 images classified correctly" in said
    assert "2 folds: accuracy" in said
    assert "see second_look.csv" in said
    words = ["train", str(photos), "--seeds", "1, 2", "--output", str(tmp_path / "run"), *tiny, "--json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["run"] == str(tmp_path / "run")
    assert [one["name"] for one in document["evaluation"]["runs"]] == ["seed-1", "seed-2"]


def test_a_dry_run_tells_the_cost_of_all(
    photos: Path, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(photos), "--folds", "4", "--output", str(tmp_path / "run"), *tiny]
    assert main([*words, "--dry-run", "--json"]) == 0
    answer = capsys.readouterr()
    overview = json.loads(answer.out)
    assert overview["repeated"] == {"folds": 4}
    assert [sum(counts.values()) for counts in overview["data"]["folds"]] == [12] * 4
    assert "4 folds over all 48 images" in answer.err
    assert not (tmp_path / "run").exists()


def test_the_recipe_of_folds_is_that_for_as_many_images_as_a_fold_trains_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", "digits", "--model", "vit_mini_patch4_16", "--print-recipe"]
    epochs = []
    for more in ([], ["--folds", "10"]):
        assert main([*words, *more]) == 0
        epochs.append(tomllib.loads(capsys.readouterr().out)["epochs"])
    # The usual number of passes falls with the square root of the training images: 70 % of 1,797, or 90 %.
    assert epochs[1] / epochs[0] == pytest.approx((0.7 / 0.9) ** 0.5, abs=0.02)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "0;1"], "--seeds 0;1 is no list of numbers: write them as 0,1,2"),
        (["--seeds", "0,-1"], "--seeds 0,-1 is no list of numbers"),
        (["--seeds", "3"], "--seeds 3 is not two or more different numbers"),
        (["--folds", "0"], "--folds 0 leaves nothing to learn from"),
        (["--folds", "3", "--seeds", "0,1"], "exclude each other"),
        (["--folds", "49"], "ask for --folds 48 or fewer"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    photos: Path,
    tiny: list[str],
    tmp_path: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = main(["train", str(photos), *words, "--output", str(tmp_path / "run"), *tiny])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert status == (1 if "49" in words else 2)
    assert not (tmp_path / "run").exists()


def test_the_whole_is_no_model_and_says_which_are(
    folds: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(photos / "test" / "red" / "00.png")
    assert main(["predict", str(folds), image]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line
        == f"error: {folds} holds 2 runs and no model of its own: name one of them, such as {folds}/fold-1"
    )
    assert main(["predict", str(folds / "fold-1"), image]) == 0


def test_the_difference_of_two_runs_as_json_and_in_words(
    folds: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "both.html"
    capsys.readouterr()
    assert main(["report", str(folds), str(run), "--output", str(page), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["report"] == str(page)
    (found,) = document["differences"]
    assert (found["run"], found["against"], found["images"]) == (run.name, "folds", 12)
    low, high = found["interval"]
    assert -1 <= low <= found["difference"] <= high <= 1
    assert main(["report", str(folds), str(run), "--output", str(page)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{run.name}: ")
    assert lines[0].endswith("against folds, on the same 12 images")
    assert main(["report", str(folds), str(run), "--output", str(page), "--language", "pt"]) == 0
    assert "em relação a folds, nas mesmas 12 imagens" in capsys.readouterr().out
    assert main(["report", str(folds), "--no-images", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(folds / "report.html")}
    assert "00.png" not in (folds / "report.html").read_text()
    assert main(["report", str(folds)]) == 0
    assert "data:image/jpeg" in (folds / "report.html").read_text()


@posix
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, getattr(signal, "SIGKILL", None)])
def test_a_killed_cross_validation_goes_on_with_resume(
    photos: Path, tiny: list[str], tmp_path: Path, how: signal.Signals
) -> None:
    many = ["12" if word == "3" else word for word in tiny]
    words = ["train", str(photos), "--folds", "2", "--output", str(tmp_path / "run"), *many]
    with subprocess.Popen(
        [sys.executable, "-m", "vitral", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("fold 2/2  epoch 2/"):
                process.send_signal(how)
                break
        rest = process.stderr.read()
    if how == signal.SIGTERM:
        assert process.returncode == 143
        assert rest.splitlines()[-1] == (
            f"error: interrupted; `vitral train --resume {tmp_path / 'run'}` goes on with what is not finished"
        )
    first = (tmp_path / "run" / "fold-1" / "evaluation.json").stat().st_mtime_ns
    assert not (tmp_path / "run" / "evaluation.json").exists()
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "fold-1" / "evaluation.json").stat().st_mtime_ns == first
    figures = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert figures["images"] == 48
    for number in (1, 2):
        lines = (tmp_path / "run" / f"fold-{number}" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 13))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "finished"
