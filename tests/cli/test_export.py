"""`vitral export`: what it prints, its JSON, its exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

from .calling import Capture, call, call_json

pytest.importorskip("onnxscript", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")


def test_export_then_predict(run: Path, photos: Path, tmp_path: Path, capsys: Capture, extras: Path) -> None:
    out = tmp_path / "colours.onnx"
    said, err = call(capsys, "export", run, out)
    assert err == ""
    assert str(out) in said
    assert "onnx in fp32, opset 20\n" in said
    assert f"run it with: python {tmp_path / 'colours.py'} IMAGE\n" in said
    images = sorted((photos / "test").rglob("*.png"))
    whole = call_json(capsys, "predict", run, *images, "--backend", "torch", "--precision", "fp32")
    rows = call_json(capsys, "predict", out, *images)
    lines = subprocess.run(
        [sys.executable, "-I", tmp_path / "colours.py", *images], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for expected, row, line in zip(whole, rows, lines, strict=True):
        assert row["label"] == expected["label"]
        assert row["probability"] == pytest.approx(expected["probability"], abs=1e-4)
        path, _, answer = line.rpartition(": ")
        assert (path, answer.split()[0]) == (expected["path"], expected["label"])
        assert float(answer.split()[1]) == pytest.approx(expected["probability"], abs=1e-4)


def test_json_says_what_was_written(run: Path, tmp_path: Path, capsys: Capture) -> None:
    words = (
        "export",
        run,
        tmp_path / "colours.pt2",
        "--precision",
        "bf16",
        "--image-size",
        "24",
        "--merge",
        "1",
    )
    done = call_json(capsys, *words)
    assert [Path(file["path"]).name for file in done["files"]] == ["colours.pt2", "colours.py"]
    assert all(Path(file["path"]).stat().st_size == file["bytes"] for file in done["files"])
    assert (done["format"], done["precision"], done["opset"], done["images"]) == ("torch", "bf16", None, 5)
    assert 0 < done["difference"] < 0.5


def test_int8_says_what_it_costs(
    run: Path, photos: Path, tmp_path: Path, capsys: Capture, extras: Path
) -> None:
    pytest.importorskip("nncf", reason="needs the extra fast")
    words = "export", run, tmp_path / "colours.xml", "--precision", "int8", "--calibrate", photos
    said, err = call(capsys, *words, "--max-drop", "10")
    assert err == ""
    assert "openvino in int8\n" in said
    assert " on 12 validation images" in said
    assert "int8 costs " in said
    done = call_json(capsys, *words, "--max-drop", "10", "--overwrite")
    assert (done["checked_images"], done["checked_on"], done["calibration_images"]) == (12, "validation", 24)
    figures = [
        call_json(capsys, "evaluate", weights, photos, "--split", "validation", *more)["accuracy"]
        for weights, more in (
            (run, ["--backend", "torch", "--precision", "fp32"]),
            (tmp_path / "colours.xml", []),
        )
    ]
    assert [done["accuracy_before"], done["accuracy_after"]] == figures
    weights = {file["path"]: file["bytes"] for file in done["files"]}
    whole = call_json(capsys, "export", run, tmp_path / "whole.xml")
    assert weights[str(tmp_path / "colours.bin")] < 0.5 * whole["files"][1]["bytes"]


def test_int8_asks_for_images(run: Path, tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("openvino", reason="needs the extra fast")
    _, err = call(capsys, "export", run, tmp_path / "colours.xml", "--precision", "int8", status=2)
    assert "name them with --calibrate DATA" in err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_command_line_is_two(run: Path, tmp_path: Path, capsys: Capture) -> None:
    _, err = call(capsys, "export", run, tmp_path / "colours.zip", status=2)
    assert err.endswith("does not say its format: end it in .onnx, .xml, .pt2\n")
    _, err = call(capsys, "export", tmp_path, tmp_path / "colours.onnx", status=2)
    assert err.startswith("error: ")
