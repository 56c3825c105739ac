"""Does the network see what the user believes it sees, and can it be traced back to the photograph?"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from torchvision.transforms import v2

from vitral.errors import ConfigError
from vitral.images import HALF, IMAGENET_MEAN, IMAGENET_STD, Preprocessing, read_image

MODES = {
    "bicubic": v2.InterpolationMode.BICUBIC,
    "bilinear": v2.InterpolationMode.BILINEAR,
    "nearest": v2.InterpolationMode.NEAREST,
}


def photograph(height: int, width: int) -> np.ndarray:
    """Something with detail at every scale, uint8 (height, width, 3)."""
    noise = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)
    drawing = Image.fromarray(noise // 3)
    ImageDraw.Draw(drawing).ellipse(
        (width * 0.1, height * 0.2, width * 0.7, height * 0.9), fill=(250, 120, 10)
    )
    return np.array(drawing)


def centre_crop(size):
    """As transformers does it: of an odd margin the smaller half is above and to the left."""
    return lambda image: v2.functional.crop(
        image, (image.height - size) // 2, (image.width - size) // 2, size, size
    )


@pytest.mark.parametrize("interpolation", MODES)
@pytest.mark.parametrize(
    ("size", "share", "resized"),
    [(224, 0.875, 256), (224, 0.9, 248), (224, 1.0, 224), (32, 0.95, 33), (96, 1.0, 96)],
)
@pytest.mark.parametrize("image_size", [(300, 451), (451, 300), (97, 97), (40, 211), (1000, 333)])
def test_crop_gives_the_pixels_that_torchvision_gives(interpolation, size, share, resized, image_size):
    image = photograph(*image_size)
    steps = [v2.Resize(resized, MODES[interpolation]), centre_crop(size), v2.ToImage()]
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    expected = v2.Compose(steps)(Image.fromarray(image)).numpy()
    preprocessing = Preprocessing(
        (size, size), mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation=interpolation, crop_share=share
    )
    seen = preprocessing(image)
    assert seen.dtype == np.float32
    assert seen.flags.c_contiguous
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_a_long_thin_image_is_cropped_without_becoming_huge(monkeypatch):
    preprocessing = Preprocessing((224, 224))
    assert preprocessing.fit_image(np.full((1, 200_000, 3), 7, np.uint8)).tolist() == [[[7] * 3] * 224] * 224
    image = photograph(60, 400)
    expected = preprocessing.fit_image(image).astype(int)
    monkeypatch.setattr("vitral.images.preprocessing.LARGEST_RESIZED", 1)
    assert np.abs(preprocessing.fit_image(image) - expected).mean() < 0.2


def test_stretch_gives_the_pixels_that_torchvision_gives():
    image = photograph(300, 451)
    expected = v2.Resize((60, 100), MODES["bilinear"])(Image.fromarray(image))
    seen = Preprocessing((60, 100), fit="stretch", interpolation="bilinear").fit_image(image)
    np.testing.assert_array_equal(seen, np.asarray(expected))


def test_pad_keeps_the_whole_image_and_fills_up_with_the_mean():
    preprocessing = Preprocessing((64, 64), fit="pad", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    white = np.full((50, 100, 3), 255, np.uint8)
    seen = preprocessing.fit_image(white)
    assert (seen[16:48] == 255).all()
    assert (seen[:16] == [124, 116, 104]).all()
    assert (seen[48:] == [124, 116, 104]).all()
    assert np.abs(preprocessing(white)[:, :16]).max() < 0.5 / 255 / min(IMAGENET_STD)
    assert preprocessing.fit_image(np.ascontiguousarray(white.transpose(1, 0, 2)))[:, 16:48].min() == 255


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_an_image_of_the_right_size_stays_as_it_is(fit):
    image = photograph(48, 80)
    np.testing.assert_array_equal(Preprocessing((48, 80), fit=fit).fit_image(image), image)


sides = st.integers(1, 300)


@settings(max_examples=150, deadline=None)
@given(
    sides,
    sides,
    st.integers(1, 64),
    st.integers(1, 64),
    st.sampled_from(["crop", "pad", "stretch"]),
    st.floats(0.3, 1),
)
def test_every_image_fits_every_size(height, width, rows, columns, fit, share):
    preprocessing = Preprocessing((rows, columns), fit=fit, crop_share=share)
    image = np.full((height, width, 3), 200, np.uint8)
    assert preprocessing.fit_image(image).shape == (rows, columns, 3)
    left, top, right, bottom = preprocessing.region(height, width)
    assert left < right
    assert top < bottom
    if fit == "crop":
        assert min(left, top, width - right, height - bottom) >= 0
        # The proportions are kept, but for the whole pixels that the resized image has.
        resized = min(rows, columns) / share
        assert (right - left) / (bottom - top) == pytest.approx(
            columns / rows, rel=2 / resized + 0.02
        ) or resized < 20


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("image_size", [(200, 200), (180, 320), (401, 250)])
@pytest.mark.parametrize("size", [(64, 64), (48, 96), (224, 224)])
def test_region_says_where_in_the_photograph_a_thing_lies(fit, image_size, size):
    height, width = image_size
    image = Image.new("RGB", (width, height))
    centre = (width * 0.53, height * 0.44)
    box = [centre[0] - 12, centre[1] - 9, centre[0] + 11, centre[1] + 8]  # Pillow draws both ends
    ImageDraw.Draw(image).rectangle(box, fill="white")
    light = np.asarray(image)[..., 0].astype(float)
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    expected = (light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()

    preprocessing = Preprocessing(size, fit=fit, mean=(0.0,) * 3, crop_share=0.9 if fit == "crop" else 1.0)
    seen = preprocessing.fit_image(np.asarray(image))[..., 0].astype(float)
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    left, top, right, bottom = preprocessing.region(height, width)
    x = left + (seen * columns).sum() / seen.sum() / size[1] * (right - left)
    y = top + (seen * rows).sum() / seen.sum() / size[0] * (bottom - top)
    assert (x, y) == pytest.approx(expected, abs=0.5)


def test_region_of_known_cases():
    assert Preprocessing((224, 224)).region(300, 500) == pytest.approx((100, 0, 400, 300), abs=1)
    assert Preprocessing((224, 224), crop_share=0.875).region(256, 256) == (16, 16, 240, 240)
    assert Preprocessing((100, 100), fit="pad").region(50, 100) == (0, -25, 100, 75)
    assert Preprocessing((10, 90), fit="stretch").region(50, 100) == (0, 0, 100, 50)


def test_normalise_is_value_minus_mean_over_deviation():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    preprocessing = Preprocessing((5, 4), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    expected = v2.functional.normalize(
        torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255, list(IMAGENET_MEAN), list(IMAGENET_STD)
    )
    np.testing.assert_allclose(preprocessing.normalise(images), expected.numpy(), atol=1e-6)
    np.testing.assert_array_equal(preprocessing.normalise(images[0]), preprocessing.normalise(images)[0])
    black_and_white = Preprocessing((1, 2), mean=HALF, std=HALF)(np.array([[0, 255]], np.uint8))
    np.testing.assert_allclose(black_and_white[0], [[-1, 1]], atol=1e-6)
    half = Preprocessing((1, 2), range=(55.0, 255.0), mean=(0.0,) * 3, std=(1.0,) * 3)
    np.testing.assert_allclose(half(np.array([[55, 155]], np.uint8))[0], [[0, 0.5]], atol=1e-6)


def test_grey_networks_see_brightness(scene):
    preprocessing = Preprocessing((20, 30), channels=1, mean=(0.5,), std=(0.5,))
    grey = np.asarray(Image.fromarray(scene).convert("L").resize((30, 20), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(preprocessing(scene)[0], grey / 127.5 - 1, atol=1e-6)
    assert preprocessing.read(scene).shape == (40, 60, 1)
    padded = replace(preprocessing, fit="pad").fit_image(preprocessing.read(np.zeros((8, 40), np.uint8)))
    assert padded.shape == (20, 30, 1)
    assert padded[0, 0, 0] == 128


def test_every_kind_of_source_gives_the_same_input(scene, encoded, tmp_path):
    preprocessing = Preprocessing((16, 16))
    path = tmp_path / "scene.png"
    path.write_bytes(encoded(scene, "PNG"))
    expected = preprocessing(scene)
    for source in (path, path.read_bytes(), Image.fromarray(scene), torch.from_numpy(scene).permute(2, 0, 1)):
        np.testing.assert_array_equal(preprocessing(source), expected)
    np.testing.assert_array_equal(
        preprocessing.normalise(preprocessing.fit_image(read_image(path))), expected
    )


def test_config_json_brings_it_back():
    for preprocessing in (
        Preprocessing((224, 224)),
        Preprocessing((32, 48), "pad", (0.1,), (0.2,), "nearest", 0.5, 1, (1.0, 99.5)),
    ):
        content = json.loads(json.dumps(preprocessing.to_dict()))
        assert Preprocessing.from_dict(content) == preprocessing
    assert content == {
        "size": [32, 48],
        "fit": "pad",
        "mean": [0.1],
        "std": [0.2],
        "interpolation": "nearest",
        "crop_share": 0.5,
        "channels": 1,
        "range": [1.0, 99.5],
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", [0, 224]),
        ("size", [224, 16385]),
        ("size", 224),
        ("size", [224]),
        ("size", [224.5, 224]),
        ("size", [True, True]),
        ("size", "ab"),
        ("fit", "cover"),
        ("fit", None),
        ("fit", {}),
        ("mean", [0.5]),
        ("mean", None),
        ("mean", ["a", "b", "c"]),
        ("std", [0.5, 0.0, 0.5]),
        ("std", [0.5, -1, 0.5]),
        ("std", [0.5, float("nan"), 0.5]),
        ("interpolation", "lanczos"),
        ("interpolation", ["bicubic"]),
        ("crop_share", 0),
        ("crop_share", 1.2),
        ("crop_share", "1"),
        ("channels", 0),
        ("channels", 3.0),
        ("channels", True),
        ("range", [0.0]),
        ("range", [255.0, 0.0]),
        ("colour", "red"),
    ],
)
def test_a_wrong_field_is_named(key, value):
    content = Preprocessing((224, 224)).to_dict() | {key: value}
    with pytest.raises(ConfigError, match=rf"preprocessing (has an unknown key ')?{key}") as caught:
        Preprocessing.from_dict(content)
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_named():
    content = Preprocessing((224, 224)).to_dict()
    for key in content:
        with pytest.raises(ConfigError, match=f"preprocessing lacks '{key}'"):
            Preprocessing.from_dict({other: value for other, value in content.items() if other != key})
    with pytest.raises(ConfigError, match="preprocessing is None"):
        Preprocessing.from_dict(None)  # type: ignore[arg-type]
