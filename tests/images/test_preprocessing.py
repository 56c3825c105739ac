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

from vitral.errors import ConfigError, ImageError
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


RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def measured(**changes) -> Preprocessing:
    """Two bands of uint16 from 0 to 4095."""
    values = {
        "mean": (0.5, 0.25),
        "std": (0.25, 0.5),
        "channels": 2,
        "range": (0.0, 4095.0),
        "dtype": "uint16",
    }
    return Preprocessing(**({"size": (64, 64)} | values | changes))


def test_every_level_of_a_ramp_reaches_the_network_in_its_place():
    image = np.stack([RAMP, RAMP[::-1]], axis=-1)
    seen = measured()(image)
    assert seen.dtype == np.float32
    assert len(np.unique(seen[0])) == len(np.unique(seen[1])) == 4096
    assert (np.diff(seen[0].ravel()) > 0).all()
    expected = (RAMP / 4095 - 0.5) / 0.25, (RAMP[::-1] / 4095 - 0.25) / 0.5
    np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_large_offsets_cost_no_level_and_nothing_is_clipped():
    image = (RAMP[..., None] + np.uint32(4_000_000_000)).astype(np.uint32)
    preprocessing = Preprocessing(
        (64, 64), mean=(0.0,), std=(1.0,), channels=1, range=(4e9 + 1000, 4e9 + 2000), dtype="uint32"
    )
    seen = preprocessing(image)[0]
    np.testing.assert_allclose(seen, (RAMP - 1000.0) / 1000, atol=1e-6)
    assert len(np.unique(seen)) == 4096
    assert (seen.min(), seen.max()) == (-1.0, pytest.approx(3.095))


@pytest.mark.parametrize("interpolation", MODES)
def test_bands_are_resized_as_torchvision_resizes_floats(interpolation):
    image = np.random.default_rng(0).integers(0, 60000, (90, 70, 5), np.uint16)
    preprocessing = measured(
        size=(31, 24), channels=5, mean=(0.0,) * 5, std=(1.0,) * 5, fit="stretch", interpolation=interpolation
    )
    tensor = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1) / 4095
    mode = v2.InterpolationMode.NEAREST_EXACT if interpolation == "nearest" else MODES[interpolation]
    expected = v2.functional.resize(tensor, [31, 24], mode, antialias=True)
    np.testing.assert_allclose(preprocessing(image), expected.numpy(), atol=2e-4)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_bands_lie_where_the_same_picture_would(fit):
    picture = photograph(60, 100)
    as_picture = Preprocessing(
        (48, 32), fit=fit, mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="bilinear"
    )
    as_bands = replace(as_picture, dtype="uint16", range=(0.0, 255 * 257.0))
    seen = as_bands(picture.astype(np.uint16) * 257)
    np.testing.assert_allclose(seen, as_picture(picture), atol=0.02)  # 8 bits round by up to 1/510/std, twice
    assert as_bands.region(60, 100) == as_picture.region(60, 100)


def test_padding_is_zero_to_the_network():
    seen = measured(fit="pad")(np.full((32, 64, 2), 7, np.uint16))
    np.testing.assert_allclose(seen[:, :16], 0, atol=1e-7)
    for band, (mean, std) in enumerate(((0.5, 0.25), (0.25, 0.5))):
        np.testing.assert_allclose(seen[band, 16:48], (7 / 4095 - mean) / std, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((4, 4, 2), np.uint8), "2 channels of uint8, and the network takes 2 channels of uint16"),
        (np.zeros((4, 4, 3), np.uint16), "3 channels of uint16"),
        (np.zeros((4, 4), np.uint16), "1 channel of uint16"),
        (np.zeros((4, 4, 2), np.int16), "int16"),
    ],
)
def test_values_that_mean_something_else_are_refused(image, text):
    with pytest.raises(ImageError, match=text):
        measured()(image)


