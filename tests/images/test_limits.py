"""Is what cannot be shown faithfully refused by name: too many pixels, deep colours, bands and pages?"""

import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from vitral.errors import ImageError
from vitral.images import PIXEL_LIMIT, read_image


@pytest.mark.parametrize(("width", "height"), [(20000, 20000), (13378, 13378), (30000, 10000)])
@pytest.mark.parametrize("action", ["error", "ignore", "always"])
@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_an_image_over_the_limit_is_refused_by_name(width, height, action, kind):
    assert width * height > PIXEL_LIMIT == 178_956_970
    content = {"PNG": _claimed_png, "BMP": _claimed_bmp}[kind](width, height)
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(ImageError, match=r"178,956,970 pixels"):
            read_image(content)


def test_the_limit_holds_in_every_thread_and_whatever_pillow_was_told(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as some libraries do
    errors = []

    def read() -> None:
        try:
            read_image(_claimed_png(13378, 13378))
        except ImageError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 8
    assert all("178,956,970" in error for error in errors)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_at_the_limit_is_only_truncated():
    with pytest.raises(ImageError, match="truncated"):
        read_image(_claimed_png(13377, 13377))
    with pytest.raises(ImageError, match="178,956,970"):
        read_image(np.broadcast_to(np.uint8(0), (13378, 13378, 3)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_is_refused_and_eight_bit_png_is_read(channels):
    values = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    values[..., 3 if channels == 4 else 1 if channels == 2 else 0] |= 255 if channels in (2, 4) else 0
    assert (
        read_image(_png(values)).tolist()
        == (values if channels > 2 else values[..., [0, 0, 0]])[..., :3].tolist()
    )
    deep = _png(values.astype(np.uint16) * 257)
    with pytest.raises(ImageError, match=r"16 bits a channel.*convert it to 8-bit"):
        read_image(deep)
    with Image.open(io.BytesIO(deep)) as opened, pytest.raises(ImageError, match="16 bits a channel"):
        read_image(opened)


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize(
    ("channels", "kind", "found"),
    [
        (1, np.uint16, "16 bits a channel"),
        (3, np.uint16, "16 bits a channel"),
        (4, np.uint16, "16 bits a channel"),
        (1, np.float32, "32 bits a channel"),
        (2, np.uint8, "2 channels"),
        (5, np.uint8, "5 channels"),
        (13, np.uint16, "16 bits a channel"),
    ],
)
def test_deep_and_many_banded_tiff_says_what_was_found(channels, kind, found, big):
    content = _tiff(np.ones((6, 4, channels), kind), big)
    with pytest.raises(ImageError, match=f"^the image has {found}, .*convert it to 8-bit"):
        read_image(content)


@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_eight_bit_tiff_is_read(channels, big):
    values = np.random.default_rng(0).integers(0, 256, (6, 4, channels), np.uint8)
    expected = np.broadcast_to(values, (6, 4, 3))
    np.testing.assert_array_equal(read_image(_tiff(values, big)), expected)


def test_a_stack_of_pages_is_refused_and_a_preview_behind_the_image_is_not(encoded):
    page = Image.new("RGB", (40, 30), "red")
    stack = encoded(page, "TIFF", save_all=True, append_images=[Image.new("RGB", (40, 30), "blue")] * 2)
    with pytest.raises(ImageError, match="3 pages"):
        read_image(stack)
    preview = encoded(page, "TIFF", save_all=True, append_images=[Image.new("RGB", (8, 6), "red")])
    assert read_image(preview).shape == (30, 40, 3)


def test_sixteen_bit_ppm_and_float_modes_are_refused():
    assert read_image(b"P6 1 1 255\n\1\2\3").tolist() == [[[1, 2, 3]]]
    assert read_image(b"P6 1 1 15\n\0\x0f\x01").tolist() == [[[0, 255, 17]]]
    for content in (b"P6 1 1 65535\n" + b"\1" * 6, b"P5 1 1 65535\n\1\1", b"P5 1 1 1023\n\1\1"):
        with pytest.raises(ImageError, match=r"16 bits a channel|32 bits a channel"):
            read_image(content)
    for mode in ("I", "F", "I;16"):
        with pytest.raises(ImageError, match="bits a channel"):
            read_image(Image.new(mode, (2, 2)))


def _png(array: np.ndarray) -> bytes:
    """A PNG file of uint8 or uint16 (height, width, 1, 2, 3 or 4), written after the specification."""
    height, width, channels = array.shape
    depth, colour = array.dtype.itemsize * 8, {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(array.dtype.newbyteorder(">")).tobytes() for row in array)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows)),
            (b"IEND", b""),
        )
    )


def _tiff(array: np.ndarray, big: bool = False) -> bytes:
    """An uncompressed little-endian TIFF of (height, width, channels), written after the specification."""
    height, width, channels = array.shape
    bits, extra = array.dtype.itemsize * 8, max(0, channels - 3) if channels > 2 else channels - 1
    kind = 3 if array.dtype.kind == "f" else 1
    tags = [(256, [width]), (257, [height]), (258, [bits] * channels), (259, [1])]
    tags += [(262, [2 if channels > 2 else 1]), (273, [0]), (277, [channels]), (278, [height])]
    tags += [(279, [array.nbytes]), (284, [1]), (338, [0] * extra), (339, [kind] * channels)]
    tags = [(tag, values) for tag, values in tags if values]
    count, entry, inline, start = ("<Q", "<HHQ", 8, 16) if big else ("<H", "<HHI", 4, 8)
    after = start + struct.calcsize(count) + len(tags) * (struct.calcsize(entry) + inline) + inline
    directory, values_behind = struct.pack(count, len(tags)), b""
    wide = {273, 279}
    pixels_at = after + sum(2 * len(v) for t, v in tags if t not in wide and 2 * len(v) > inline)
    for tag, values in tags:
        values = [pixels_at] if tag == 273 else values
        content = struct.pack(f"<{len(values)}{'I' if tag in wide else 'H'}", *values)
        if len(content) > inline:
            offset = struct.pack("<Q" if big else "<I", after + len(values_behind))
            values_behind += content
            content = offset
        directory += struct.pack(entry, tag, 4 if tag in wide else 3, len(values)) + content.ljust(
            inline, b"\0"
        )
    header = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0" + struct.pack("<I", 8)
    return (
        header
        + directory
        + b"\0" * inline
        + values_behind
        + array.astype(array.dtype.newbyteorder("<")).tobytes()
    )


def _claimed_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with next to nothing behind it."""
    small = _png(np.zeros((1, 1, 3), np.uint8))
    header = b"IHDR" + struct.pack(">II", width, height) + small[24:29]
    return small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]


def _claimed_bmp(width: int, height: int) -> bytes:
    """A BMP whose header claims a size, without pixels."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info
