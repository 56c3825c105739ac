"""Whatever runs a network gives the network's own answers; what it cannot run, it says so."""

import copy
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitral.errors import UsageError, WeightsError
from vitral.inference import Classifier, Embedder, graphs
from vitral.inference.backends import Choice, choose_backend, interface
from vitral.inference.backends import openvino as openvino_backend
from vitral.inference.deployed import Deployed
from vitral.inference.description import Description
from vitral.language import said_in
from vitral.model.encoder import ACTIVATIONS
from vitral.weights import load_model

MakeFolder = Callable[..., Path]

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "class token": {},
    "average": {"pool": "average", "class_token": False},
    "token and average, features of two layers": {"pool": "token_average", "feature_layers": 2},
    "attention pooling": {"pool": "attention", "class_token": False},
    "distilled": {"distillation_token": True, "pool": "distilled"},
    "registers": {"registers": 3},
    "rotary": {"position_embedding": "rope", "registers": 2},
    "rotary, of its own grid": {"position_embedding": "learned_rope", "rope_grid": (4, 5)},
    "no positions, fixed positions": {"position_embedding": "sincos_2d", "pool": "average", "class_token": False},
    "SwiGLU, layer scale": {"gated_mlp": True, "activation": "silu", "layer_scale": 0.1},
    "norms in attention and MLP": {"norm_in_attention": True, "norm_in_mlp": True, "gated_mlp": True},
    "norms before and after": {"pre_norm": True, "norm_after_pool": True, "pool": "average"},
    "QuickGELU, no biases": {"activation": "quick_gelu", "qkv_bias": "none", "patch_bias": False},
    "tanh, pre-logits": {"activation": "gelu_tanh", "representation_size": 16, "qkv_bias": "no_key"},
    "hybrid": {"resnet_layers": (1, 1), "patch_size": 1, "image_size": (32, 48), "resnet_form": "timm"},
    "hybrid, the root alone": {"resnet_layers": (), "patch_size": 2, "image_size": (16, 24)},
    "neighbours": {"neighbours": 3, "examples": 11},
    "one channel": {"channels": 1},
    "five bands": {"channels": 5, "seen": {"dtype": "uint16", "range": (90.0, 4000.0)}},
    "several labels": {"thresholds": (0.2, 0.4, 0.5, 0.6, 0.8)},
    "merged tokens": {"image_size": (32, 40), "merge": 3},
}  # fmt: skip
RUNTIMES = {"openvino fp32": 1e-4, "openvino bf16": 2e-2, "openvino int8": 5e-2, "onnx fp32": 1e-4}


def pixels(network: Classifier | Embedder, count: int, seed: int = 0) -> np.ndarray:
    seen, random = network.preprocessing, np.random.default_rng(seed)
    shape = (count, *seen.size, seen.channels)
    return random.random(shape, np.float32) if seen.bands else random.integers(0, 256, shape, np.uint8)


def asked(runtime: str) -> dict[str, str]:
    return dict(zip(("backend", "precision"), runtime.split(), strict=True))


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, extras: Path) -> str:
    return request.param


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_probabilities_are_those_of_the_network(saved: MakeFolder, runtime: str, architecture: str) -> None:
    folder = saved(**ARCHITECTURES[architecture])
    classifier = Classifier.load(folder, **asked(runtime))
    exact = Classifier.load(folder, backend="torch", device="cpu", precision="fp32")
    assert f"{classifier.backend} {classifier.precision} {classifier.device}" == f"{runtime} cpu"
    for count in (1, 2, 7):
        images = pixels(exact, count, seed=count)
        expected = exact.probabilities(images)
        assert np.ptp(expected) > 0.05
        found = classifier.probabilities(images)
        assert found.dtype == np.float32
        close = np.abs(found - expected).max(axis=1) <= RUNTIMES[runtime]
        if architecture == "neighbours" and not runtime.endswith("fp32"):
            assert close.mean() > 0.7  # of some, another example is now the third nearest, and votes
        else:
            assert close.all()


