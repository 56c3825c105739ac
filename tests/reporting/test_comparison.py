"""Does the comparison tell a real difference from luck, on the same images only?"""

import re
from pathlib import Path

import numpy as np
import pytest

from vitral.errors import UsageError
from vitral.reporting import write_comparison
from vitral.runs import paired_difference


def text_of(path: Path) -> str:
    html = re.sub(r"<style>.*?</style>", "", path.read_text("utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_the_paired_difference_is_that_of_the_runs_room(make_run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    first, second = random.random(200) < 0.6, random.random(200) < 0.85
    runs = [make_run("first", first).path, make_run("second", second).path]
    text = text_of(write_comparison(runs, tmp_path / "both.html"))
    expected = paired_difference(second, first)
    low, high = expected.interval
    assert f"+{100 * expected.difference:.1f} +{100 * low:.1f} to +{100 * high:.1f} better 200" in text
    assert f"{int((second & ~first).sum())} {int((first & ~second).sum())} " in text
    turned = text_of(write_comparison(runs[::-1], tmp_path / "turned.html"))
    assert f"−{100 * expected.difference:.1f} −{100 * high:.1f} to −{100 * low:.1f} worse 200" in turned


def test_equal_runs_show_no_difference(make_run, tmp_path: Path) -> None:
    right = [True, True, False] * 20
    runs = [make_run("first", right).path, make_run("second", right).path]
    assert "no difference shown" in text_of(write_comparison(runs, tmp_path / "both.html"))


def test_images_are_the_same_by_content_and_not_by_path(make_run, tmp_path: Path) -> None:
    first = make_run("first", [True] * 30, prefix="old place")
    second = make_run("second", [True] * 20, prefix="new place")
    assert "no difference shown 20" in text_of(
        write_comparison([first.path, second.path], tmp_path / "both.html")
    )
    third = make_run("third", [True] * 20)
    third.splits.unlink()
    assert "no image in common" in text_of(write_comparison([first.path, third.path], tmp_path / "none.html"))


def test_only_the_differing_recipe_lines_are_shown_also_those_that_one_lacks(
    make_run, tmp_path: Path
) -> None:
    first = make_run("first", [True] * 30, mixup=0.2, flip='"both"', seed=7)
    second = make_run("second", [True] * 30, mixup=0.8, seed=7)
    text = text_of(write_comparison([first.path, second.path], tmp_path / "both.html"))
    assert "mixup 0.2 0.8" in text
    assert "flip both –" in text
    assert "seed" not in text


def test_curves_are_overlaid_and_weak_runs_are_called_so(make_run, tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "b"]
    good = make_run("good", [True] * 40, class_names=names)
    weak = make_run("weak", [True, False] * 20, class_names=names, labels=[0] * 30 + [1] * 10)
    html = write_comparison([good.path, weak.path], tmp_path / "both.html", "pt").read_text("utf-8")
    assert html.count("<polyline") == 4
    assert "<script" not in html
    assert "não se distingue de responder sempre “&lt;script&gt;" in html


def test_lines_that_only_some_runs_have_stand_apart(make_run, tmp_path: Path) -> None:
    trained = make_run("trained", [True] * 30, mixup=0.2)
    probe = make_run("probe", [True] * 30, method='"knn"', mixup=0.8)
    html = write_comparison([trained.path, probe.path], tmp_path / "both.html").read_text("utf-8")
    shared, _, apart = html.partition("Differing recipe lines")[2].partition(
        "Lines that only some of the runs have: 1"
    )
    assert "mixup" in shared
    assert "method" not in shared
    assert "knn" in apart
    assert "mixup" not in apart


def test_curves_are_those_of_the_runs_that_have_epochs(make_run, tmp_path: Path) -> None:
    runs = [
        make_run(name, [True] * 30, epochs=epochs).path for name, epochs in (("a", 3), ("b", 0), ("c", 2))
    ]
    page = write_comparison(runs, tmp_path / "all.html")
    assert page.read_text("utf-8").count("<polyline") == 2 * 2
    assert "nothing was trained by epochs: b." in text_of(page)


def test_what_was_trained_stands_side_by_side(make_run, tmp_path: Path) -> None:
    first, second = make_run("first", [True] * 30), make_run("second", [True] * 30)
    facts = second.read_run()
    second.update_run(
        model=facts["model"] | {"name": "vit_tiny_patch16_224"},
        machine=facts["machine"] | {"cores": 1},
        seconds=3600,
    )
    text = text_of(write_comparison([first.path, second.path], tmp_path / "both.html"))
    side = text.partition("What was trained")[2]
    assert re.search(r"Model vit_mini_patch4_32 .*? vit_tiny_patch16_224 ", side)
    assert re.search(r"Training 3 epochs in 1 min 15 s .*? 3 epochs in 1 h 00 min", side)
    assert re.search(r"Machine Some processor 8 cores .*? Some processor 1 core · ", side)
    assert "/opt/tools" not in text


def test_runs_of_one_name_are_told_apart_as_they_were_given(make_run, tmp_path: Path) -> None:
    run = make_run("run", [True] * 30)
    (tmp_path / "copy").mkdir()
    for file in run.path.iterdir():
        (tmp_path / "copy" / "run").mkdir(exist_ok=True)
        (tmp_path / "copy" / "run" / file.name).write_bytes(file.read_bytes())
    text = text_of(write_comparison([run.path, tmp_path / "copy" / "run"], tmp_path / "both.html"))
    assert str(tmp_path / "copy" / "run") in text


def test_one_run_is_no_comparison(make_run, tmp_path: Path) -> None:
    run = make_run("run", [True] * 30)
    for runs in ([run.path], [run.path, run.path]):
        with pytest.raises(UsageError, match="at least two runs"):
            write_comparison(runs, tmp_path / "both.html")
