"""Networks on a CUDA GPU: the same answers as on the processor, whatever is recorded, halved or compiled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitral
from vitral.images import Preprocessing
from vitral.inference import Classifier, Embedder
from vitral.inference.backends import torch as torch_backend
from vitral.weights import Checkpoint, write_checkpoint

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture
def folder(small: Callable[..., Any], lively: Callable[..., Any], tmp_path: Path) -> Path:
    config = small(image_size=(32, 48))
    names = tuple(f"class {index}" for index in range(config.num_classes))
    checkpoint = Checkpoint(config, Preprocessing((32, 48)), names, lively(config).state_dict())
    write_checkpoint(tmp_path / "weights", checkpoint)
    return tmp_path / "weights"


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.05), ("fp16", 0.01)])
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.filterwarnings("default")  # what torch says of itself while it compiles
def test_recorded_batches_answer_like_the_processor(
    folder: Path, precision: str, tolerance: float, compile: bool
) -> None:
    exact = Classifier.load(folder, device="cpu", precision="fp32")
    classifier = Classifier.load(folder, device="cuda", precision=precision, compile=compile)
    assert (classifier.backend, classifier.precision, classifier.device) == ("torch", precision, "cuda")
    for seed in range(4):  # the first time as it is, then recorded, then replayed
        for count in (1, 7, 32, 2, 3, 5):  # more sizes than are recorded
            images = pixels(count, seed)
            found, expected = classifier.probabilities(images), exact.probabilities(images)
            assert np.abs(found - expected).max() < tolerance
    graphs = classifier.network._graphs  # pyright: ignore
    assert len(graphs) == torch_backend.MOST_GRAPHS
    assert all(graph is not None for graph in graphs.values())


def test_auto_is_the_gpu_in_bf16(folder: Path) -> None:
    classifier = Classifier.load(folder)
    assert (classifier.backend, classifier.precision, classifier.device) == ("torch", "bf16", "cuda:0")
    predictions = classifier.predict(list(pixels(70)))
    assert len(predictions) == 70
    vectors = Embedder.load(folder, precision="fp32").embed(list(pixels(3)))
    np.testing.assert_allclose(
        vectors, Embedder.load(folder, device="cpu", precision="fp32").embed(list(pixels(3))), atol=1e-3
    )


@pytest.mark.parametrize("method", ["gradient", "rollout", "attention"])
@pytest.mark.parametrize(("precision", "similar"), [("fp32", 0.9999), ("bf16", 0.97), ("fp16", 0.999)])
def test_explanations_are_those_of_the_processor(
    folder: Path, method: str, precision: str, similar: float
) -> None:
    image = pixels(1)[0]
    exact = Classifier.load(folder, device="cpu", precision="fp32").explain(image, method, **_target(method))
    found = Classifier.load(folder, device="cuda", precision=precision).explain(
        image, method, **_target(method)
    )
    correlation = np.corrcoef(exact.heatmap.ravel(), found.heatmap.ravel())[0, 1]
    assert correlation > similar


def _target(method: str) -> dict[str, str]:
    return {"target": "class 1"} if method == "gradient" else {}


def test_merged_tokens_are_those_of_the_processor(folder: Path) -> None:
    exact = Classifier.load(folder, device="cpu", precision="fp32", merge=3)
    classifier = Classifier.load(folder, device="cuda", precision="fp32", merge=3)
    for seed in range(3):
        images = pixels(8, seed)
        assert np.abs(classifier.probabilities(images) - exact.probabilities(images)).max() < 1e-3


def test_a_training_on_the_gpu_learns_and_predicts(tmp_path: Path) -> None:
    run = vitral.train(
        "digits", model="vit_mini_patch2_8", output=tmp_path / "run", epochs=4, progress=False, device="cuda"
    )
    assert run.metrics["device"].startswith("cuda")
    losses = [epoch["train_loss"] for epoch in run.epochs]
    assert losses[-1] < losses[0] - 0.02
    assert run.classifier().backend == "torch"
