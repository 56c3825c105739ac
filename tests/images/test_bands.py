"""Does every value of a deep or many-banded image arrive, and is what cannot be read refused by name?"""

import io
import pickle
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from vitral.errors import ImageError
from vitral.images import NotAPicture, read_bands, read_image

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # every level of 12 bits once
FIVE = np.random.default_rng(0).integers(0, 65536, (20, 30, 5), np.uint16)


def tiff(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **({"photometric": "minisblack"} | options))
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def png(array: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of uint16 (height, width, 1, 2, 3 or 4), written after the specification."""
    height, width, channels = array.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


RAMPS: dict[str, Callable[[], Any]] = {
    "PNG": lambda: png(RAMP[..., None]),
    "PNG by Pillow": lambda: _saved(Image.fromarray(RAMP), "PNG"),
    "TIFF": lambda: tiff(RAMP),
    "big-endian TIFF": lambda: tiff(RAMP, byteorder=">"),
    "LZW with predictor": lambda: tiff(RAMP, compression="lzw", predictor=True),
    "npy": lambda: npy(RAMP),
    "Fortran npy": lambda: npy(np.asfortranarray(RAMP)),
    "PGM": lambda: b"P5\n# a comment\n64 64\n4095\n" + RAMP.astype(">u2").tobytes(),
    "array": lambda: RAMP,
    "tensor": lambda: torch.from_numpy(RAMP.astype(np.int32))[None],
    "Pillow": lambda: Image.fromarray(RAMP),
}


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", RAMPS)
def test_a_ramp_of_twelve_bits_arrives_with_all_its_levels(kind: str) -> None:
    image = read_bands(RAMPS[kind]())
    assert image.shape == (64, 64, 1)
    assert image.dtype == (np.int32 if kind == "tensor" else np.uint16)
    np.testing.assert_array_equal(image[..., 0], RAMP)


FIVES: dict[str, Callable[[], bytes]] = {
    "interleaved": lambda: tiff(FIVE, planarconfig="contig"),
    "planar": lambda: tiff(np.moveaxis(FIVE, -1, 0), planarconfig="separate"),
    "pages": lambda: tiff(np.moveaxis(FIVE, -1, 0)),
    "plain pages": lambda: _paged(np.moveaxis(FIVE, -1, 0)),
    "tiles": lambda: tiff(FIVE, planarconfig="contig", tile=(16, 16), compression="zlib"),
    "strips": lambda: tiff(FIVE, planarconfig="contig", rowsperstrip=3, compression="zstd"),
    "BigTIFF": lambda: tiff(FIVE, planarconfig="contig", bigtiff=True),
    "ImageJ": lambda: tiff(np.moveaxis(FIVE, -1, 0), imagej=True, photometric=None),
    "OME": lambda: tiff(np.moveaxis(FIVE, -1, 0), ome=True, metadata={"axes": "CYX"}),
    "a row a page": lambda: tiff(FIVE),
    "with previews": lambda: _paged([FIVE, FIVE[::2, ::2], FIVE[::4, ::4]], planarconfig="contig"),
    "npy": lambda: npy(FIVE),
}


def _paged(pages: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in pages:
            writer.write(page, photometric="minisblack", metadata=None, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", FIVES)
def test_five_bands_arrive_however_they_are_stored(kind: str) -> None:
    image = read_bands(FIVES[kind]())
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, FIVE)


@pytest.mark.parametrize("kind", ["u1", "u4", "i1", "i2", "f2", "f4", "f8"])
@pytest.mark.parametrize("write", [tiff, npy])
def test_every_type_of_number_stays_what_it_is(kind: str, write: Callable[[np.ndarray], bytes]) -> None:
    array = np.array([[0.5, -7.0], [100.0, 1e3]]).clip(*_bounds(kind)).astype(kind)
    image = read_bands(write(array))
    assert image.dtype == np.dtype(kind)
    np.testing.assert_array_equal(image[..., 0], array)


def _bounds(kind: str) -> tuple[float, float]:
    return (-1e9, 1e9) if kind[0] == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_of_sixteen_bits_keeps_each_channel(channels: int) -> None:
    array = FIVE[..., :channels]
    np.testing.assert_array_equal(read_bands(png(array)), array)
    with pytest.raises(NotAPicture, match="16 bits a channel"):
        read_image(png(array))


def test_eight_bits_can_be_read_band_by_band_too() -> None:
    array = (FIVE[..., :4] >> 8).astype(np.uint8)
    for content in (_saved(Image.fromarray(array), "PNG"), npy(array), tiff(array, planarconfig="contig")):
        image = read_bands(content)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, array)  # the fourth is no transparency here
    photo = _saved(Image.fromarray(array[..., :3]), "JPEG")
    np.testing.assert_array_equal(read_bands(photo), read_image(photo))


def test_a_numpy_file_of_eight_bits_is_a_picture() -> None:
    array = (FIVE[..., :3] >> 8).astype(np.uint8)
    np.testing.assert_array_equal(read_image(npy(array)), array)
    np.testing.assert_array_equal(read_image(npy(array[..., 0]))[..., 1], array[..., 0])
    for other in (array[..., :2], array.astype(np.float32)):
        with pytest.raises(NotAPicture, match=r"2 channels|float32 values"):
            read_image(npy(other))


@pytest.mark.parametrize("turn", range(1, 9))
def test_images_stand_upright_as_pillow_turns_them(turn: int) -> None:
    array = np.arange(12, dtype=np.uint16).reshape(3, 4)
    exif = Image.Exif()
    exif[0x0112] = turn
    from PIL import ImageOps

    image = Image.fromarray(array)
    image.getexif()[0x0112] = turn
    expected = np.asarray(ImageOps.exif_transpose(image))
    tag = (274, 3, 1, turn, True)
    assert read_bands(tiff(array, extratags=[tag]))[..., 0].tolist() == expected.tolist()
    assert read_bands(_saved(Image.fromarray(array), "PNG", exif=exif))[..., 0].tolist() == expected.tolist()
    assert read_bands(image)[..., 0].tolist() == expected.tolist()


def test_a_picture_that_pillow_would_shorten_is_refused_when_it_opened_it() -> None:
    with (
        Image.open(io.BytesIO(png(FIVE[..., :3]))) as opened,
        pytest.raises(ImageError, match="give the file's path"),
    ):
        read_bands(opened)


@pytest.mark.parametrize("kind", [*RAMPS, *FIVES])
def test_a_file_cut_short_is_an_error_wherever_it_was_cut(kind: str) -> None:
    content = (RAMPS | FIVES)[kind]()
    if not isinstance(content, bytes):
        return
    whole = read_bands(content)
    for cut in (10, 90, len(content) // 3, len(content) // 2):
        with pytest.raises(ImageError) as caught:
            read_bands(content[:cut])
        assert "\n" not in str(caught.value)
    for cut in (len(content) - 300, len(content) - 1):
        with suppress(ImageError):  # what stands behind the values may go: a checksum, a description
            np.testing.assert_array_equal(read_bands(content[:cut]), whole)


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def _header(shape: str, kind: str = "'<u2'", padding: int = 0) -> bytes:
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117 + padding) + "\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode()


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "pickle": (lambda: npy(np.array([Evil(), Evil()], object)), "pickled objects"),
    "bare pickle": (lambda: pickle.dumps(Evil()), "not an image"),
    "structured": (lambda: npy(np.zeros((3, 3), [("a", "u2"), ("b", "u2")])), "type"),
    "text": (lambda: npy(np.array([["a", "b"]])), "type <U1"),
    "complex": (lambda: npy(np.zeros((3, 3), complex)), "type complex128"),
    "bool": (lambda: npy(np.zeros((3, 3), bool)), "type bool"),
    "a vector": (lambda: npy(np.zeros(9)), "is not one image"),
    "a stack of images": (lambda: npy(np.zeros((2, 3, 4, 5))), "is not one image"),
    "channels first": (lambda: npy(np.zeros((5, 40, 30), np.uint16)), r"channels first.*moveaxis"),
    "no pixels": (lambda: npy(np.zeros((0, 4), np.uint16)), "is not one image"),
    "huge npy": (lambda: _header("(20000, 20000)"), "178,956,970 pixels"),
    "huge bands": (lambda: _header("(10000, 10000, 50)"), "2,147,483,648 bytes"),
    "shorter than it says": (lambda: _header("(1000, 1000)") + b"12", "truncated"),
    "a negative side": (lambda: _header("(-5, 5)"), "damaged|not one image|truncated"),
    "a shape that is no shape": (lambda: _header("(1e3, 5)"), "damaged"),
    "a header that is a program": (lambda: _header("print(1)"), "damaged"),
    "an open bracket": (lambda: _header("(3, (4"), "damaged"),
    "version 9": (lambda: b"\x93NUMPY\x09\0" + b" " * 200, "version"),
    "NaN": (lambda: npy(np.array([[0.0, np.nan]])), "NaN or infinity"),
    "infinity": (lambda: tiff(np.array([[0.0, np.inf]], np.float32)), "NaN or infinity"),
    "huge TIFF": (lambda: _claimed_tiff(20000, 20000), "178,956,970 pixels"),
    "a TIFF of little": (lambda: _claimed_tiff(13000, 12000), "says to hold 312,000,000"),
    "huge PNG": (lambda: _claimed_png(20000, 20000), "178,956,970 pixels"),
    "huge PGM": (lambda: b"P5 20000 20000 4095\n", "178,956,970 pixels"),
    "a deep PGM in letters": (lambda: b"P2 2 1 4095\n7 4000\n", "save it as PNG, TIFF or .npy"),
    "deep PGM": (lambda: b"P5 2 2 70000\n" + bytes(8), "65535"),
    "a TIFF of nothing": (lambda: b"II*\0\x08\0\0\0", "TIFF file is"),
    "a TIFF in circles": (lambda: b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "TIFF file is"),
    "damage": (lambda: _damaged(tiff(FIVE, compression="zlib", planarconfig="contig")), "TIFF file is"),
    "a stack in Python": (lambda: np.zeros((2, 3, 4, 5)), "is not one image"),
    "NaN in Python": (lambda: torch.full((1, 2, 2), float("nan")), "NaN or infinity"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_image_of_numbers_says_why(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, text = BAD[kind]
    with pytest.raises(ImageError, match=text) as caught:
        read_bands(make())
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")  # nothing ran, and the libraries say nothing of their own


def _claimed_tiff(height: int, width: int) -> bytes:
    """A small TIFF whose tags claim a size."""
    content = bytearray(tiff(RAMP))
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as opened:
        for tag, value in ((256, width), (257, height)):
            content[(place := opened.pages[0].tags[tag].valueoffset) : place + 2] = struct.pack("<H", value)
    return bytes(content)


def _claimed_png(height: int, width: int) -> bytes:
    content = bytearray(png(RAMP[..., None]))
    content[16:24] = struct.pack(">II", width, height)
    return bytes(content)


def _damaged(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes(40) + content[len(content) // 2 + 40 :]
