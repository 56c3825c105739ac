"""DATA that are no 8-bit pictures: of one kind, split by content, with the values that they have."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import vitral.data.scan
import vitral.data.statistics
from vitral.data import LabelledImages, open_data
from vitral.data.augment import Augmentation
from vitral.data.loader import TrainingBatches, evaluation_batches
from vitral.data.statistics import statistics
from vitral.errors import DataError, ImageError
from vitral.images import Preprocessing


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def scene(number: int, size: tuple[int, int] = (80, 96), bands: int = 5) -> np.ndarray:
    """An image like no other, 12 bits in uint16 (height, width, bands); coarse, so that it survives resizing."""
    coarse = np.random.default_rng(number).integers(100, 4000, (6, 8, bands)).astype(np.float32)
    planes = [Image.fromarray(coarse[..., band]).resize(size[::-1]) for band in range(bands)]
    return np.rint(np.stack(planes, axis=-1)).clip(0, 4095).astype(np.uint16)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".png":
        Image.fromarray(array).save(path)
    else:
        tifffile.imwrite(path, array, photometric="minisblack", planarconfig="contig")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty-four images of five bands in two classes, half of them TIFF and half of them .npy."""
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "cache"))
    for number in range(24):
        save(
            tmp_path / "data" / "ab"[number % 2] / f"{number}.{('tif', 'npy')[number // 2 % 2]}",
            scene(number),
        )
    return tmp_path / "data"


def test_images_are_what_their_files_hold(folder: Path) -> None:
    data = open_data(folder)
    assert (data.channels, data.dtype, data.bad_files) == (5, "uint16", ())
    assert {name for split in data.counts().values() for name in split} == {"a", "b"}
    for sample in data.samples:
        file = folder / sample.path
        expected = np.load(file) if file.suffix == ".npy" else tifffile.imread(file)
        np.testing.assert_array_equal(data.read(sample), expected)
        assert sample.hash == hashlib.sha256(file.read_bytes()).hexdigest()


def test_files_of_another_kind_are_bad_files_and_say_what_they_hold(folder: Path) -> None:
    save(folder / "a/four.tif", scene(90, bands=4))
    save(folder / "b/deep.npy", scene(91).astype(np.float32))
    data = open_data(folder)
    reasons = {bad.path: bad.reason for bad in data.bad_files}
    assert reasons == {
        "a/four.tif": "it has 4 channels of uint16, and most images of DATA are 5 channels of uint16: "
        "convert it, or leave it out",
        "b/deep.npy": "it has 5 channels of float32, and most images of DATA are 5 channels of uint16: "
        "convert it, or leave it out",
    }
    with pytest.raises(DataError, match="2 bad files"):
        open_data(folder, strict=True)
    for number in range(4):
        save(folder / f"a/more{number}.tif", scene(90, bands=4))
    with pytest.raises(DataError, match="6 of 30 files are bad"):
        open_data(folder)


def test_a_deep_image_among_photographs_is_a_bad_file(tmp_path: Path, write: Callable[..., Path]) -> None:
    for number in range(20):
        write(f"data/{'ab'[number % 2]}/{number}.png", number)
    save(tmp_path / "data/a/deep.png", scene(0, bands=1)[..., 0])
    data = open_data(tmp_path / "data")
    assert (data.channels, data.dtype) == (3, None)
    (bad,) = data.bad_files
    assert bad.path == "a/deep.png"
    assert bad.reason.startswith("it has 1 channel of uint16, and most images of DATA are 8-bit pictures")


def test_arrays_beside_photographs_are_no_images(tmp_path: Path, write: Callable[..., Path]) -> None:
    for number in range(20):
        path = write(f"data/{'ab'[number % 2]}/{number}.png", number)
        np.save(path.with_suffix(".npy"), np.zeros((48, 40), np.uint8))  # its mask
    np.save(tmp_path / "data/labels.npy", np.arange(20))
    data = open_data(tmp_path / "data", strict=True)
    assert len(data.samples) == 20
    assert data.notes[0].startswith("no splits in DATA")


def test_an_identifier_finds_the_photograph_before_the_array(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    for number in range(20):
        path = write(f"{number}.png", number)
        np.save(path.with_suffix(".npy"), np.zeros((48, 40)))
    rows = [f"{number},{'ab'[number % 2]}" for number in range(20)]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *rows]))
    assert open_data(tmp_path / "table.csv", strict=True).dtype is None


