"""Are the pictures there, sharp, and of what they claim?"""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from vitral.errors import UsageError
from vitral.reporting import write_batch, write_curves
from vitral.reporting.figures import COLOURS


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def has_colour(image: np.ndarray, colour: str) -> bool:
    wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
    return bool((np.abs(image - wanted).max(axis=2) < 8).sum() > 20)


def test_curves_show_the_splits_that_were_measured_and_no_others(make_run) -> None:
    run = make_run("run", [True, True, False] * 10)
    assert write_curves(run.path) == run.curves
    image = pixels(run.curves)
    assert min(image.shape[:2]) >= 700
    assert has_colour(image, COLOURS["train"])
    assert has_colour(image, COLOURS["test"])
    run.update_run(best={"epoch": None, "metric": None, "value": None})
    write_curves(run.path, "pt")
    assert not has_colour(pixels(run.curves), COLOURS["validation"])


def test_curves_of_a_run_stopped_in_its_first_epoch_are_empty_axes_and_no_error(make_run) -> None:
    run = make_run("run", [True, False, True])
    run.metrics.unlink()
    run.evaluation.unlink()
    assert pixels(write_curves(run.path)).min() < 100


def test_drawing_leaves_the_users_own_matplotlib_settings_alone(make_run) -> None:
    before = dict(matplotlib.rcParams)
    write_curves(make_run("run", [True, False, True], class_names=["$5", "$x^2", "日本"]).path)
    assert dict(matplotlib.rcParams) == before


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run"):
        write_curves(tmp_path)


def test_tiny_images_are_enlarged_without_blur(tmp_path: Path) -> None:
    board = (np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = pixels(write_batch(tmp_path / "batch.png", board[None, :, :, None], [""]))
    assert image.shape[1] > 150
    # Black and white squares stay black and white; greys are the seams only.
    extreme = ((image < 10) | (image > 245)).all(axis=2).mean()
    assert extreme > 0.9


def test_a_batch_shows_the_images_in_colour_and_at_most_32(tmp_path: Path) -> None:
    colours = np.array([[250, 0, 0], [0, 0, 250]], dtype=np.uint8)
    many = np.repeat(colours[np.arange(40) % 2][:, None, None, :], 16, axis=1).repeat(16, axis=2)
    labels = [f"pizza 70% + $sushi {index}%" for index in range(40)]
    four_rows = pixels(write_batch(tmp_path / "many.png", many, labels))
    exactly = pixels(write_batch(tmp_path / "exactly.png", many[:32], labels[:32]))
    assert four_rows.shape == exactly.shape
    assert has_colour(four_rows, "#fa0000")
    assert has_colour(four_rows, "#0000fa")
