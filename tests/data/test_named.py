"""DATA by name: the embedded digits, the tutorial's images, torchvision's sets."""

import functools
import gzip
import http.server
import pickle
import struct
import threading
import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_digits

import vitral.data.sources.food
from vitral.data import open_data
from vitral.errors import DataError, UsageError
from vitral.files import cache_folder


def test_digits_are_scikit_learns():
    data = open_data("digits")
    assert len(data.samples) == 1797
    assert data.class_names == tuple("0123456789")
    assert (data.channels, data.sizes.smallest, data.sizes.largest) == (1, (8, 8), (8, 8))
    images, targets = load_digits(return_X_y=True)
    for sample in data.samples[::100]:
        index = int(sample.path.removeprefix("digits/"))
        assert data.class_names[sample.label] == str(targets[index])
        pixels = data.read(sample)
        assert pixels.dtype == np.uint8
        np.testing.assert_allclose(pixels[..., 0] * (16 / 255), images[index].reshape(8, 8), atol=0.04)


@pytest.fixture
def served(tmp_path, write, monkeypatch):
    """food-vision-mini in small, on a server of this machine; gives the zip."""
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "public" / "pizza_steak_sushi.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(12):
            path = (
                f"{'train' if number < 9 else 'test'}/{('pizza', 'steak', 'sushi')[number % 3]}/{number}.jpg"
            )
            packed.write(write(f"images/{path}", number), path)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(archive.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/{archive.name}"
    monkeypatch.setattr(vitral.data.sources.food, "URL", url)
    yield archive
    server.shutdown()
    thread.join()
    server.server_close()


def counts(data) -> dict[str, int]:
    return {split: sum(classes.values()) for split, classes in data.counts().items()}


def test_food_vision_mini_is_fetched_once(served):
    calls = []
    data = open_data("food-vision-mini", progress=lambda done, total: calls.append((done, total)))
    assert data.class_names == ("pizza", "steak", "sushi")
    assert data.name == "food-vision-mini"
    assert counts(data) == {"train": 9, "test": 3}
    size = served.stat().st_size
    assert (size, size) in calls
    served.unlink()
    assert open_data("food-vision-mini").samples == data.samples


def test_food_vision_mini_may_be_put_there_by_hand(served, monkeypatch):
    monkeypatch.setattr(vitral.data.sources.food, "URL", "http://127.0.0.1:1/nothing.zip")
    with pytest.raises(DataError, match=r"cannot be fetched .*: put pizza_steak_sushi\.zip") as caught:
        open_data("food-vision-mini")
    folder = cache_folder("data") / "food-vision-mini"
    assert str(caught.value).endswith(f"into {folder}")
    assert "\n" not in str(caught.value)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pizza_steak_sushi.zip").write_bytes(served.read_bytes())
    assert counts(open_data("food-vision-mini")) == {"train": 9, "test": 3}


def test_a_zip_that_is_too_big_damaged_or_gone_is_refused_and_leaves_nothing(served, monkeypatch):
    folder = cache_folder("data") / "food-vision-mini"
    monkeypatch.setattr(vitral.data.sources.food, "DOWNLOAD_LIMIT", 1000)
    with pytest.raises(DataError, match="answers with more than"):
        open_data("food-vision-mini")
    assert list(folder.iterdir()) == []
    monkeypatch.undo()


def test_a_zip_cannot_write_outside_its_folder(served, tmp_path):
    folder = cache_folder("data") / "food-vision-mini"
    folder.mkdir(parents=True)
    for name in ("../escaped.txt", "/escaped.txt", "train/../../../escaped.txt", "C:/escaped.txt"):
        with zipfile.ZipFile(folder / "pizza_steak_sushi.zip", "w") as packed:
            packed.writestr(name, "outside")
        with pytest.raises(DataError, match="outside its folder"):
            open_data("food-vision-mini")
    assert not list(tmp_path.rglob("escaped.txt"))
    (folder / "pizza_steak_sushi.zip").write_bytes(served.read_bytes()[:1000])
    with pytest.raises(DataError, match="no complete zip"):
        open_data("food-vision-mini")
    assert [entry.name for entry in folder.iterdir()] == ["pizza_steak_sushi.zip"]


def test_a_missing_zip_on_the_server_says_where_to_put_it(served):
    served.unlink()
    with pytest.raises(DataError, match=r"cannot be fetched \(.*404.*\): put pizza_steak_sushi\.zip"):
        open_data("food-vision-mini")


def idx(array: np.ndarray) -> bytes:
    """MNIST's own file format: two zero bytes, the type, the number of axes, the lengths, the values."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_from_files_that_lie_in_one_folder(tmp_path, packed):
    """As Debian's package brings them, which torchvision alone does not find."""
    rng = np.random.default_rng(0)
    images = {
        "train": rng.integers(0, 256, (60, 28, 28), np.uint8),
        "t10k": rng.integers(0, 256, (20, 28, 28), np.uint8),
    }
    images["t10k"][3] = images["train"][7]  # one test image that is also in train
    labels = {name: np.arange(len(array), dtype=np.uint8) % 10 for name, array in images.items()}
    for name in images:
        for kind, array in (
            (f"{name}-images-idx3-ubyte", images[name]),
            (f"{name}-labels-idx1-ubyte", labels[name]),
        ):
            file = tmp_path / f"{kind}{'.gz' if packed else ''}"
            file.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    data = open_data("torchvision:FashionMNIST", data_root=tmp_path)
    assert data.class_names[:3] == ("T-shirt/top", "Trouser", "Pullover")
    assert (data.name, data.channels) == ("FashionMNIST", 1)
    assert counts(data) == {"train": 60, "test": 19}
    assert [left.path for left in data.left_out] == ["FashionMNIST/test/03"]
    sample = data.split("test")[5]
    index = int(sample.path.rpartition("/")[2])
    np.testing.assert_array_equal(data.read(sample)[..., 0], images["t10k"][index])
    assert sample.label == labels["t10k"][index]
    (tmp_path / f"train-images-idx3-ubyte{'.gz' if packed else ''}").write_bytes(b"damaged")
    if packed:
        with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is damaged"):
            open_data("torchvision:FashionMNIST", data_root=tmp_path)


def test_colour_arrays_in_torchvisions_layouts(tmp_path, monkeypatch):
    """CIFAR-10 files as its authors lay them out: rows of 1,024 red, green and blue values."""
    import torchvision.datasets

    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [f"data_batch_{number}" for number in range(1, 6)]
    for number, name in enumerate([*names, "test_batch"]):
        part = {"data": (rows + number).astype(np.uint8), "labels": list(np.arange(20) % 10)}
        (folder / name).write_bytes(pickle.dumps(part))
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": classes}))
    # The check sums are those of the real files.
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    data = open_data("torchvision:CIFAR10", data_root=tmp_path)
    assert data.class_names == tuple(classes)
    assert data.channels == 3
    sample = data.split("train")[0]
    np.testing.assert_array_equal(data.read(sample), rows[0].reshape(3, 32, 32).transpose(1, 2, 0))


def test_files_of_a_torchvision_set(tmp_path, write):
    """EuroSAT: class folders below its own name, no splits; read as files are."""
    for number in range(12):
        write(f"eurosat/2750/{('Forest', 'River')[number % 2]}/{number}.jpg", number)
    data = open_data("torchvision:EuroSAT", data_root=tmp_path)
    assert data.class_names == ("Forest", "River")
    assert len(data.samples) == 12
    assert not data.splits_given
    assert all(sample.path.startswith("eurosat/2750/") and sample.source for sample in data.samples)


def test_unknown_torchvision_sets_suggest_the_near_ones(tmp_path):
    with pytest.raises(UsageError, match="did you mean FashionMNIST"):
        open_data("torchvision:fashion-mnist")
    for name in ("CocoDetection", "ImageFolder", "os", "", "MovingMNISTT"):
        with pytest.raises(UsageError, match="no image classification set"):
            open_data(f"torchvision:{name}")
    with pytest.raises(DataError, match="no folder"):
        open_data("torchvision:MNIST", data_root=tmp_path / "missing")


def test_without_network_torchvision_names_the_folder(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(DataError, match=r"cannot be fetched .*--data-root") as caught:
        open_data("torchvision:KMNIST", data_root=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