def test_eight_bits_are_pictures_unless_bands_are_asked_for(tmp_path: Path) -> None:
    for number in range(16):
        array = (scene(number, bands=4) >> 4).astype(np.uint8)
        save(tmp_path / "data" / "ab"[number % 2] / f"{number}.npy", array)
    pictures, bands = open_data(tmp_path / "data"), open_data(tmp_path / "data", bands=True)
    assert (pictures.channels, pictures.dtype) == (3, None)
    assert (bands.channels, bands.dtype) == (4, "uint8")
    sample = bands.samples[0]
    np.testing.assert_array_equal(bands.read(sample), np.load(tmp_path / "data" / sample.path))
    again = open_data(tmp_path / "data")  # neither is kept for the other
    assert (again.channels, again.dtype, again.digest) == (3, None, pictures.digest)
    assert (open_data("digits", bands=True).dtype, open_data("digits").dtype) == ("uint8", None)


def test_copies_stay_on_one_side_whatever_their_format(folder: Path) -> None:
    for number in range(12):
        file = folder / "ab"[number % 2] / f"{number}"
        save(file.with_name(f"{number}-copy.tif"), scene(number))
        planes = [Image.fromarray(plane.astype(np.float32)) for plane in np.moveaxis(scene(number), -1, 0)]
        small = [plane.resize((72, 60), Image.Resampling.BICUBIC) for plane in planes]
        save(
            file.with_name(f"{number}-small.npy"),
            np.rint(np.stack(small, axis=-1)).clip(0, 4095).astype(np.uint16),
        )
    data = open_data(folder)
    splits: dict[str, set[str]] = {}
    for sample in data.samples:
        number = Path(sample.path).stem.partition("-")[0]
        splits.setdefault(number, set()).add(sample.split)
    assert len(splits) == 24
    assert all(len(sides) == 1 for sides in splits.values())
    assert len({side for sides in splits.values() for side in sides}) == 3
    (note,) = [note for note in data.notes if "near-duplicates" in note]
    assert "12 sets, the largest of 3" in note  # and the others are nobody's near-duplicates


