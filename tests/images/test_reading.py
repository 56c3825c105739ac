"""Is every image read as a person sees it, and every bad file refused in one helpful line?"""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from vitral.errors import ImageError
from vitral.images import read_image

CORNERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}


def corners(image: np.ndarray) -> list[str]:
    """Top left, top right, bottom left, bottom right, by name."""
    seen = (image[3, 3], image[3, -4], image[-4, 3], image[-4, -4])
    distances = [{name: np.abs(pixel - np.array(c)).sum() for name, c in CORNERS.items()} for pixel in seen]
    return [min(d, key=d.__getitem__) for d in distances]


UPRIGHT = ["red", "green", "blue", "yellow"]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_the_very_pixels(scene, encoded, tmp_path, kind):
    path = tmp_path / "image"
    path.write_bytes(encoded(scene, kind))
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes())):
        image = read_image(source)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, scene)
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_image(file), scene)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(read_image(opened), scene)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_look_the_same(scene, encoded, kind):
    image = read_image(encoded(scene, kind, quality=95))
    assert image.shape == scene.shape
    assert corners(image) == UPRIGHT


def test_the_result_may_be_written_to_without_harm(scene):
    image = read_image(scene)
    assert image.flags.writeable
    image[:] = 0
    assert scene.any()
    assert read_image(Image.fromarray(scene)).flags.writeable


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_exif_rotated_photographs_stand_upright(scene, encoded, kind, orientation):
    # How a camera held that way would have stored the scene, by the EXIF standard's own words for tag 0x0112.
    stored = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.transpose(1, 0, 2),
        6: np.rot90(scene),
        7: scene[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(scene, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    content = encoded(np.ascontiguousarray(stored), kind, exif=exif, **options)
    image = read_image(content)
    assert image.shape == scene.shape
    assert corners(image) == UPRIGHT
    np.testing.assert_array_equal(image, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content)))))
    assert corners(read_image(content, at_least=(20, 20))) == UPRIGHT


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_spoil_the_picture(scene, encoded):
    content = encoded(scene, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert corners(read_image(content)) == UPRIGHT


def test_grey_and_one_bit_become_equal_channels(encoded):
    ramp = np.tile(np.arange(0, 250, 10, dtype=np.uint8), (4, 1))
    np.testing.assert_array_equal(read_image(encoded(ramp, "PNG")), np.repeat(ramp[..., None], 3, axis=2))
    black_and_white = read_image(encoded(Image.fromarray(ramp > 100), "PNG"))
    np.testing.assert_array_equal(black_and_white[..., 1], np.where(ramp > 100, 255, 0))


def test_palette_images_show_their_colours_and_white_where_transparent(encoded):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert read_image(encoded(image, "PNG")).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert read_image(encoded(image, "PNG", transparency=0)).tolist() == [[[255] * 3, [200, 100, 50]]]
    assert read_image(encoded(image, "GIF", transparency=1)).tolist() == [[[10, 20, 30], [255] * 3]]


def test_transparent_pixels_lie_on_white(encoded):
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 51]]], np.uint8)
    expected = np.array(
        [[[200, 0, 0], [255, 255, 255], [244, 204, 204]]]
    )  # colour * a + 255 * (1 - a), a = 0.2
    for source in (
        encoded(rgba, "PNG"),
        encoded(rgba, "WEBP", lossless=True, exact=True),
        rgba,
        Image.fromarray(rgba),
    ):
        np.testing.assert_allclose(read_image(source).astype(int), expected, atol=1)
    grey = Image.new("LA", (2, 1))
    grey.putpixel((0, 0), (100, 255))
    assert read_image(encoded(grey, "PNG")).tolist() == [[[100] * 3, [255] * 3]]
    key = Image.new("RGB", (2, 1), (1, 2, 3))
    key.putpixel((1, 0), (9, 9, 9))
    assert read_image(encoded(key, "PNG", transparency=(9, 9, 9))).tolist() == [[[1, 2, 3], [255] * 3]]


def test_cmyk_photographs_are_not_inverted(scene, encoded):
    cmyk = Image.fromarray(scene).convert("CMYK")
    content = encoded(cmyk, "JPEG", quality=95)
    assert b"Adobe" in content  # so its inks are stored inverted, as Photoshop does
    assert corners(read_image(content)) == UPRIGHT
    assert corners(read_image(encoded(cmyk, "TIFF"))) == UPRIGHT


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_show_their_first_frame(encoded, kind):
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.n_frames == 3
    assert np.abs(read_image(content) - np.array([255, 0, 0])).max() <= 6


