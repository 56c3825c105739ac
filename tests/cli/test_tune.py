"""`vitral tune`: its table, its document, and what it refuses."""

import json
from pathlib import Path

from .calling import Capture, call, call_json

FEW = (
    "--backends",
    "torch",
    "--precisions",
    "fp32",
    "--device",
    "cpu",
    "--merging",
    "0",
    "--image-sizes",
    "8",
)


def test_a_table_and_what_to_type(run: Path, tmp_path: Path, capsys: Capture) -> None:
    out, err = call(capsys, "tune", run, *FEW, "--output", tmp_path, "--max-drop", 100)
    assert (tmp_path / "tune.png").exists()
    assert f"vitral predict {run} IMAGE --backend torch --precision fp32" in out
    assert str(tmp_path / "tune.png") in out
    assert "torch fp32, 8 px" in err  # a line for each where there is no bar
    assert call(capsys, "tune", run, *FEW, "--output", tmp_path, status=2)[1].startswith("error: ")


def test_json_is_what_the_file_holds(run: Path, tmp_path: Path, capsys: Capture) -> None:
    found = call_json(capsys, "tune", run, *FEW, "--output", tmp_path, "--language", "pt")
    assert found == json.loads((tmp_path / "tune.json").read_text("utf-8"))
    assert [
        one["image_size"] for one in sorted(found["candidates"], key=lambda one: one["multiply_adds"])
    ] == [
        [8, 8],
        [16, 16],
    ]
    assert found["split"] == "validation"


def test_what_is_no_list_of_numbers_is_refused(run: Path, tmp_path: Path, capsys: Capture) -> None:
    err = call(capsys, "tune", run, "--merging", "two", "--output", tmp_path / "out", status=2)[1]
    assert err == "error: --merging two is no list of numbers: write them as 2,4,8\n"
    err = call(capsys, "tune", run, "--image-sizes", "9", "--output", tmp_path / "out", status=1)[1]
    assert "images of 9x9 pixels cannot be cut into patches" in err
    assert not (tmp_path / "out").exists()
