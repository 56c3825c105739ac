"""What travels inside an exported file."""

import json

import pytest

from vitral.errors import WeightsError
from vitral.images import Preprocessing
from vitral.inference.description import Description

BANDS = Preprocessing(
    (24, 32), "pad", (0.1,) * 5, (0.3,) * 5, channels=5, range=(3.0, 4095.5), dtype="uint16"
)
CASES = {
    "pictures": Description(("açaí", "a b", '"'), Preprocessing((32, 32)), "fp32"),
    "all of it": Description(
        ("one", "two"), BANDS, "int8", (0.25, 0.5), {"layers": 3}, False, {"difference": 1e-6, "images": 5}
    ),
    "resizes itself": Description(("one",), Preprocessing((32, 32)), "fp16", None, {}, True),
}


@pytest.mark.parametrize("case", CASES)
def test_it_comes_back_as_it_was(case: str) -> None:
    text = CASES[case].to_json()
    assert Description.from_json(text, "file") == CASES[case]
    assert "\n" not in text
    assert json.loads(text)["class_names"] == list(CASES[case].class_names)


def test_what_an_earlier_version_did_not_write_is_not_asked_for() -> None:
    content = json.loads(CASES["pictures"].to_json())
    del content["preprocessing_inside"], content["measured"]
    assert Description.from_json(json.dumps(content), "file") == CASES["pictures"]


def damaged(**changes: object) -> str:
    return json.dumps(json.loads(CASES["pictures"].to_json()) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"vitral"',
        "[" * 100_000,
        "{}",
        damaged(format="other"),
        damaged(class_names=None),
        damaged(preprocessing={"size": [0, 0]}),
        damaged(preprocessing=[]),
        damaged(thresholds=[0.5]),
        damaged(thresholds=[0.5, "much", 0.5]),
        damaged(architecture=3),
        damaged(measured=3),
    ],
)
def test_damage_is_one_line_that_names_the_file(text: str) -> None:
    with pytest.raises(
        WeightsError, match=r"^food.onnx does not say .*: export it again with vitral$"
    ) as caught:
        Description.from_json(text, "food.onnx")
    assert "\n" not in str(caught.value)


def test_a_newer_one_asks_for_a_newer_vitral() -> None:
    with pytest.raises(WeightsError, match="version 2, this vitral reads 1: upgrade vitral"):
        Description.from_json(damaged(version=2), "food.onnx")