def test_the_same_shapes_at_other_values_are_no_copies(tmp_path: Path) -> None:
    """Measurements differ by their values, so that a signature must not even out brightness."""
    for number in range(12):
        for level in range(2):
            save(tmp_path / "data" / "ab"[level] / f"{number}.tif", scene(number) // (1 + 2 * level))
    assert not any("near-duplicates" in note for note in open_data(tmp_path / "data").notes)


def test_a_second_opening_decodes_nothing_and_finds_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(folder / "b/copy.npy", scene(0))
    first = open_data(folder)
    monkeypatch.setattr(vitral.data.scan, "_look", lambda file: pytest.fail(f"{file} is decoded again"))
    again = open_data(folder)
    assert (again.samples, again.notes, again.channels, again.dtype) == (
        first.samples,
        first.notes,
        first.channels,
        first.dtype,
    )


def test_a_file_that_changed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitral.data.opening.MEMORY", 0)
    data = open_data(folder)
    save(folder / "a/0.tif", scene(0, bands=4))
    (sample,) = [sample for sample in data.samples if sample.path == "a/0.tif"]
    with pytest.raises(ImageError, match=r"^a/0.tif: it holds other values than when DATA was opened"):
        data.read(sample)


def training_values(data: LabelledImages) -> np.ndarray:
    return np.concatenate([data.read(sample).reshape(-1, data.channels) for sample in data.split("train")])


def test_range_mean_and_deviation_are_those_of_the_training_images(folder: Path) -> None:
    data = open_data(folder)
    assert len(data.split("train")) < 24
    values = training_values(data).astype(np.float64)
    low, high = np.percentile(values, [0.5, 99.5])
    counted: list[tuple[int, int]] = []
    found = statistics(data, progress=lambda done, total: counted.append((done, total)))
    assert found.range == (low, high)
    scaled = (values - low) / (high - low)
    np.testing.assert_allclose(found.mean, scaled.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, scaled.std(axis=0), rtol=1e-12)
    assert counted[-1] == (len(data.split("train")),) * 2
    asked = statistics(data, (0.0, 4095.0))
    assert asked.range == (0.0, 4095.0)
    np.testing.assert_allclose(asked.mean, values.mean(axis=0) / 4095, rtol=1e-12)


def test_percentiles_of_more_values_than_are_kept_are_near(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_data(folder)
    exact = statistics(data)
    monkeypatch.setattr(vitral.data.statistics, "SAMPLED", 20_000)
    sampled = statistics(data)
    values = training_values(data)
    below = [float((values < edge).mean()) for edge in sampled.range]
    assert below == pytest.approx([0.005, 0.995], abs=0.002)
    assert sampled != exact
    assert sampled == statistics(data)  # the same each time


def test_large_offsets_and_channels_that_never_change(tmp_path: Path) -> None:
    for number in range(16):
        array = scene(number, bands=2).astype(np.float64) * 1e-3 + 1e9
        array[..., 1] = 7.5
        save(tmp_path / "data" / "ab"[number % 2] / f"{number}.npy", array)
    data = open_data(tmp_path / "data")
    found = statistics(data, (1e9, 1e9 + 4))
    values = (training_values(data) - 1e9) / 4
    assert found.mean[0] == pytest.approx(values[:, 0].mean(), rel=1e-6)
    assert found.std == (pytest.approx(values[:, 0].std(), rel=1e-6), 1.0)


def test_values_that_are_nearly_all_the_same_need_a_range(tmp_path: Path) -> None:
    for number in range(16):
        array = np.zeros((40, 48), np.uint16)
        array[number, 3] = 900 + number
        save(tmp_path / "data" / "ab"[number % 2] / f"{number}.npy", array)
    data = open_data(tmp_path / "data")
    with pytest.raises(DataError, match=r"percentiles .* are both 0: say with --range LOW,HIGH"):
        statistics(data)
    assert statistics(data, (0.0, 1000.0)).range == (0.0, 1000.0)


EVERYTHING = Augmentation(random_crop=0.3, flip="both", random_erasing=0.5)


def seen(data: LabelledImages, **changes: Any) -> Preprocessing:
    found = statistics(data)
    return Preprocessing(
        (24, 20), channels=5, dtype="uint16", range=found.range, mean=found.mean, std=found.std, **changes
    )


def test_batches_hold_the_values_and_no_worker_changes_them(folder: Path) -> None:
    data = open_data(folder)
    preprocessing = seen(data)
    batches = TrainingBatches(data, preprocessing, EVERYTHING, 5, 2, 0)
    mine, theirs = list(batches.stream()), list(replace(batches, workers=1).stream())
    for one, other in zip(mine, theirs, strict=True):
        assert one.images.dtype == torch.float32
        assert one.images.shape[1:] == (5, 24, 20)
        assert torch.equal(one.images, other.images)
    evaluated = list(evaluation_batches(data, data.samples, preprocessing, 7))
    images = torch.cat([batch.images for batch in evaluated]).numpy()
    for image, sample in zip(images, data.samples, strict=True):
        expected = preprocessing(folder / sample.path)
        mean, std = (np.array(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
        np.testing.assert_allclose((image - mean) / std, expected, atol=1e-5)


def test_a_random_crop_keeps_levels_that_eight_bits_would_lose(tmp_path: Path) -> None:
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for number in range(8):
        save(tmp_path / "data/train" / "ab"[number % 2] / f"{number}.npy", ramp + np.uint16(number))
        save(tmp_path / "data/test" / "ab"[number % 2] / f"{number}.npy", ramp + np.uint16(50 + number))
    data = open_data(tmp_path / "data")
    found = statistics(data, (1500.0, 2500.0))
    preprocessing = Preprocessing(
        (32, 32), channels=1, dtype="uint16", range=found.range, mean=found.mean, std=found.std
    )
    (batch,) = TrainingBatches(
        data, preprocessing, Augmentation(random_crop=0.3, flip="both"), 8, 1, 0
    ).stream()
    assert all(len(image.unique()) == 1024 for image in batch.images)  # each pixel its own, as in the image
    assert batch.images.min() < 0  # below the range, and above it, and not clipped
    assert batch.images.max() > 1
