"""Do arrays and tensors mean the same picture as the file they came from?"""

import numpy as np
import pytest
import torch
from PIL import Image

from vitral.errors import ImageError
from vitral.images import read_image


@pytest.mark.parametrize(
    "kind",
    [
        np.uint8,
        np.uint16,
        np.uint32,
        np.uint64,
        np.int8,
        np.int16,
        np.int32,
        np.int64,
        np.float16,
        np.float32,
        np.float64,
    ],
)
def test_black_grey_and_white_of_every_type(kind):
    white = 1 if np.issubdtype(kind, np.floating) else np.iinfo(kind).max
    image = read_image(np.array([[0, white // 5 if white > 1 else 0.2, white]], kind))
    np.testing.assert_allclose(
        image, np.array([[[0] * 3, [51] * 3, [255] * 3]]), atol=1 if white == 127 else 0
    )


def test_sixteen_bits_scale_as_257_steps():
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(read_image(values * np.uint16(257))[..., 0], values)


def test_bool_is_black_and_white():
    assert read_image(np.array([[True, False]])).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tensor_has_its_channels_first(scene, channels):
    array = np.concatenate([scene, np.full_like(scene[..., :1], 255)], axis=2)[..., :channels]
    expected = np.asarray(Image.fromarray(array[..., 0] if channels == 1 else array).convert("RGB"))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    np.testing.assert_array_equal(read_image(array), expected)
    np.testing.assert_array_equal(read_image(tensor), expected)
    np.testing.assert_array_equal(read_image((tensor / 255).requires_grad_()), expected)
    np.testing.assert_array_equal(read_image(tensor.double() / 255), expected)
    np.testing.assert_allclose(read_image((tensor / 255).bfloat16()).astype(int), expected, atol=1)


def test_strided_and_big_endian_arrays(scene):
    np.testing.assert_array_equal(read_image(scene[::-2, ::3]), scene[::-2, ::3])
    np.testing.assert_array_equal(read_image(scene.astype(">u2") * 257), scene)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (np.zeros((3, 20, 30)), "shape .3, 20, 30. is not one image"),
        (np.zeros((2, 20, 30, 3)), "is not one image"),
        (np.zeros((20, 30, 2)), "is not one image"),
        (np.zeros((0, 30, 3)), "is not one image"),
        (np.zeros(5), "is not one image"),
        (torch.zeros(1, 3, 8, 8), "tensor of shape .1, 3, 8, 8. is not one image"),
        (torch.zeros(8, 8, 3), "is not one image"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.full((2, 2), np.inf, np.float32), "NaN or infinity"),
        (np.full((2, 2, 3), 200.0), "float64 images hold 0 to 1, this one 200 to 200"),
        (np.full((2, 2), -3, np.int16), "int16 images hold 0 to 32767, this one -3 to -3"),
        (np.zeros((2, 2), complex), "type complex128"),
        (np.array([["a", "b"]]), "is not an image"),
        (np.array([[None]]), "is not an image"),
    ],
)
def test_arrays_that_are_no_image_say_why(source, text):
    with pytest.raises(ImageError, match=text) as caught:
        read_image(source)
    assert "\n" not in str(caught.value)


def test_what_resizing_leaves_beyond_white_is_white():
    assert read_image(np.array([[1.0015, -0.0015]])).tolist() == [[[255] * 3, [0] * 3]]
