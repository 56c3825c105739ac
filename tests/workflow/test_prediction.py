"""Which images are meant, and is each answered in its place?"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitral.errors import UsageError
from vitral.workflow import Run
from vitral.workflow.prediction import answers, write_answers
from vitral.workflow.wanted import expand


@pytest.fixture
def album(tmp_path: Path, photos: Path) -> Path:
    """Good pictures, a truncated one, a hidden one, and a text, in a folder with a folder."""
    for name, source in (
        ("b.png", "red"),
        ("a.png", "green"),
        ("deep/c.PNG", "blue"),
        (".hidden.png", "red"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((photos / "test" / source / "00.png").read_bytes())
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    (tmp_path / "read.me").write_text("not an image")
    return tmp_path


def paths(words: list[str], album: Path) -> list[str]:
    return [str(Path(one.path).relative_to(album)).replace("\\", "/") for one in expand(words)]


def test_folders_are_searched_and_sorted_and_the_order_given_is_kept(album: Path) -> None:
    words = [str(album / "b.png"), str(album), str(album / "a.png")]
    assert paths(words, album) == ["b.png", "a.png", "b.png", "cut.png", "deep/c.PNG", "a.png"]


def test_wildcards_are_expanded_to_images(album: Path) -> None:
    assert paths([str(album / "[ab].png")], album) == ["a.png", "b.png"]
    assert paths([str(album / "?.png"), str(album / "*" / "*.PNG")], album) == [
        "a.png",
        "b.png",
        "deep/c.PNG",
    ]
    assert sorted(paths([str(album / "**")], album)) == ["a.png", "b.png", "cut.png", "deep/c.PNG"]
    # A file of that very name wins over what it would mean as a wildcard.
    (album / "x[ab].png").write_bytes((album / "a.png").read_bytes())
    assert paths([str(album / "x[ab].png")], album) == ["x[ab].png"]


def test_every_image_is_answered_in_its_place(run: Run, album: Path) -> None:
    content = (album / "b.png").read_bytes()
    words = ["cut.png", "a.png", "nowhere.png", "*.gif", "deep"]
    words = [str(album / word) for word in words] + ["-"]
    rows = list(answers(run.classifier(precision="fp32"), expand(words, content)))
    assert [row.get("label") for row in rows] == [None, "green", None, None, "blue", "red"]
    assert [row["path"] for row in rows] == [*words[:4], str(album / "deep" / "c.PNG"), "-"]
    for row, said in ((rows[0], "truncated"), (rows[2], "no such file"), (rows[3], "no image matches")):
        assert set(row) == {"path", "error"}
        assert said in row["error"]
    assert set(rows[1]) == {"path", "label", "probability", "top"}
    top = rows[1]["top"]
    assert next(one["label"] for one in top) == "green"
    assert [one["probability"] for one in top] == sorted((one["probability"] for one in top), reverse=True)
    assert sum(one["probability"] for one in top) == pytest.approx(1, abs=1e-5)
    assert rows[1]["probability"] == top[0]["probability"]


def test_an_empty_folder_is_said(run: Run, tmp_path: Path) -> None:
    (row,) = answers(run.classifier(), expand([str(tmp_path)]))
    assert row == {"path": str(tmp_path), "error": "the folder holds no images: name another one"}


def test_top_and_unsure(run: Run, album: Path) -> None:
    classifier, wanted = run.classifier(), expand([str(album / "a.png")])
    (row,) = answers(classifier, wanted, top=2, unsure_below=1.0)
    assert (len(row["top"]), row["unsure"]) == (2, True)
    (row,) = answers(classifier, wanted, unsure_below=0.001)
    assert row["unsure"] is False
    with pytest.raises(UsageError, match="--top 0"):
        list(answers(classifier, wanted, top=0))
    with pytest.raises(UsageError, match="--unsure-below 2"):
        list(answers(classifier, wanted, unsure_below=2))


def test_more_images_than_a_batch_keep_their_answers_apart(run: Run, tmp_path: Path) -> None:
    colours = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
    expected = []
    for index in range(75):
        name = list(colours)[index * index % 3]
        Image.fromarray(np.full((16, 16, 3), colours[name], np.uint8)).save(tmp_path / f"{index:03d}.png")
        expected.append(name)
    (tmp_path / "040.png").write_bytes(b"nothing")
    expected[40] = None
    rows = list(answers(run.classifier(), expand([str(tmp_path)])))
    assert [row.get("label") for row in rows] == expected


def test_answers_as_csv_and_json(run: Run, album: Path, tmp_path: Path) -> None:
    rows = list(answers(run.classifier(), expand([str(album / "a.png"), str(album / "cut.png")]), top=2))
    write_answers(tmp_path / "out.json", rows)
    assert json.loads((tmp_path / "out.json").read_text()) == rows
    write_answers(tmp_path / "out.csv", rows)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        good, bad = csv.DictReader(file)
    assert list(good) == ["path", "label", "probability", "error", "label_2", "probability_2"]
    assert (good["label"], good["error"], bad["label"]) == ("green", "", "")
    assert float(good["probability"]) == pytest.approx(rows[0]["probability"], abs=1e-6)
    assert good["label_2"] == rows[0]["top"][1]["label"]
    assert bad["error"] == rows[1]["error"]
    with pytest.raises(UsageError, match=r"neither \.csv nor \.json"):
        write_answers(tmp_path / "out.txt", rows)


def test_wildcards_leave_arrays_beside_photographs_out_unless_they_ask_for_them(album: Path) -> None:
    np.save(album / "b.npy", np.zeros((4, 4)))
    assert "b.npy" not in paths([str(album / "*")], album)
    assert paths([str(album / "*.npy")], album) == ["b.npy"]
    assert paths([str(album / "b.npy")], album) == ["b.npy"]
