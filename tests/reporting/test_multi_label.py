"""Several labels an image on the pages and in the curves: judged by average precision, compared by exact matches."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score

from vitral.reporting import write_comparison, write_curves, write_report
from vitral.reporting.content import read_run
from vitral.reporting.figures import _legend
from vitral.reporting.reliability import reliability_bins


def answers(images: int = 60, better: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    targets = (random.random((images, 3)) < 0.4).astype(int)
    return targets, 1 / (1 + np.exp(-random.normal(size=targets.shape) - better * (targets - 0.5)))


def text_of(page: Path) -> str:
    html = re.sub(r"<(style|svg).*?</\1>", "", page.read_text("utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_headline_is_average_precision_with_what_chance_gives(make_several) -> None:
    targets, probabilities = answers()
    run = make_several("food-1", targets, probabilities, (0.4, 0.5, 0.6))
    text = text_of(write_report(run.path))
    precision = average_precision_score(targets, probabilities)
    assert f"{100 * precision:.1f}% mean average precision on 60 test images" in text
    assert f"Ranking the images at random would give {100 * targets.mean():.1f}%" in text
    right = ((probabilities >= [0.4, 0.5, 0.6]) == targets).all(axis=1).mean()
    assert f"all labels right {100 * right:.1f}%" in text
    assert "1,060 images, 3 classes" in text  # an image counts once, whatever its labels
    assert "total 1,500 1,500" not in text
    one = average_precision_score(targets[:, 1], probabilities[:, 1])
    assert f"steak {targets[:, 1].sum()} {100 * one:.1f}% 0.500" in text
    assert "Confusions" not in text


@pytest.mark.parametrize(
    ("language", "phrase"),
    [
        ("en", "not distinguishable from ranking the images at random"),
        ("pt", "não se distingue de ordenar as imagens ao acaso"),
    ],
)
def test_a_result_at_chance_is_called_so(make_several, language: str, phrase: str) -> None:
    run = make_several("weak", *answers(better=0.0))
    assert phrase in text_of(write_report(run.path, language=language))
    better = make_several("better", *answers())
    assert phrase not in text_of(write_report(better.path, language=language))


def test_labels_are_shown_for_people_and_none_has_a_word(make_several) -> None:
    targets = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]])
    probabilities = np.array([[0.9, 0.8, 0.1], [0.1, 0.7, 0.1], [0.1, 0.2, 0.1]])
    run = make_several("few", targets, probabilities)
    pixels = np.full((8, 8, 3), 128, np.uint8)
    text = text_of(write_report(run.path, images=lambda path: pixels))
    assert "pizza + steak" in text
    assert "is no class" in text
    assert "|" not in text
    assert "é nenhuma classe" in text_of(write_report(run.path, language="pt", images=lambda path: pixels))


def test_unknown_labels_are_said(make_several) -> None:
    targets, probabilities = answers(10)
    run = make_several("unknown", targets, probabilities, unknown=[["soup"]] * 4 + [[]] * 6)
    text = text_of(write_report(run.path))
    assert "There are labels that this model does not know: 4." in text
    assert "soup: 4" in text


def test_reliability_is_that_of_every_label(make_several) -> None:
    targets, probabilities = answers(300)
    run = read_run(make_several("reliable", targets, probabilities.round(6)).path)
    assert run.answers is not None
    bins = reliability_bins(run.answers.probabilities, run.answers.came_true)
    share, mean = calibration_curve(targets.ravel(), probabilities.round(6).ravel(), n_bins=15)
    assert [one.accuracy for one in bins] == pytest.approx(share.tolist())
    assert [one.confidence for one in bins] == pytest.approx(mean.tolist())
    weights = np.array([one.images for one in bins]) / 900
    assert run.evaluation is not None
    assert run.evaluation["calibration_error"] == pytest.approx((weights * np.abs(share - mean)).sum())


def test_images_without_labels_are_judged_by_exact_matches(make_several) -> None:
    run = make_several("empty", np.zeros((20, 3), int), np.full((20, 3), 0.2))
    text = text_of(write_report(run.path))
    assert "100.0% of 20 test images classified correctly" in text
    assert "Always answering “no class” would give 100.0%" in text


def test_curves_of_average_precision_take_the_place_of_accuracy(make_several, monkeypatch) -> None:
    seen = {}

    def spy(figure, *panels) -> None:
        _legend(figure, *panels)
        seen["legend"] = [text.get_text() for text in figure.legends[0].get_texts()]
        seen["axis"] = panels[1].get_ylabel()
        seen["values"] = [list(line.get_ydata()) for line in panels[1].lines if len(line.get_xdata()) == 3]

    monkeypatch.setattr("vitral.reporting.figures._legend", spy)
    targets, probabilities = answers()
    write_curves(make_several("curves", targets, probabilities).path)
    assert seen["axis"] == "mean average precision (%)"
    assert seen["values"] == [pytest.approx([50, 75, 100 - 50 / 3])]
    assert seen["legend"][:2] == ["training", "test"]  # training has a loss only
    assert f"ranked at random: {100 * targets.mean():.1f}%" in seen["legend"]


def test_runs_are_compared_by_exact_matches(make_several, tmp_path: Path) -> None:
    targets, good = answers(80, better=4.0)
    _, bad = answers(80, better=1.0)
    runs = [make_several("good", targets, good).path, make_several("bad", targets, bad).path]
    text = text_of(write_comparison(runs, tmp_path / "page.html"))
    right = [((one >= 0.5) == targets).all(axis=1) for one in (good, bad)]
    assert f"−{100 * (right[0].mean() - right[1].mean()):.1f}" in text
    assert f"{(right[1] & ~right[0]).sum()} {(right[0] & ~right[1]).sum()}" in text
    for scores in (good, bad):
        assert f"{100 * average_precision_score(targets, scores):.1f}%" in text
    assert "Share of images with all labels right" in text