def test_heic_is_read_with_its_extra(scene, encoded):
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(scene)).save(file, quality=95)
    assert corners(read_image(file.getvalue())) == UPRIGHT


def test_heic_without_its_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    with pytest.raises(ImageError, match=r"pip install 'vitral\[heif\]'"):
        read_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_files_are_refused(scene, encoded, kind, share):
    noisy = scene ^ np.random.default_rng(0).integers(0, 32, scene.shape, np.uint8)
    content = encoded(noisy, kind)
    with pytest.raises(ImageError, match=r"truncated|damaged|not an image"):
        read_image(content[: int(len(content) * share)])


def test_a_truncated_photograph_is_called_truncated(scene, encoded):
    for kind in ("JPEG", "PNG"):
        content = encoded(scene, kind)
        with pytest.raises(ImageError, match=rf"^the {kind} file is truncated: copy or download it again$"):
            read_image(content[: len(content) * 2 // 3])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "empty"),
        (b"Not a photograph at all, but a letter.", "not an image in a format that is read"),
        (b"\xff\xd8\xff\xe0", "JPEG file is truncated or damaged"),
        (b"\x93NUMPY\x01\0" + b" " * 100, "npy file is truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a format that is read"),
    ],
)
def test_files_that_are_no_image_say_so(tmp_path, content, text):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=text) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_paths_that_lead_to_no_file_say_so(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be opened"):
        read_image("nul\0byte.jpg")
    if os.name == "posix" and os.geteuid() != 0:
        locked = tmp_path / "locked.jpg"
        locked.touch(mode=0o000)
        with pytest.raises(ImageError, match="permission"):
            read_image(locked)
    with pytest.raises(ImageError, match="int is not an image"):
        read_image(7)
    with pytest.raises(ImageError, match="'rb'"):
        read_image(io.StringIO("text"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_an_image_may_come_through_a_pipe(scene, encoded, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(encoded(scene, "PNG"),))
    writer.start()
    np.testing.assert_array_equal(read_image(pipe), scene)
    writer.join()


def test_at_least_decodes_a_smaller_jpeg_but_never_too_small(encoded):
    rows, columns = np.mgrid[0:800, 0:1200]
    photograph = np.stack([rows / 4, columns / 5, (rows + columns) / 8], axis=-1).astype(np.uint8)
    content = encoded(photograph, "JPEG", quality=95)
    assert read_image(content).shape == (800, 1200, 3)
    small = read_image(content, at_least=(64, 64))
    assert small.shape == (100, 150, 3)
    np.testing.assert_allclose(small, photograph[4::8, 4::8].astype(int), atol=3)
    assert read_image(content, at_least=(801, 64)).shape == (800, 1200, 3)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["", "JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"]))
def test_random_bytes_raise_nothing_but_image_errors(noise, kind):
    file = io.BytesIO()
    if kind:
        Image.radial_gradient("L").resize((20, 20)).save(file, kind)
    content = bytearray(file.getvalue() or noise)
    for place, value in zip(noise[::2], noise[1::2], strict=False):  # as scratched as the noise is long
        content[place * 7919 % len(content)] = value
    try:
        image = read_image(bytes(content))
    except ImageError as error:
        image, text = None, str(error)
    if image is None:
        assert text
        assert "\n" not in text
    else:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


def test_reading_imports_no_torch(scene, encoded, tmp_path):
    (tmp_path / "scene.png").write_bytes(encoded(scene, "PNG"))
    program = (
        "import sys; from vitral.images import *; "
        "p = Preprocessing(size=(32, 32)); x = p(sys.argv[1]); signature(read_image(sys.argv[1])); "
        "assert x.shape == (3, 32, 32); "
        "sys.exit(any(m.split('.')[0] in ('torch', 'torchvision') for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "scene.png"], check=True)


def test_real_photographs_equal_pillow(shared):
    photos = sorted((shared / "data" / "photos").glob("*.jpg"))[:8]
    assert photos
    for path in photos:
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_image(Path(path)), np.asarray(image.convert("RGB")))
