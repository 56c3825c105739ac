"""`--backend` and `--precision` on the command line, and how little a prepared network needs to start."""

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vitral.inference import Classifier

from .calling import Capture, call, call_json

# What an answer to a photograph does without, each of which takes longer to import than it.
HEAVY = (
    "torch", "torchvision", "matplotlib", "sklearn", "scipy", "pyarrow", "tifffile", "imagecodecs", "huggingface_hub",
    "safetensors", "nncf", "onnx", "openvino_telemetry", "PIL.TiffImagePlugin",
)  # fmt: skip


@pytest.fixture
def photo(photos: Path, tmp_path: Path) -> Path:
    with Image.open(photos / "test/red/00.png") as image:
        image.save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def test_the_second_time_nothing_heavy_is_imported(run: Path, photo: Path, extras: Path) -> None:
    code = """
import json, sys
from vitral.cli.app import main
status = main(sys.argv[1:])
print(json.dumps([status, [name for name in sys.modules if sys.modules[name]]]), file=sys.stderr)
"""
    words = [sys.executable, "-c", code, "predict", run, photo, "--device", "cpu", "--backend", "openvino"]
    answers, modules = [], []
    for _ in range(2):
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        status, imported = json.loads(done.stderr.splitlines()[-1])
        assert status == 0, done.stderr
        answers.append(done.stdout)
        modules.append(imported)
    assert answers[0] == answers[1]
    assert answers[0].startswith(f"{photo}: red ")
    assert "torch" in modules[0]
    assert not [name for name in HEAVY if name in modules[1]]


@pytest.mark.parametrize(
    ("backend", "precision"), [("torch", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]
)
def test_evaluate_says_what_computed_and_finds_the_same(
    run: Path, extras: Path, capsys: Capture, backend: str, precision: str
) -> None:
    asked = ["--backend", backend, "--precision", precision, "--device", "cpu"]
    figures = call_json(capsys, "evaluate", run, *asked)
    assert (figures["backend"], figures["precision"], figures["device"]) == (backend, precision, "cpu")
    expected = json.loads((run / "evaluation.json").read_text())
    assert figures["confusion_matrix"] == expected["confusion_matrix"]
    assert figures["loss"] == pytest.approx(expected["loss"], abs=1e-4 if precision == "fp32" else 2e-2)


def test_auto_is_openvino_where_it_is_installed(run: Path, extras: Path, capsys: Capture) -> None:
    figures = call_json(capsys, "evaluate", run, "--device", "cpu")
    assert figures["backend"] == Classifier.load(run, device="cpu").backend
    assert figures["backend"] == ("openvino" if platform.machine() in ("x86_64", "AMD64") else "torch")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "--backend openvino --device cuda",
            "--backend openvino computes on the processor: leave out --device cuda",
        ),
        ("--backend onnx --precision bf16", "--backend onnx has no bf16: choose one of auto, fp32"),
    ],
)
def test_what_does_not_go_together_is_a_wrong_command_line(
    run: Path, photo: Path, extras: Path, capsys: Capture, words: str, said: str
) -> None:
    _, errors = call(capsys, "predict", run, photo, *words.split(), status=2)
    assert errors.splitlines()[-1] == f"error: {said}"


def test_without_the_extra_openvino_is_refused_and_auto_is_torch(
    run: Path, photo: Path, capsys: Capture
) -> None:
    _, errors = call(capsys, "predict", run, photo, "--backend", "openvino", status=2)
    assert errors.splitlines()[-1] == "error: --backend openvino needs openvino: pip install 'vitral[fast]'"
    assert call_json(capsys, "evaluate", run)["backend"] == "torch"


def test_predict_prints_answers_as_they_come(
    run: Path, photo: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    def slowly(*_: Any, **__: Any) -> Iterator[dict[str, Any]]:
        for number in range(3):
            shown.append(capsys.readouterr().out)
            yield {"path": f"{number}.jpg", "top": [{"label": "red", "probability": 1.0}]}

    monkeypatch.setattr("vitral.workflow.prediction.answers", slowly)
    out, _ = call(capsys, "predict", run, photo)
    assert [*shown, out] == ["", "0.jpg: red 1\n", "1.jpg: red 1\n", "2.jpg: red 1\n"]
