"""Does the picture of a tuning show what it is given, and do its lines say so in both languages?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from vitral.language import Language
from vitral.reporting.tuning import BACKENDS, write_tuning
from vitral.reporting.tuning_texts import name_of, tuning_lines, tuning_table, tuning_wording


def candidate(backend: str, rate: float, accuracy: float, **others: Any) -> dict[str, Any]:
    return {
        "backend": backend,
        "precision": "fp32",
        "merge": 0,
        "image_size": [224, 224],
        "accuracy": accuracy,
        "accuracy_interval": [accuracy - 0.03, accuracy + 0.03],
        "difference": accuracy - 0.82,
        "difference_interval": [accuracy - 0.84, accuracy - 0.80],
        "changed": 0.05,
        "images_per_second": rate,
        "latency_ms": 5.25,
        "in_turns": True,
        "front": False,
    } | others


@pytest.fixture
def found() -> dict[str, Any]:
    return {
        "name": "food",
        "device": "a processor",
        "measure": "accuracy",
        "split": "validation",
        "images": 1500,
        "max_drop": 0.5,
        "batch_size": 16,
        "candidates": [
            candidate("openvino", 400.0, 0.75, front=True, merge=4, precision="int8", image_size=[96, 128]),
            candidate("openvino", 300.0, 0.816, front=True, precision="int8"),
            candidate("onnx", 120.0, 0.82, front=True),
            candidate("torch", 60.0, 0.82),
            candidate("openvino", 50.0, 0.70, in_turns=False, latency_ms=None, merge=9),
        ],
        "recommended": 1,
        "default": 2,
        "reference": 3,
        "left_out": [
            {
                "backend": "torch",
                "precision": "fp16",
                "merge": 0,
                "image_size": [224, 224],
                "reason": {"en": "it is for GPUs", "pt": "é para GPUs"},
            }
        ],
        "usage": {"predict": "vitral predict food IMAGE", "export": "vitral export food food.xml"},
        "files": {"numbers": "food/tune/tune.json", "figure": "food/tune/tune.png"},
    }


def spots(path: Path, colour: str, least: int) -> int:
    """How many connected spots of so many pixels a picture has in a colour."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    marks, count = label(np.abs(pixels - wanted).max(axis=2) < 12)
    return sum((marks == number).sum() >= least for number in range(1, count + 1))


@pytest.mark.parametrize("language", ["en", "pt"])
def test_the_front_is_drawn_in_the_colours_of_its_backends(
    found: dict[str, Any], language: Language, tmp_path: Path
) -> None:
    """Each point stands in the chart and in the legend."""
    path = write_tuning(tmp_path / "a.png", found, language)
    blue, grey = BACKENDS["openvino"][0], BACKENDS["onnx"][0]
    assert spots(path, blue, 60) == 4
    assert spots(path, grey, 40) == 2
    found["candidates"][0]["front"] = False
    assert spots(write_tuning(tmp_path / "b.png", found, language), blue, 60) == 2


def test_a_single_point_of_an_odd_name_is_drawn(found: dict[str, Any], tmp_path: Path) -> None:
    found |= {"candidates": [candidate("torch", 9.0, 1.0, front=True)], "name": "$x$ \udcff 食"}
    found |= dict.fromkeys(("recommended", "default", "reference"), 0)
    assert spots(write_tuning(tmp_path / "a.png", found), BACKENDS["torch"][0], 40) == 2


def test_rows_are_the_front_and_what_it_is_compared_with(found: dict[str, Any]) -> None:
    headings, rows = tuning_table(found, "en")
    assert {len(row) for row in rows} == {len(headings)}
    assert rows[0] == [
        "1", "openvino int8", "4", "96x128", "75.0% (72.0 to 78.0)", "−7.0 (−9.0 to −5.0)", "5.0%", "400", "5.2", "",
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["1", "2", "3", ""]
    assert [row[-1] for row in rows] == ["", "recommended", "today's default", "fp32, torch"]
    assert rows[3][5] == "–"
    assert tuning_table(found, "pt")[1][1][4] == "81,6% (78,6 a 84,6)"


def test_lines_say_what_to_type(found: dict[str, Any]) -> None:
    assert list(tuning_lines(found, "en")) == [
        "left out: torch fp16, 224 px: it is for GPUs",
        "1 more that others beat is in food/tune/tune.json",
        "the fastest that loses at most 0.5 points: openvino int8, 224 px, 2.5 times as fast as today's default, "
        "−0.4 points",
        "vitral predict food IMAGE",
        "vitral export food food.xml",
        "food/tune/tune.png",
    ]
    found["recommended"] = found["default"]
    assert (
        "the fastest that loses at most 0.5 points is today's default: onnx fp32, 224 px, 0.0 points"
        in tuning_lines(found, "en")
    )
    assert "fora: torch fp16, 224 px: é para GPUs" in list(tuning_lines(found, "pt"))
    assert name_of(found["candidates"][0], tuning_wording("pt")) == "openvino int8, fusão 4, 96x128 px"
