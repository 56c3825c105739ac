"""Do the figures of benchmarks/inference.py mean what its table says, and is it one network that all of them run?"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import contenders
import inference_figures
import numpy as np
import pytest
import timing

import inference

REPOSITORY = Path(__file__).parents[2]


def turn(rate: float, latency: list[float], from_disk: float) -> dict[str, object]:
    return {"images_per_second": {"16": rate}, "latency": latency, "from_disk": from_disk}


def test_ratios_are_of_the_same_round() -> None:
    """A round in which the whole machine was ten times slower changes no ratio."""
    ours = [turn(20, [0.1, 0.1, 0.3], 18), turn(2, [1.0], 1.8), turn(30, [0.1], 27)]
    theirs = [turn(5, [0.2], 4.5), turn(0.5, [2.0], 0.45), turn(5, [0.3], 4.5)]
    assert inference_figures.times_as_fast(ours, theirs) == {
        "16": pytest.approx(4),
        "latency": pytest.approx(2),
        "from_disk": pytest.approx(4),
    }


def test_a_row_has_the_figures_of_its_turns() -> None:
    turns = [turn(10, [0.1] * 19 + [1.0], 5), turn(20, [0.1] * 20, 18), turn(40, [0.2] * 20, 40)]
    about = {"precision": "bf16 (torch)", "peak_bytes": 7, "peak_bytes_on_gpu": None}
    row = inference_figures.row_of("vitral", turns, None, about, 17_580_000_000, {"bf16": 989.4e12})
    assert row["images_per_second"]["16"] == {"median": 20, "lower_quartile": 15, "upper_quartile": 30}
    assert row["latency_seconds"]["median"] == pytest.approx(0.1)
    assert row["latency_seconds"]["percentile_95"] == pytest.approx(0.2)
    assert row["share_from_disk"]["median"] == pytest.approx(0.9)
    assert row["times_as_fast"] is None
    # 17.58 G multiply-adds are 35.16 G operations an image; 989.4 T of them a second are 28,140 images.
    assert row["model_flops_utilisation"]["16"] == pytest.approx(20 / 28140, rel=1e-3)


def test_differences_are_those_of_the_answers(tmp_path: Path) -> None:
    np.save(tmp_path / "answers-timm.npy", np.array([[3.0, -3.0], [0.0, 0.0]]))
    np.save(tmp_path / "answers-vitral.npy", np.array([[3.3, -3.3], [0.0, 0.0]]))
    abouts = {"timm": {"labels": ["a", "b"]}, "vitral": {"labels": ["a", "c"]}, "vit-pytorch": {"labels": []}}
    found = inference_figures.differences(tmp_path, abouts)
    assert found == {
        "timm": {"difference": 0, "same_labels": 1},
        "vitral": {"difference": pytest.approx(0.1), "same_labels": 0.5},
    }
    assert inference_figures.differences(tmp_path, {"vitral": {"labels": []}}) == {}


def test_int8_that_answers_as_fp32_is_caught_with_what_merges_besides() -> None:
    precisions = {
        "timm": "fp32",
        "vitral-openvino-int8": "int8 (openvino)",
        "vitral-openvino-int8-merge8": "int8 (openvino)",
        "vitral-openvino-bf16": "bf16 (openvino)",
        "openvino-int8": "int8",
    }
    found = {name: {"difference": 1e-6, "same_labels": 1.0} for name in precisions}
    found |= {
        name: {"difference": 9e-3, "same_labels": 1.0} for name in ("vitral-openvino-bf16", "openvino-int8")
    }
    found["vitral-openvino-int8-merge8"] = {"difference": 0.2, "same_labels": 0.5}
    abouts = {name: {"precision": precision} for name, precision in precisions.items()}
    caught = inference_figures.pretending(abouts, found)
    assert caught == {"vitral-openvino-int8", "vitral-openvino-int8-merge8"}


def test_contestants_are_chosen_by_name() -> None:
    every = list(contenders.CONTESTANTS.values())
    names = [each.name for each in timing.chosen(every, ["timm", "vitral-onnx*"])]
    assert names == ["vitral-onnx-fp32", "timm"]
    with pytest.raises(SystemExit, match="no row is called 'tim'"):
        timing.chosen(every, ["tim"])


def test_a_contestant_that_falls_out_is_named_and_the_others_go_on() -> None:
    class Falling:
        turns = 0

        def turn(self, seconds: float) -> dict[str, object]:
            self.turns += 1
            if self.turns == 2:
                raise inference.Failed("its process ended with status -9", True)
            return turn(1, [1], 1)

    class Steady:
        def turn(self, seconds: float) -> dict[str, object]:
            return turn(2, [0.5], 2)

    left_out: list[dict[str, object]] = []
    found = inference.take_turns({"timm": Falling(), "vitral": Steady()}, 0.1, 3, 1e9, left_out)
    assert found == {"vitral": [turn(2, [0.5], 2)] * 3}
    assert left_out == [{"contestant": "timm", "reason": "its process ended with status -9", "failed": True}]


@pytest.mark.slow
def test_all_run_one_network_and_are_measured(tmp_path: Path) -> None:
    """Another library's logits and labels are those of vitral; each figure is the median of its turns."""
    pytest.importorskip("timm")
    output = tmp_path / "inference.json"
    words = ["--quick", "--files", "16", "--output", str(output)]
    words += ["--only", "vitral-torch-fp32", "timm", "torchvision", "vitral-openvino-fp32"]
    done = subprocess.run(
        [sys.executable, "benchmarks/inference.py", *words], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(output.read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"inference.json"}
    rows = {row["contestant"]: row for row in measured["rows"]}
    left_out = {each["contestant"] for each in measured["left_out"]}
    assert {"vitral-torch-fp32", "timm", "torchvision"} <= set(rows)
    assert set(rows) | left_out == {"vitral-torch-fp32", "timm", "torchvision", "vitral-openvino-fp32"}
    for name, row in rows.items():
        assert name in done.stdout
        assert row["difference"] < 1e-3
        assert row["same_labels"] >= (
            0.75 if name == "torchvision" else 1
        )  # it resizes otherwise than Pillow
        assert row["seconds_to_start"]["median"] > 0
        turns = measured["turns"][name]
        assert len(turns) == 2
        rates = [each["images_per_second"]["16"] for each in turns]
        assert row["images_per_second"]["16"]["median"] == pytest.approx(statistics.mean(rates))
    assert rows["timm"]["difference"] == 0
    assert set(rows["timm"]["times_as_fast"].values()) == {1}
    assert measured["starts"]["import timm"]
