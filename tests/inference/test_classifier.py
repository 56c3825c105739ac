"""From any kind of image to an answer."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitral.data.loader import Batch
from vitral.errors import ImageError, UsageError
from vitral.images import Preprocessing
from vitral.inference import Classifier, Prediction, probabilities
from vitral.model import VisionTransformer, ViTConfig
from vitral.weights import Checkpoint, write_checkpoint

CLASSES = ("pizza", "steak", "sushi", "salad", "soup", "tart")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=16, patch_size=4, layers=2, dim=32, mlp_dim=64, heads=2, num_classes=6, dropout=0.3
    )
    model = VisionTransformer(config)
    torch.nn.init.normal_(model.head.weight)
    write_checkpoint(
        tmp_path / "run", Checkpoint(config, Preprocessing(size=(16, 16)), CLASSES, model.state_dict())
    )
    return tmp_path / "run"


@pytest.fixture
def classifier(folder: Path) -> Classifier:
    return Classifier.load(folder, device="cpu", precision="fp32")


def picture(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    picture(1).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


KINDS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "text": str,
    "bytes": Path.read_bytes,
    "file": lambda path: BytesIO(path.read_bytes()),
    "picture": Image.open,
    "array": lambda path: np.array(Image.open(path)),
    "tensor": lambda path: torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1),
    "tensor of 0 to 1": lambda path: torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_gives_the_same_answer(classifier: Classifier, photo: Path, kind: str) -> None:
    answer = classifier.predict(KINDS[kind](photo))
    inputs = torch.from_numpy(classifier.preprocessing(photo))[None]
    with torch.no_grad():
        expected = torch.softmax(classifier.model(inputs)[0], dim=0)
    np.testing.assert_allclose(answer.probabilities, expected.numpy(), atol=1e-6)
    assert answer.label == CLASSES[int(expected.argmax())]
    assert answer.probability == pytest.approx(float(expected.max()), abs=1e-6)
    assert answer.path == (str(photo) if kind in ("path", "text") else None)


def test_a_list_in_a_list_out(classifier: Classifier) -> None:
    pictures = [picture(number) for number in range(70)]  # more than two batches
    answers = classifier.predict(pictures)
    assert len(answers) == 70
    for number in (0, 31, 32, 69):
        np.testing.assert_allclose(
            answers[number].probabilities, classifier.predict(pictures[number]).probabilities, atol=1e-6
        )
    assert classifier.predict([]) == []
    assert isinstance(classifier.predict([pictures[0]]), list)


def test_the_best_come_first() -> None:
    answer = Prediction(CLASSES, np.array([0.1, 0.3, 0.05, 0.3, 0.2, 0.05], np.float32))
    assert answer.label == "steak"
    assert answer.probability == pytest.approx(0.3)
    assert [name for name, _ in answer.top()] == ["steak", "salad", "soup", "pizza", "sushi"]
    assert answer.top(1) == [("steak", pytest.approx(0.3))]
    assert len(answer.top(100)) == 6
    assert all(isinstance(probability, float) for _, probability in answer.top())


def test_several_labels_are_those_that_reach_their_thresholds() -> None:
    values = np.array([0.6, 0.4, 0.05, 0.9, 0.2, 0.05], np.float32)
    answer = Prediction(CLASSES, values, None, (0.7, 0.4, 0.5, 0.5, 0.1, 0.5))
    assert answer.labels == (CLASSES[1], CLASSES[3], CLASSES[4])
    assert answer.label == "|".join(answer.labels)
    assert answer.probability == pytest.approx(0.2)  # of the least certain answer, yes to the fifth
    assert answer.top(2) == [(CLASSES[3], pytest.approx(0.9)), (CLASSES[0], pytest.approx(0.6))]
    none = Prediction(CLASSES, values, None, (1.0,) * 6)
    assert (none.labels, none.label) == ((), "")
    assert none.probability == pytest.approx(0.1)  # no to the fourth
    one = Prediction(CLASSES, values)
    assert (one.labels, one.label) == ((CLASSES[3],), CLASSES[3])


def test_a_multi_label_classifier_asks_each_class_apart(classifier: Classifier) -> None:
    names = classifier.class_names
    made_of = classifier.model, classifier.preprocessing, names, classifier.compute
    several = Classifier.of(*made_of, thresholds=(0.5,) * len(names))
    pictures = [np.asarray(picture(number)) for number in range(3)]
    pixels = np.stack([classifier.preprocessing.fit_image(one) for one in pictures])
    images = torch.from_numpy(np.stack([classifier.preprocessing(one) for one in pictures]))
    with torch.inference_mode():
        expected = torch.sigmoid(classifier.model(images.to(classifier.compute.dtype)).float())
    assert several.probabilities(pixels) == pytest.approx(expected.numpy(), abs=1e-5)
    assert several.multi_label
    assert not classifier.multi_label
    for answer in several.predict(pictures):
        assert answer.thresholds == several.thresholds


def test_bad_images_are_answered_one_by_one(classifier: Classifier, photo: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(photo.read_bytes()[:60])
    asked = [photo, bad, tmp_path / "missing.png", b"", np.zeros((3, 4, 5, 6), np.uint8), photo]
    answers = list(classifier.predict_each(asked))
    assert [isinstance(answer, ImageError) for answer in answers] == [False, True, True, True, True, False]
    good = [answer.probabilities for answer in answers if isinstance(answer, Prediction)]
    assert np.array_equal(good[0], good[1])
    assert all("\n" not in str(answer) for answer in answers if isinstance(answer, ImageError))
    assert all(isinstance(answer, ImageError) for answer in classifier.predict_each([bad] * 3))


def test_predict_names_the_bad_file(classifier: Classifier, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"missing\.png"):
        classifier.predict([photo, tmp_path / "missing.png"])
    with pytest.raises(ImageError):
        classifier.predict(b"nothing")


def test_bf16_is_close_to_fp32(folder: Path, classifier: Classifier) -> None:
    half = Classifier.load(folder, device="cpu", precision="bf16")
    assert (half.precision, classifier.precision, half.backend) == ("bf16", "fp32", "torch")
    pictures = [picture(number) for number in range(20)]
    for a, b in zip(half.predict(pictures), classifier.predict(pictures), strict=True):
        assert a.probabilities.dtype == np.float32
        assert a.probabilities.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=0.05)


def test_a_grey_model_takes_colour_pictures(tmp_path: Path) -> None:
    config = ViTConfig(
        image_size=16, patch_size=4, channels=1, layers=1, dim=16, mlp_dim=16, heads=2, num_classes=6
    )
    preprocessing = Preprocessing(size=(16, 16), channels=1, mean=(0.5,), std=(0.5,))
    write_checkpoint(
        tmp_path, Checkpoint(config, preprocessing, CLASSES, VisionTransformer(config).state_dict())
    )
    classifier = Classifier.load(tmp_path, device="cpu", precision="fp32")
    colour, grey = classifier.predict([picture(3), picture(3).convert("L")])
    assert np.array_equal(colour.probabilities, grey.probabilities)


def test_what_has_no_classifier_is_refused(tmp_path: Path) -> None:
    config = ViTConfig(image_size=16, patch_size=4, layers=1, dim=16, mlp_dim=16, heads=2, num_classes=0)
    checkpoint = Checkpoint(config, Preprocessing(size=(16, 16)), (), VisionTransformer(config).state_dict())
    write_checkpoint(tmp_path, checkpoint)
    with pytest.raises(UsageError, match=r"no classifier.*--from"):
        Classifier.load(tmp_path)


def test_a_network_is_asked_in_evaluation_mode_and_put_back(classifier: Classifier) -> None:
    images = torch.randint(0, 256, (10, 3, 16, 16), dtype=torch.uint8)
    batches = [Batch(images[:6], torch.zeros(6)), Batch(images[6:], torch.zeros(4))]
    model = classifier.model
    expected = np.stack([answer.probabilities for answer in classifier.predict(list(images))])
    model.train()
    answers = probabilities(model, batches, classifier.preprocessing, classifier.compute)
    assert model.training
    np.testing.assert_allclose(answers, expected, atol=1e-6)  # dropout would show
    model.eval()
    probabilities(model, batches, classifier.preprocessing, classifier.compute)
    assert not model.training
