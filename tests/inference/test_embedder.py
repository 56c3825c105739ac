"""What is an image's vector, and does everything that holds an image give it?"""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitral.errors import ConfigError, ImageError
from vitral.images import Preprocessing
from vitral.inference import Classifier, Embedder
from vitral.inference.stream import in_threads
from vitral.model import VisionTransformer
from vitral.weights import Checkpoint, write_checkpoint


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def saved(small: Callable[..., Any], lively: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """`saved(**changes)`: a checkpoint folder of that network."""

    def make(**changes: Any) -> Path:
        config = small(**changes)
        names = tuple(f"class {index}" for index in range(config.num_classes))
        checkpoint = Checkpoint(config, Preprocessing((16, 24)), names, lively(config).state_dict())
        write_checkpoint(tmp_path / "weights", checkpoint)
        return tmp_path / "weights"

    return make


def picture(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def features(model: VisionTransformer, *pictures: Image.Image) -> torch.Tensor:
    """Tokens after the final norm, `(images, tokens, dim)`."""
    preprocessing = Preprocessing((16, 24))
    with torch.no_grad():
        return model.forward_features(torch.stack([torch.from_numpy(preprocessing(one)) for one in pictures]))


def test_the_head_sees_what_embed_gives(saved: Callable[..., Path]) -> None:
    classifier = Classifier.load(saved(num_classes=5), device="cpu", precision="fp32")
    pictures = [picture(number) for number in range(70)]  # more than two batches
    vectors = classifier.embed(pictures)
    assert vectors.shape == (70, 32)
    assert vectors.dtype == np.float32
    with torch.no_grad():
        answers = classifier.model.head(torch.from_numpy(vectors)).softmax(dim=1).numpy()
    expected = np.stack([one.probabilities for one in classifier.predict(pictures)])
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    np.testing.assert_allclose(classifier.embed(pictures[3]), vectors[3], atol=1e-5)
    assert classifier.embed(pictures[3]).shape == (32,)
    assert classifier.embed([]).shape == (0, 32)


@pytest.mark.parametrize("own", ["token", "average", "token_average", "attention", "distilled"])
def test_the_vector_is_pooled_as_the_network_does_or_as_asked(saved: Callable[..., Path], own: str) -> None:
    folder = saved(num_classes=0, pool=own, distillation_token=own == "distilled", registers=2)
    tokens = features(Embedder.load(folder, device="cpu", precision="fp32").model, picture(1), picture(2))
    first = 4 if own == "distilled" else 3
    patches = tokens[:, first:].mean(dim=1)
    assert tokens.shape[1] == first + 6
    expected = {
        "token": tokens[:, 0],
        "average": patches,
        "token_average": torch.cat([tokens[:, 0], patches], dim=1),
        "distilled": (tokens[:, 0] + tokens[:, 1]) / 2,
    }
    for pool in ("token", "average", "token_average", None):
        embedder = Embedder.load(folder, pool=pool, device="cpu", precision="fp32")
        vectors = embedder.embed([picture(1), picture(2)])
        assert embedder.pooling == (pool or own)
        assert vectors.shape == (2, embedder.dim)
        if embedder.pooling in expected:
            np.testing.assert_allclose(vectors, expected[embedder.pooling], rtol=1e-5, atol=1e-5)


def test_a_norm_after_the_pooling_is_part_of_it(saved: Callable[..., Path]) -> None:
    folder = saved(num_classes=0, pool="average", norm_after_pool=True)
    embedder = Embedder.load(folder, device="cpu", precision="fp32")
    averages = features(embedder.model, picture(1))[:, 1:].mean(dim=1)
    norm = embedder.model.norm
    expected = torch.nn.functional.layer_norm(averages, (32,), norm.weight, norm.bias, norm.eps)[0].detach()
    np.testing.assert_allclose(embedder.embed(picture(1)), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="norm_after_pool"):
        Embedder.load(folder, pool="token_average")


def test_a_pooling_that_the_network_has_not_is_refused(saved: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match='pool "token" needs class_token'):
        Embedder.load(saved(num_classes=0, class_token=False, pool="average"), pool="token")


def test_weights_without_a_classifier_and_another_image_size(saved: Callable[..., Path]) -> None:
    embedder = Embedder.load(saved(num_classes=0), image_size=(32, 24), device="cpu", precision="fp32")
    assert embedder.preprocessing.size == embedder.model.config.image_size == (32, 24)
    assert embedder.embed(picture(1)).shape == (32,)


def test_five_bands_of_twelve_bits_have_a_vector(
    small: Callable[..., Any], lively: Callable[..., Any], tmp_path: Path
) -> None:
    config = small(num_classes=0, channels=5)
    preprocessing = Preprocessing(
        (16, 24), channels=5, mean=(0.5,) * 5, std=(0.25,) * 5, range=(0.0, 4095.0), dtype="uint16"
    )
    write_checkpoint(tmp_path / "w", Checkpoint(config, preprocessing, (), lively(config).state_dict()))
    bands = np.random.default_rng(0).integers(0, 4096, (16, 24, 5), dtype=np.uint16)
    np.save(tmp_path / "bands.npy", bands)
    embedder = Embedder.load(tmp_path / "w", device="cpu", precision="fp32")
    seen = torch.from_numpy((bands / 4095 - 0.5) / 0.25).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        expected = embedder.model.forward_features(seen)[0, 0]
    np.testing.assert_allclose(embedder.embed(tmp_path / "bands.npy"), expected, rtol=1e-4, atol=1e-4)
    half = Embedder.load(tmp_path / "w", device="cpu", precision="bf16").embed(tmp_path / "bands.npy")
    assert half @ expected.numpy() > 0.99 * np.linalg.norm(half) * np.linalg.norm(expected)


KINDS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "text": str,
    "bytes": Path.read_bytes,
    "array": lambda path: np.array(Image.open(path)),
    "tensor": lambda path: torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_gives_the_same_vector(
    saved: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    embedder = Embedder.load(saved(), device="cpu", precision="fp32")
    picture(1).save(tmp_path / "photo.png")
    assert np.array_equal(embedder.embed(KINDS[kind](tmp_path / "photo.png")), embedder.embed(picture(1)))


def test_bad_images_are_answered_in_their_place_and_named(saved: Callable[..., Path], tmp_path: Path) -> None:
    embedder = Embedder.load(saved(), device="cpu", precision="fp32")
    asked = [picture(1), b"", tmp_path / "missing.png", picture(1)]
    answers = list(embedder.embed_each(iter(asked), workers=3))
    assert [isinstance(answer, ImageError) for answer in answers] == [False, True, True, False]
    assert np.array_equal(answers[0], answers[3])
    assert len(list(embedder.embed_each([b""] * 40))) == 40
    with pytest.raises(ImageError, match=r"missing\.png: there is no such file"):
        embedder.embed([picture(1), tmp_path / "missing.png"])


def test_bf16_vectors_are_float32_and_close(saved: Callable[..., Path]) -> None:
    folder = saved()
    exact = Embedder.load(folder, device="cpu", precision="fp32").embed(picture(1))
    half = Embedder.load(folder, device="cpu", precision="bf16")
    assert half.precision == "bf16"
    vector = half.embed(picture(1))
    assert vector.dtype == np.float32
    cosine = exact @ vector / np.linalg.norm(exact) / np.linalg.norm(vector)
    assert 0.99 < cosine < 1 - 1e-9


def test_threads_keep_the_order_and_are_never_far_ahead() -> None:
    taken, given = [], []
    at_once, most, lock = 0, 0, threading.Lock()

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.002 * (number % 5))  # later ones end sooner
        with lock:
            at_once -= 1
        return -number

    for answer in in_threads(work, items(), workers=4, ahead=10):
        given.append(answer)
        assert len(taken) - len(given) <= 10
    assert given == [-number for number in range(100)]
    assert 1 < most <= 4


def test_threads_end_with_whoever_asked() -> None:
    before = threading.active_count()
    answers = in_threads(lambda number: number, iter(range(10**9)), workers=2, ahead=5)
    assert next(answers) == 0
    answers.close()
    assert threading.active_count() == before
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda number: 1 // number, [1, 0, 1], workers=2, ahead=1))
    assert threading.active_count() == before
