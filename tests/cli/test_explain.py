"""`vitral explain`: what lies in the folder, what is printed, and its exit status."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .calling import Capture, call, call_json


def size_of(picture: str | Path) -> tuple[int, int]:
    with Image.open(picture) as opened:
        return opened.size


def test_a_picture_comes_with_its_numbers(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    photo, out = photos / "test/green/00.png", tmp_path / "out"
    said = call_json(capsys, "explain", run, photo, "--output", out)
    (row,) = said["images"]
    assert (said["method"], said["device"], said["precision"]) == ("gradient", "cpu", "fp32")
    assert (row["path"], row["target"], row["label"]) == (str(photo), "green", "green")
    assert size_of(row["files"]["overlay"]) == (20, 16)
    relevance = np.load(row["files"]["relevance"])
    assert relevance.shape == (2, 2)
    whole = json.loads(Path(row["files"]["json"]).read_text("utf-8"))
    assert [whole["height"], whole["width"], len(whole["patches"])] == [16, 20, 4]
    heaviest = whole["patches"][0]
    assert (heaviest["row"], heaviest["column"]) == np.unravel_index(relevance.argmax(), (2, 2))
    assert heaviest["weight"] == pytest.approx(relevance.max() / relevance.sum(), rel=1e-4)
    assert row["patches"] == whole["patches"]
    answer = call_json(capsys, "predict", run, photo)[0]
    assert row["probability"] == pytest.approx(answer["probability"], rel=1e-4)


def test_another_target_has_another_map(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    maps = []
    for target in ("green", "red"):
        said = call_json(
            capsys, "explain", run, photos / "test/green/00.png", "--target", target, "--output", tmp_path
        )
        assert said["images"][0]["target"] == target
        maps.append(np.load(tmp_path / "00.npy"))
    assert np.abs(maps[0] / maps[0].sum() - maps[1] / maps[1].sum()).max() > 1e-6


def test_attention_shows_every_head(run: Path, photos: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ("explain", run, photos / "test/blue/01.png", "--output", tmp_path, "--layer", 0)
    (row,) = call_json(capsys, *words)["images"]
    assert row["method"] == "attention"
    assert sorted(row["files"]) == ["heads", "json", "overlay", "relevance"]
    assert min(size_of(row["files"]["heads"])) > 200
    assert 0 <= row["special_share"] < 1
    mean = np.load(tmp_path / "01.npy")
    heads = []
    for head in range(2):
        call_json(capsys, *words, "--head", head)
        heads.append(np.load(tmp_path / "01.npy"))
    assert not np.allclose(heads[0], heads[1])
    (row,) = call_json(capsys, *words, "--point", "15,3")["images"]
    assert not np.allclose(np.load(tmp_path / "01.npy"), mean)


def test_a_bad_file_is_said_and_the_others_are_explained(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    words = (
        "explain",
        run,
        photos / "test/red/00.png",
        bad,
        photos / "test/blue/00.png",
        "--output",
        tmp_path / "o",
    )
    printed, _ = call(capsys, *words, status=1)
    first, second, third, last = printed.splitlines()
    assert first.startswith(f"{photos}/test/red/00.png: red 0.")
    assert first.endswith(f"→ {tmp_path}/o/00.png")
    assert second.startswith(f"{bad}: error: ")
    assert third.endswith(f"→ {tmp_path}/o/00-2.png")  # of the same name
    assert last == f"2 images explained by gradient in {tmp_path}/o (cpu, fp32)"
    said = call_json(capsys, *words, status=1)
    assert sorted(said["images"][1]) == ["error", "path"]


def test_faithfulness_is_measured_drawn_and_said(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ("explain", run, photos / "test", "--output", tmp_path, "--measure")
    said = call_json(capsys, *words)
    measured = said["faithfulness"]
    assert measured["images"] == 12
    areas = [row["faithfulness"]["deletion"] for row in said["images"]]
    assert measured["deletion"]["area"] == pytest.approx(np.mean(areas))
    low, high = measured["insertion"]["interval"]
    assert low < measured["insertion"]["difference"] < high
    assert json.loads((tmp_path / "faithfulness.json").read_text()) == measured
    assert min(size_of(tmp_path / "faithfulness.png")) > 400
    printed, _ = call(capsys, *words, "--language", "pt")
    assert "perdido quando os patches mais relevantes saem" in printed
    assert call_json(capsys, *words) == said  # random orders come from the seed
    printed, _ = call(capsys, "explain", run, photos / "test/red/00.png", "--output", tmp_path, "--measure")
    assert "interval" not in printed


def test_bytes_are_explained(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = (photos / "test/red/02.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo)))
    (row,) = call_json(capsys, "explain", run, "-", "--output", tmp_path)["images"]
    assert (row["path"], row["files"]["overlay"]) == ("-", str(tmp_path / "image.png"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--target", "purple"), "there is no class 'purple': choose one of blue, green, red"),
        (("--point", "12"), "--point 12 is no pixel of an image: write it as X,Y, such as 120,80"),
        (
            ("--point", "19,8"),
            "does not see the pixel 19,8 of this image: it sees x from 2 to 17 and y from 0 to 15",
        ),
        (("--layer", "99"), "there is no layer 99"),
        (("--method", "rollout", "--target", "red"), "target cannot be asked with method 'rollout'"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture, words: tuple[str, str], text: str
) -> None:
    if "--point" in words:
        words = (*words, "--method", "rollout")
    _, err = call(capsys, "explain", run, photos / "test/red/00.png", "--output", tmp_path, *words, status=2)
    assert err.startswith("error: ")
    assert text in err
    assert err.count("\n") == 1
