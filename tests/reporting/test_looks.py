"""Do the pictures of looks show what they are given, pixel by pixel where that can be told?"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from vitral.inspection import FeatureComponents, FilterComponents, summarise_norms
from vitral.reporting.drawing import COLOURS
from vitral.reporting.looks import (
    write_components,
    write_distance,
    write_filters,
    write_layer_probes,
    write_norms,
    write_positions,
)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def area(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(image - colour).max(axis=2) < 8).sum())


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def test_filters_are_shown_in_their_colours_on_grey(tmp_path: Path) -> None:
    """A component that is red above and nothing below: half red at full contrast, half in the middle of the scale."""
    component = np.zeros((1, 4, 4, 3))
    component[0, :2, :, 0] = 1
    image = pixels(write_filters(tmp_path / "a.png", FilterComponents(component, np.array([1.0]), 9)))
    red, grey = area(image, (255, 127, 127)), area(image, (127, 127, 127))
    assert red > 1000
    assert grey == pytest.approx(red, rel=0.1)


def test_filters_of_other_channels_show_the_first_in_grey(tmp_path: Path) -> None:
    component = np.zeros((1, 4, 4, 5))
    component[0, :2, :, 0], component[0, 2:, :, 0], component[0, 0, 0, 3] = 1, -1, 1
    image = pixels(write_filters(tmp_path / "a.png", FilterComponents(component, np.array([1.0]), 9)))
    assert area(image, (0, 0, 0)) > 1000
    assert image.std(axis=2).max() < 3 + image[:40].std(axis=2).max()  # no colour but what letters have


def test_a_big_grid_of_positions_shows_a_part_of_the_maps(tmp_path: Path) -> None:
    """Each map is one yellow place, the patch's own, on violet: as many yellow places as maps."""
    for side, maps in ((5, 25), (20, 256)):
        similarity = np.eye(side * side).reshape(side, side, side, side)
        image = pixels(write_positions(tmp_path / f"{side}.png", similarity))
        yellow = np.abs(image[:, :-120] - (253, 231, 37)).max(axis=2) < 40  # without the colour bar
        assert label(yellow)[1] == maps


def test_distances_are_dots_and_a_line(tmp_path: Path) -> None:
    distances = np.array([[10.0, 80.0], [50.0, np.nan]])
    image = pixels(write_distance(tmp_path / "a.png", distances, 100.0, 3))
    few = pixels(write_distance(tmp_path / "b.png", np.full((2, 2), np.nan), 100.0, 3))
    dots = np.abs(image - few).max(axis=2) > 40
    assert label(dots)[1] == 3


@pytest.mark.parametrize("language", ["en", "pt"])
@pytest.mark.parametrize("shape", [(2, 2), (6, 3)])
def test_norms_and_components_take_one_image_or_several_of_any_shape(
    tmp_path: Path, language, shape: tuple[int, int]
) -> None:
    random = np.random.default_rng(0)
    for count in (1, 3):
        norms = random.uniform(1, 9, (count, *shape))
        pictures = [np.full((16 * shape[0], 16 * shape[1], 1), 90, np.uint8)] * count
        summaries = [summarise_norms(norms), summarise_norms(5 * norms)]
        path = write_norms(
            tmp_path / "norms.png", summaries, {"registers": summaries}, 9, pictures, norms, language
        )
        image = pixels(path)
        assert area(image, rgb(COLOURS["validation"])) > 50
        assert area(image, rgb(COLOURS["test"])) > 50
        assert area(image, (90, 90, 90)) > 1000
        colours = np.tile(np.array([0.0, 1.0, 0.0], np.float32), (count, *shape, 1))
        path = write_components(
            tmp_path / "colours.png",
            pictures,
            FeatureComponents(colours, np.array([0.5, 0.2, 0.1])),
            language,
        )
        image = pixels(path)
        assert area(image, (0, 255, 0)) == pytest.approx(area(image, (90, 90, 90)), rel=0.15)


def test_accuracy_by_layer_is_drawn_in_the_colour_of_its_split(tmp_path: Path) -> None:
    for split, other in (("test", "validation"), ("validation", "test")):
        path = write_layer_probes(
            tmp_path / "a.png", [0.5, 1.0], [(0.4, 0.6), (0.9, 1.0)], majority=0.3, split=split, images=20
        )
        assert area(pixels(path), rgb(COLOURS[split])) > 100
        assert area(pixels(path), rgb(COLOURS[other])) == 0
