"""Can pages be written again, with the pictures and without?"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitral.errors import UsageError
from vitral.workflow import Run, report, train

MakeFolder = Callable[..., Path]


def copy(run: Run, target: Path) -> Path:
    shutil.copytree(run.path, target)
    for name in ("report.html", "curves.png"):
        (target / name).unlink()
    return target


def test_a_report_is_written_anew_with_pictures_and_heatmaps(run: Run, tmp_path: Path) -> None:
    folder = copy(run, tmp_path / "run")
    said: list[str] = []
    told: list[tuple[int, int]] = []
    page = report([folder], warn=said.append, progress=lambda done, total: told.append((done, total)))
    assert page == folder / "report.html"
    assert told == [(done, 12) for done in range(1, 13)]
    text = page.read_text()
    assert text.count("data:image/jpeg") == 2 * 12  # twelve right answers, each with what the model looked at
    assert "test/red/00.png" in text
    assert (folder / "curves.png").exists()
    assert said == []


def test_no_images_means_no_pictures_and_no_names_of_files(run: Run, tmp_path: Path) -> None:
    folder = copy(run, tmp_path / "run")
    report([folder], images=False, language="pt")
    page = (folder / "report.html").read_text()
    assert "data:image/jpeg" not in page
    assert "00.png" not in page
    assert '<html lang="pt' in page


def test_a_report_without_its_data_says_so_and_is_written(
    tiny: dict[str, Any], make_folder: MakeFolder, tmp_path: Path
) -> None:
    photos = make_folder(tmp_path / "photos", counts={"train": 6, "test": 2})
    done = train(photos, output=tmp_path / "run", **(tiny | {"epochs": 1}))
    (photos / "test" / "red" / "00.png").unlink()
    said: list[str] = []
    report([done.path], warn=said.append)
    assert said == []  # one picture less is shown as such in the page
    photos.rename(tmp_path / "moved")
    report([done.path], warn=said.append)
    assert len(said) == 1
    assert "no pictures" in said[0]
    assert "data:image/jpeg" not in (done.path / "report.html").read_text()


def test_several_runs_give_one_page(run: Run, tmp_path: Path) -> None:
    other = copy(run, tmp_path / "other")
    page = report([run.path, other], output=tmp_path / "both.html")
    assert page == tmp_path / "both.html"
    assert "other" in page.read_text()
    with pytest.raises(UsageError, match="name one run"):
        report([run.path], output=tmp_path / "one.html")
    with pytest.raises(UsageError, match="no run"):
        report([tmp_path])


def test_heat_has_the_photos_shape_and_pictures_the_wanted_size(run: Run) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8)
    classifier = run.classifier()
    explanation = classifier.explain(photo)
    heat = explanation.heatmap
    assert heat.shape == (30, 50)
    assert 0 <= heat.min() <= heat.max() <= 1
    assert heat[:, :9].max() == 0  # the network sees the middle 30 x 30
    np.testing.assert_array_equal(explanation.picture, photo)
    assert explanation.beside(100).size == (208, 60)
    assert classifier.explain(photo[..., :1]).beside(25).size == (58, 15)
