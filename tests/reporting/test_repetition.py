"""Does one page say what folds or seeds come to together, and lead to each of them?"""

import re
from pathlib import Path

import numpy as np
import pytest

from vitral.reporting import compare, write_comparison, write_repetition
from vitral.runs import put_together


def text_of(path: Path) -> str:
    html = re.sub(r"<style>.*?</style>", "", path.read_text("utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_folds_as_one_page(make_whole) -> None:
    rights = [[True] * 10 + [False] * 2, [True] * 12, [True] * 9 + [False] * 3]
    whole = make_whole("run", "folds", rights)
    figures = put_together(whole)
    assert figures["accuracy"] == pytest.approx(31 / 36)
    page = write_repetition(whole.path)
    text = text_of(page)
    assert "86.1% of 36 test images classified correctly" in text
    # 10/12, 12/12 and 9/12: the sample standard deviation by hand is 12.7 points.
    assert "Accuracy of the single runs: 86.1% on average, with a standard deviation of 12.7 points" in text
    for number, share in ((1, "83.3%"), (2, "100.0%"), (3, "75.0%")):
        assert f"fold-{number} {share}" in text
        assert f'href="fold-{number}/report.html"' in page.read_text("utf-8")
    assert "3 folds in 5 min 00 s" in text
    assert "fold 1 fold 2 fold 3 total" in text
    assert "Every image is tested once" in text
    assert "nothing was chosen" not in text
    assert page.read_text("utf-8").count("<polyline") == 2 * 3  # loss and accuracy, a line a fold
    assert f"{figures['second_look']} images may have a wrong label." in text
    assert "photos/1" not in text  # no pictures, no names of files


def test_doubtful_labels_are_shown_the_likeliest_first(make_whole) -> None:
    rights = [[True] * 10 + [False] * 2, [True] * 12, [True] * 9 + [False] * 3]
    whole = make_whole("run", "folds", rights)
    count = put_together(whole)["second_look"]
    asked: list[str] = []

    def read(path: str) -> np.ndarray:
        asked.append(path)
        return np.zeros((8, 8, 3), np.uint8)

    html = write_repetition(whole.path, images=read).read_text("utf-8")
    section = html.partition("Labels worth a second look")[2].partition("</section>")[0]
    shown = re.findall(r'class="path">([^<]*)<', section)
    listed = [line.split(",")[0] for line in whole.second_look.read_text("utf-8").splitlines()[1:]]
    assert shown == listed
    assert len(shown) == count >= 3
    assert section.count("<img") == count
    assert re.findall(r"labelled</span> (\w+)<", section) == [path.split("/")[2] for path in shown]


def test_a_model_too_weak_to_doubt_labels_is_called_so(make_whole) -> None:
    good = make_whole("first", "folds", [[True] * 11 + [False]] * 2)
    weak = make_whole("second", "folds", [[True, False] * 6] * 2)
    for whole, expected in ((good, False), (weak, True)):
        figures = put_together(whole)
        assert (figures["second_look"] > 0.2 * 24) == expected
        assert ("More than one image in five is listed" in text_of(write_repetition(whole.path))) == expected


def test_no_doubtful_label_is_said(make_whole) -> None:
    whole = make_whole("run", "folds", [[True] * 12] * 2)
    assert put_together(whole)["second_look"] == 0
    assert "No label stands out." in text_of(write_repetition(whole.path))
    assert "Nenhum rótulo chama a atenção." in text_of(write_repetition(whole.path, language="pt"))


def test_seeds_as_one_page(make_whole) -> None:
    whole = make_whole("run", "seeds", [[True] * 8 + [False] * 4, [True] * 10 + [False] * 2])
    put_together(whole)
    text = text_of(write_repetition(whole.path))
    assert "75.0% of 12 test images classified correctly" in text
    assert "a standard deviation of 11.8 points" in text  # of 66.7 and 83.3
    assert "Labels worth" not in text
    assert "Calibration" not in text.replace("calibration error", "")


def test_a_whole_that_has_not_ended_shows_the_parts_there_are(make_whole) -> None:
    whole = make_whole("run", "folds", [[True] * 12] * 2)
    whole.update_run(state="interrupted", parts=["fold-1", "fold-2", "fold-3"])
    text = text_of(write_repetition(whole.path))
    assert "Training was interrupted." in text
    assert "written so far (2 folds)" in text
    assert "No evaluation yet" in text
    assert "fold-2 100.0%" in text
    assert "fold-3" not in text


def test_wholes_are_compared_on_all_their_images(make_whole, tmp_path: Path) -> None:
    first = make_whole("first", "folds", [[True] * 6 + [False] * 6, [True] * 12])
    second = make_whole("second", "folds", [[True] * 11 + [False], [True] * 12])
    for whole in (first, second):
        put_together(whole)
    text = text_of(write_comparison([first.path, second.path], tmp_path / "both.html"))
    assert "+20.8" in text  # five of 24
    (found,) = compare([first.path, second.path])
    assert (found["images"], found["only_run"], found["only_against"]) == (24, 5, 0)
    # Agresti and Min by hand: half an image more in each cell.
    centre, total = 5 / 26, 26
    half = 1.959964 * np.sqrt((5 + 1) / total - centre**2) / np.sqrt(total)
    assert found["interval"] == pytest.approx([centre - half, centre + half], abs=1e-6)
    assert found["groups"] is None


def test_a_comparison_without_a_shared_image_is_said_as_data(make_run) -> None:
    first, second = make_run("a", [True] * 5), make_run("b", [True] * 5)
    second.splits.unlink()
    assert compare([first.path, second.path]) == [
        {
            "run": "b",
            "against": "a",
            "images": 0,
            "difference": None,
            "interval": None,
            "groups": None,
            "only_run": 0,
            "only_against": 0,
        }
    ]
