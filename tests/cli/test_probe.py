"""Does `vitral probe` answer as the contract says, and do the other commands take what it leaves?"""

import json
import tomllib
from pathlib import Path

import pytest

from vitral.cli.app import main

from .calling import Capture, call


@pytest.fixture(scope="module")
def usual(run: Path) -> list[str]:
    return ["--from", str(run), "--precision", "fp32"]


@pytest.fixture(scope="module")
def probed(photos: Path, usual: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Probes of two methods; not to be changed."""
    runs = {}
    for method in ("least-squares", "knn"):
        runs[method] = tmp_path_factory.mktemp("probes") / method
        words = ["probe", str(photos), *usual, "--method", method, "--output", str(runs[method])]
        assert main([*words, "--feature-layers", "4"]) == 0
    return runs


def test_what_probe_prints(photos: Path, usual: list[str], tmp_path: Path, capsys: Capture) -> None:
    words = ["probe", photos, *usual, "--shots", "1,2,all", "--draws", "2"]
    out, err = call(capsys, *words, "--output", tmp_path / "a")
    assert "test: " in out
    assert "images a class" in out
    assert str(tmp_path / "a" / "report.html") in out
    assert "features of" in err
    assert "least-squares" in err
    out, err = call(capsys, *words, "--output", tmp_path / "b", "--json")
    document = json.loads(out)
    assert document["run"] == str(tmp_path / "b")
    assert document["evaluation"] == json.loads((tmp_path / "b" / "evaluation.json").read_text())
    assert [one["shots"] for one in document["evaluation"]["shots"]] == [1, 2, "all"]
    assert "all kept from before" in err
    out, _ = call(capsys, *words, "--output", tmp_path / "c", "--language", "pt")
    assert "imagens por classe" in out


def test_a_dry_run_says_what_would_be_done(
    photos: Path, usual: list[str], tmp_path: Path, capsys: Capture
) -> None:
    words = ["probe", photos, *usual, "--dry-run", "--output", tmp_path / "run"]
    out, err = call(capsys, *words)
    assert out == ""
    assert "red" in err
    overview = json.loads(call(capsys, *words, "--json")[0])
    assert overview["recipe"]["method"] == "least-squares"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_it_says_what_computed_and_finds_the_same(
    backend: str,
    probed: dict[str, Path],
    photos: Path,
    run: Path,
    tmp_path: Path,
    extras: Path,
    capsys: Capture,
) -> None:
    words = ["probe", photos, "--from", run, "--feature-layers", "4", "--json", "--device", "cpu"]
    asked = ["--backend", backend, "--precision", "fp32", "--output", tmp_path / "fp32"]
    out, err = call(capsys, *words, *asked)
    assert f"{backend} (asked for), fp32 (asked for)" in err
    figures = json.loads(out)["evaluation"]
    assert (figures["backend"], figures["precision"], figures["device"]) == (backend, "fp32", "cpu")
    expected = json.loads((probed["least-squares"] / "evaluation.json").read_text())
    for name in ("accuracy", "confusion_matrix", "majority_accuracy"):
        assert figures[name] == expected[name]
    assert figures["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    machine = json.loads((tmp_path / "fp32" / "run.json").read_text())["machine"]
    assert (machine["backend"], machine["precision"]) == (backend, "fp32")
    assert machine["backend_reason"] == {"en": "asked for", "pt": "a pedido"}
    recipe = tomllib.loads((tmp_path / "fp32" / "recipe.toml").read_text())
    assert (recipe["backend"], recipe["precision"]) == (backend, "fp32")


def test_int8_is_taken_when_asked_for(
    probed: dict[str, Path], photos: Path, run: Path, tmp_path: Path, extras: Path, capsys: Capture
) -> None:
    words = ["probe", photos, "--from", run, "--feature-layers", "4", "--json"]
    out, err = call(capsys, *words, "--precision", "int8", "--output", tmp_path / "int8")
    assert "openvino (int8 is OpenVINO's), int8 (asked for)" in err
    figures = json.loads(out)["evaluation"]
    assert (figures["backend"], figures["precision"]) == ("openvino", "int8")
    expected = json.loads((probed["least-squares"] / "evaluation.json").read_text())
    assert figures["accuracy"] >= expected["accuracy"] - 1 / figures["images"]
    again = json.loads(call(capsys, "evaluate", tmp_path / "int8", "--precision", "int8", "--json")[0])
    assert again["accuracy"] == pytest.approx(figures["accuracy"], abs=1 / figures["images"])
    out, err = call(capsys, *words, "--output", tmp_path / "auto")
    assert json.loads(out)["evaluation"]["precision"] in ("fp32", "bf16")
    assert "all kept from before" not in err
    _, err = call(capsys, *words, "--precision", "int8", "--backend", "torch", status=2)
    assert "--backend torch has no int8" in err


@pytest.mark.parametrize("method", ["least-squares", "knn"])
def test_other_commands_take_a_probe(
    method: str, probed: dict[str, Path], photos: Path, tmp_path: Path, capsys: Capture
) -> None:
    run = probed[method]
    summary = json.loads(call(capsys, "summary", run, "--json")[0])
    assert summary["class_names"] == ["blue", "green", "red"]
    assert summary["layers"][-1]["name"] == "head"
    assert call(capsys, "summary", run)[0]
    figures = json.loads(call(capsys, "evaluate", run, "--precision", "fp32", "--json")[0])
    kept = json.loads((run / "evaluation.json").read_text())
    assert figures["confusion_matrix"] == kept["confusion_matrix"]
    photo = photos / "test" / "green" / "00.png"
    (answer,) = json.loads(call(capsys, "predict", run, photo, "--json")[0])
    assert answer["label"] in ("blue", "green", "red")
    call(capsys, "report", run, "--no-images")
    call(capsys, "convert", run, tmp_path / "copy", "--to", "vitral")
    (again,) = json.loads(call(capsys, "predict", tmp_path / "copy", photo, "--json")[0])
    assert again["top"] == answer["top"]
    said = "feature_layers 4" if method == "least-squares" else "neighbours"
    _, err = call(capsys, "convert", run, tmp_path / "timm", "--to", "timm", status=1)
    assert said in err


def test_wrong_options_are_status_2_in_one_line(photos: Path, usual: list[str], capsys: Capture) -> None:
    for words, said in (
        (["--method", "svm"], "--method"),
        (["--shots", "some"], "--shots takes whole numbers and all"),
        (["--layer", "9"], "no layer 9"),
        (["--folds", "3", "--seeds", "0,1"], "--folds and --seeds exclude each other"),
        (["--backend", "openvino"], "--backend openvino needs openvino: pip install 'vitral[fast]'"),
    ):
        _, err = call(capsys, "probe", photos, *usual, *words, status=2)
        assert said in err
        assert err.count("\n") == 1