def test_what_has_no_channels_is_refused_by_its_shape():
    for preprocessing in (measured(), Preprocessing((8, 8))):
        with pytest.raises(
            ImageError, match=r"shape \(4, 4\) is not one image: give \(height, width, channels\)"
        ):
            preprocessing.fit_image(np.zeros((4, 4), np.uint16))


def test_programs_may_hand_over_general_types_and_files_may_not(tmp_path):
    image = np.random.default_rng(0).integers(0, 4096, (64, 64, 2), np.uint16)
    expected = measured()(image)
    for wider in (np.int32, np.int64, np.float32, np.float64):
        np.testing.assert_array_equal(measured()(image.astype(wider)), expected)
    np.testing.assert_array_equal(
        measured()(torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)), expected
    )
    np.save(tmp_path / "same.npy", image)
    np.testing.assert_array_equal(measured()(tmp_path / "same.npy"), expected)
    np.save(tmp_path / "float.npy", image / 4095)
    with pytest.raises(ImageError, match="2 channels of float64"):
        measured()(tmp_path / "float.npy")
    floats = measured(dtype="float32", range=(0.0, 1.0))
    np.testing.assert_allclose(floats(tmp_path / "float.npy"), expected, atol=1e-6)
    with pytest.raises(ImageError, match="the network takes 2 channels of float32"):
        floats(image)


def test_pictures_and_bands_are_not_taken_for_each_other(tmp_path):
    deep = tmp_path / "deep.npy"
    np.save(deep, RAMP)
    with pytest.raises(ImageError, match=r"uint16 values.*convert it to 8-bit"):
        Preprocessing((8, 8))(deep)
    with pytest.raises(ImageError, match="3 channels of uint16, and the network takes 3 channels of uint8"):
        Preprocessing((8, 8)).fit_image(np.zeros((8, 8, 3), np.uint16))


def test_foreign_networks_of_other_channels_take_eight_bits():
    five = Preprocessing((8, 8), mean=(0.5,) * 5, std=(0.5,) * 5, channels=5)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 5), np.uint8)
    np.testing.assert_allclose(five(image), image.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    with pytest.raises(ImageError, match="5 channels of uint16, and the network takes 5 channels of uint8"):
        five(image.astype(np.uint16))


def test_people_see_the_display_bands_from_black_to_white():
    image = np.zeros((1, 3, 5), np.uint16)
    image[0, :, 3] = 1000, 2000, 9000
    image[0, :, 0] = 3000
    five = measured(channels=5, mean=(0.5,) * 5, std=(1.0,) * 5, range=(1000.0, 3000.0))
    assert five.show(image).tolist() == [[[255, 0, 0]] * 3]
    assert replace(five, display_bands=(4, 1, 4)).show(image).tolist() == [
        [[0, 255, 0], [128, 255, 128], [255, 255, 255]]
    ]
    assert replace(five, display_bands=(4,)).show(image).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]
    assert measured().show(image[..., 2:4]).max() == 0  # two bands: the first one in grey
    picture = photograph(5, 6)
    np.testing.assert_array_equal(Preprocessing((4, 4)).show(picture), picture)


def test_config_json_says_bands_only_where_there_are_some():
    five = measured(channels=5, mean=(0.5,) * 5, std=(1.0,) * 5, display_bands=(3, 2, 1))
    content = json.loads(json.dumps(five.to_dict()))
    assert (content["dtype"], content["display_bands"]) == ("uint16", [3, 2, 1])
    assert Preprocessing.from_dict(content) == five
    assert not {"dtype", "display_bands"} & set(Preprocessing((8, 8)).to_dict())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dtype", "uint12"),
        ("dtype", 16),
        ("display_bands", [3, 2]),
        ("display_bands", [0]),
        ("display_bands", [1, 2, 9]),
    ],
)
def test_wrong_bands_are_named(key, value):
    content = measured().to_dict() | {key: value}
    with pytest.raises(ConfigError, match=f"preprocessing {key}"):
        Preprocessing.from_dict(content)