@pytest.mark.parametrize("pool", ["token", "average", "token_average"])
def test_vectors_are_those_of_the_network(saved: MakeFolder, runtime: str, pool: str) -> None:
    folder = saved(registers=2)
    embedder = Embedder.load(folder, pool=pool, **asked(runtime))
    images = pixels(embedder, 3)
    model = load_model(folder)
    with torch.inference_mode():
        seen = [torch.from_numpy(embedder.preprocessing.normalise(one)) for one in images]
        expected = model.pool(model.forward_features(torch.stack(seen)), pool).numpy()
    assert f"{embedder.backend} {embedder.precision}" == runtime
    found = embedder.vectors(images)
    assert found.shape == (3, embedder.dim)
    assert np.abs(found - expected).max() <= RUNTIMES[runtime] * np.abs(expected).max()


def test_another_image_size(saved: MakeFolder, runtime: str) -> None:
    folder = saved()
    classifier = Classifier.load(folder, image_size=(24, 32), **asked(runtime))
    exact = Classifier.load(folder, image_size=(24, 32), backend="torch", device="cpu", precision="fp32")
    images = pixels(exact, 3)
    assert images.shape[1:3] == (24, 32)
    difference = np.abs(classifier.probabilities(images) - exact.probabilities(images)).max()
    assert difference <= RUNTIMES[runtime]


def test_explains_and_embeds_what_torch_does(saved: MakeFolder, runtime: str) -> None:
    folder = saved()
    classifier = Classifier.load(folder, **asked(runtime))
    exact = Classifier.load(folder, backend="torch", device="cpu", precision="fp32")
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert classifier.predict(photo).label == exact.predict(photo).label
    vector, expected = classifier.embed(photo), exact.embed(photo)
    assert np.abs(vector - expected).max() <= RUNTIMES[runtime] * np.abs(expected).max()
    if runtime.endswith("fp32"):
        looked, wanted = classifier.explain(photo), exact.explain(photo)
        assert looked.label == wanted.label
        assert np.allclose(looked.heatmap, wanted.heatmap, atol=1e-5)


@pytest.mark.slow
def test_a_real_network_answers_alike(extras: Path, dinov2_small: Path, shared: Path, tmp_path: Path) -> None:
    """On 500 photographs that it was not taught with."""
    import vitral

    data = shared / "data" / "food-vision-10"
    run = tmp_path / "probe"
    vitral.probe(data, weights=dinov2_small, output=run, image_size=112, device="cpu", progress=False)
    photos = sorted((data / "test").rglob("*.jpg"))
    exact = Classifier.load(run, backend="torch", device="cpu", precision="fp32")
    images = np.stack([exact.preprocessing.fit_image(exact.preprocessing.read(photo)) for photo in photos])
    batches = np.array_split(images, 16)
    expected = np.concatenate([exact.probabilities(batch) for batch in batches])
    for runtime in ("openvino fp32", "openvino bf16"):
        classifier = Classifier.load(run, **asked(runtime))
        found = np.concatenate([classifier.probabilities(batch) for batch in batches])
        same = (found.argmax(axis=1) == expected.argmax(axis=1)).mean()
        difference = np.abs(found - expected).max()
        print(f"{runtime}: {same:.1%} of {len(photos)} the same, largest difference {difference:.2g}")
        assert len(photos) == 500
        assert same >= 0.995
        assert difference <= RUNTIMES["openvino fp32"] or classifier.precision == "bf16"


class Unknown(torch.nn.Module):
    """An operation that no runtime has."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(tokens.float()).to(tokens.dtype)


@pytest.fixture
def unknown(saved: MakeFolder, extras: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of a network that computes what no runtime knows."""
    monkeypatch.setitem(ACTIVATIONS, "gelu", Unknown)
    return saved()


@pytest.fixture
def wrong(saved: MakeFolder, extras: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights whose graphs answer something else: made of them with other positions."""

    def to_wrong(network: Deployed, description: Description) -> Any:
        network = copy.deepcopy(network)
        next(network.model.embedding.position.parameters()).data *= 1.1
        return graphs.to_openvino(network, description)

    monkeypatch.setitem(graphs.GRAPHS, "openvino", to_wrong)
    return saved()


@pytest.mark.parametrize("kind", ["unknown", "wrong"])
@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_auto_computes_with_torch_what_openvino_cannot_take(
    request: pytest.FixtureRequest,
    extras: Path,
    kind: str,
    precision: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = request.getfixturevalue(kind)
    classifier = Classifier.load(folder, precision=precision)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"computed by torch: openvino cannot take {folder} (")
    assert "\n" not in warning
    assert ("answers differ" in warning) == (kind == "wrong")
    assert classifier.backend == "torch"
    assert classifier.reason.startswith(f"openvino cannot take {folder} (")
    assert said_in("pt", classifier.reason).startswith(f"openvino não aceita {folder} (")
    exact = Classifier.load(folder, backend="torch", device="cpu", precision=classifier.precision)
    images = pixels(exact, 3)
    assert np.array_equal(classifier.probabilities(images), exact.probabilities(images))
    assert not list(extras.glob("compiled/*/"))


@pytest.mark.parametrize("kind", ["unknown", "wrong"])
def test_openvino_by_name_refuses_what_it_cannot_take(
    request: pytest.FixtureRequest, extras: Path, kind: str
) -> None:
    folder = request.getfixturevalue(kind)
    with pytest.raises(UsageError, match=r"openvino cannot take .*: leave out --backend openvino$"):
        Classifier.load(folder, backend="openvino")
    with pytest.raises(UsageError, match=r"openvino cannot take .*: leave out --precision int8$"):
        Classifier.load(folder, precision="int8")


def test_what_is_wrong_with_the_weights_is_said_and_not_put_on_openvino(
    saved: MakeFolder, extras: Path
) -> None:
    folder = saved()
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError):
        Classifier.load(folder)
    with pytest.raises(UsageError, match="no weights"):
        Classifier.load(folder / "missing", backend="openvino")


def test_openvino_and_nncf_send_nothing_to_their_makers(saved: MakeFolder, extras: Path) -> None:
    """Where openvino_telemetry is found, both of them report every import and conversion."""
    code = """
import socket, sys
def refuse(*arguments): raise SystemExit("something is sent")
socket.socket.connect = socket.getaddrinfo = refuse
from vitral.inference import Classifier
assert Classifier.load(sys.argv[1], backend="openvino", precision="fp32").backend == "openvino"
import nncf
assert sys.modules["openvino_telemetry"] is None
"""
    home = extras.parent / "home"
    home.mkdir()
    surroundings = {**os.environ, "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code, saved()], env=surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`linux(machine, gpu, installed)`: what the choice is made on."""

    def be(
        machine: str = "x86_64", gpu: bool = False, installed: tuple[str, ...] = ("openvino", "onnx")
    ) -> None:
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(interface, "may_have_gpu", lambda: gpu)
        monkeypatch.setattr(interface, "_installed", lambda backend: backend in installed)

    return be


@pytest.mark.parametrize(
    ("here", "asked_for", "backend", "reason"),
    [
        ({}, {}, "openvino", "the fastest on processors"),
        ({"machine": "AMD64"}, {}, "openvino", "the fastest on processors"),
        ({}, {"precision": "bf16"}, "openvino", "the fastest on processors"),
        ({}, {"precision": "int8"}, "openvino", "int8 is OpenVINO's"),
        ({"gpu": True}, {"precision": "int8"}, "openvino", "int8 is OpenVINO's"),
        ({}, {"device": "cuda:1"}, "torch", "cuda:1 is torch's"),
        ({}, {"precision": "fp16"}, "torch", "fp16 is for GPUs"),
        ({"gpu": True}, {}, "torch", "a GPU may be here"),
        ({"gpu": True}, {"device": "cpu"}, "openvino", "the fastest on processors"),
        ({"machine": "aarch64"}, {}, "torch", "the processor is no x86-64"),
        ({"machine": "aarch64"}, {"backend": "openvino"}, "openvino", "asked for"),
        ({"installed": ("onnx",)}, {}, "torch", "OpenVINO is not installed: pip install 'vitral[fast]'"),
        ({}, {"backend": "torch"}, "torch", "asked for"),
        ({"gpu": True}, {"backend": "onnx"}, "onnx", "asked for"),
        ({}, {"backend": "onnx", "device": "cpu", "precision": "fp32"}, "onnx", "asked for"),
    ],
)
def test_the_choice_and_its_reason(
    linux: Callable[..., None], here: dict[str, Any], asked_for: dict[str, str], backend: str, reason: str
) -> None:
    linux(**here)
    choice = choose_backend(**asked_for)
    assert choice == Choice(backend, reason)
    assert said_in("pt", choice.reason) != reason or backend == "onnx"


CPU = "--backend openvino computes on the processor: leave out --device"
REFUSED = {
    "tensorrt": "no backend is called 'tensorrt': there are auto, torch, openvino, onnx",
    "auto fp8": "no precision is called 'fp8': there are auto, fp32, bf16, fp16, int8",
    "onnx bf16": "--backend onnx has no bf16: choose one of auto, fp32",
    "torch int8": "--backend torch has no int8: choose one of auto, fp32, bf16, fp16",
    "openvino fp16": "--backend openvino has no fp16: choose one of auto, fp32, bf16, int8",
    "openvino auto cuda": f"{CPU} cuda",
    "auto int8 mps": f"{CPU} mps",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_go_together_is_said(linux: Callable[..., None], words: str) -> None:
    linux()
    asked_for = dict(zip(("backend", "precision", "device"), words.split(), strict=False))
    with pytest.raises(UsageError) as error:
        choose_backend(**asked_for)
    assert str(error.value) == REFUSED[words]


@pytest.mark.parametrize(
    ("asked_for", "extra"),
    [({"backend": "openvino"}, "fast"), ({"backend": "onnx"}, "onnx"), ({"precision": "int8"}, "fast")],
)
def test_what_is_not_installed_is_named_with_its_extra(
    linux: Callable[..., None], asked_for: dict[str, str], extra: str
) -> None:
    linux(installed=())
    with pytest.raises(UsageError, match=rf"pip install 'vitral\[{extra}\]'$"):
        choose_backend(**asked_for)


@pytest.mark.parametrize(("speed_up", "precision"), [(1.49, "fp32"), (1.5, "bf16"), (3.0, "bf16")])
def test_auto_precision_is_what_was_measured_once_for_all(
    extras: Path, monkeypatch: pytest.MonkeyPatch, speed_up: float, precision: str
) -> None:
    monkeypatch.setattr(openvino_backend, "_measure_speed_up", lambda: speed_up)
    found, reason = openvino_backend.fastest_precision()
    assert found == precision
    assert ("3.0 times" in reason) == ("3,0 vezes" in said_in("pt", reason)) == (speed_up == 3)
    monkeypatch.setattr(openvino_backend, "_measure_speed_up", pytest.fail)
    assert openvino_backend.fastest_precision()[0] == precision
    (file,) = extras.glob("compiled/machine-*.json")
    for damaged in (
        "",
        "[]",
        "{}",
        '{"bf16_speed_up": "9"}',
        '{"bf16_speed_up": NaN}',
        '{"bf16_speed_up": -1.0}',
    ):
        file.write_text(damaged)
        monkeypatch.setattr(openvino_backend, "_measure_speed_up", lambda: 7.0)
        assert "7.0 times" in openvino_backend.fastest_precision()[1]


def test_the_speed_up_is_a_number_of_this_machine(extras: Path) -> None:
    assert 0.01 < openvino_backend._measure_speed_up() < 100


def test_reasons_are_read_in_portuguese(saved: MakeFolder, extras: Path) -> None:
    folder = saved()
    fast = Classifier.load(folder, precision="bf16")
    assert (fast.backend, fast.reason) == ("openvino", "the fastest on processors; asked for")
    assert said_in("pt", fast.reason) == "o mais rápido em processadores; a pedido"
    slow = Classifier.load(folder, backend="torch", device="cpu", precision="fp32")
    assert said_in("pt", slow.reason) == "a pedido"
    assert Embedder.load(folder, precision="bf16").reason == fast.reason
