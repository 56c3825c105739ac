"""Are features the same whatever computes them, and is it said when they are not?"""

import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitral.data import LabelledImages, open_data
from vitral.device import choose
from vitral.errors import UsageError
from vitral.images import Preprocessing
from vitral.inference import graphs
from vitral.inference.deployed import Deployed
from vitral.inference.description import Description
from vitral.inference.forward import sized
from vitral.inference.networks import choose_compute
from vitral.model import VisionTransformer
from vitral.model.encoder import ACTIVATIONS
from vitral.transfer import Backbone, Extraction, ProbeRecipe, make_backbone, poolings
from vitral.weights import read_checkpoint

SEEN_AS = Preprocessing((16, 24))
NETWORKS: dict[str, dict[str, Any]] = {
    "class token": {},
    "registers": {"registers": 3, "layer_scale": 0.5},
    "distilled": {"distillation_token": True, "pool": "distilled"},
    "attention": {"class_token": False, "pool": "attention"},
    "the norm after the pooling": {"norm_after_pool": True},
    "rotary": {"position_embedding": "rope", "registers": 2},
    "merged tokens": {"image_size": (32, 40), "merge": 3},
    "five bands": {"channels": 5},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], LabelledImages]:
    """`images(channels)`: twelve images of noise, of two classes."""

    def make(channels: int = 3) -> LabelledImages:
        folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
        for index in range(12):
            place = folder / ("even", "odd")[index % 2]
            place.mkdir(exist_ok=True)
            np.save(place / f"{index}.npy", random.integers(0, 256, (34, 42, channels), np.uint8))
        return open_data(str(folder))

    return make


def by(model: VisionTransformer, seen: Preprocessing, *asked: str) -> Backbone:
    """The network with what was asked for: backend, device, precision."""
    choice, compute = choose_compute(*asked)
    return make_backbone(model, seen, compute, choice)


def features(backbone: Backbone, data: LabelledImages, *layers: int, mirrored: bool = False) -> np.ndarray:
    extraction = Extraction(backbone, data, data.samples, layers, mirrored=mirrored)
    extraction.run()
    return np.concatenate(list(extraction.values.values()), axis=1)


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a share of the largest number."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.fixture
def forget(extras: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Nothing is kept from here on."""
    caches = (extras.parent / f"cache {number}" for number in range(100))
    return lambda: monkeypatch.setenv("VITRAL_CACHE", str(next(caches)))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("backend", ["openvino", pytest.param("onnx", marks=pytest.mark.slow)])
def test_features_are_those_of_torch(
    network: str, backend: str, small: Any, lively: Any, images: Any, forget: Callable[[], None]
) -> None:
    model = lively(small(**NETWORKS[network]))
    seen = Preprocessing(model.config.image_size, fit="stretch")
    if model.config.channels == 5:
        seen = replace(seen, channels=5, mean=(0.4,) * 5, std=(0.3,) * 5, dtype="uint8", range=(0.0, 255.0))
    data = images(model.config.channels)
    for mirrored in (False, True):
        expected = features(by(model, seen, "torch", "cpu", "fp32"), data, 0, 2, mirrored=mirrored)
        forget()
        fast = by(model, seen, backend, "auto", "fp32")
        found = features(fast, data, 0, 2, mirrored=mirrored)
        forget()
        assert (fast.choice.backend, fast.compute.precision) == (backend, "fp32")
        assert found.dtype == np.float32
        assert not np.array_equal(found, expected)
        assert apart(found, expected) < 1e-4


@pytest.mark.slow
def test_a_pretrained_network_gives_the_same_features(
    dinov2_small: Path, shared: Path, forget: Callable[[], None]
) -> None:
    model, seen = sized(read_checkpoint(dinov2_small), 112)
    seen = replace(seen, crop_share=1.0)
    data = open_data(str(shared / "data" / "food-vision-mini"))
    samples = data.split("test")[::3]
    found = {}
    for asked in (("torch", "cpu", "fp32"), ("auto", "cpu", "fp32"), ("auto", "cpu", "int8")):
        extraction = Extraction(by(copy.deepcopy(model), seen, *asked), data, samples, range(6, 12))
        extraction.run()
        found[asked] = [extraction.pooled(pooling) for pooling in poolings(model.config, ProbeRecipe())]
        assert extraction.backbone.choice.backend == ("torch" if asked[0] == "torch" else "openvino")
        forget()
    exact, fast, rounded = found.values()
    for right, one, other in zip(exact, fast, rounded, strict=True):
        assert apart(one, right) < 1e-4
        assert 1e-4 < apart(other, right) < 0.1


def test_what_is_kept_of_one_backend_in_fp32_is_good_for_another(
    small: Any, lively: Any, images: Any, extras: Path
) -> None:
    data = images()
    first = features(by(lively(small()), SEEN_AS, "openvino", "auto", "fp32"), data, 1, 2)
    slow = by(lively(small()), SEEN_AS, "torch", "cpu", "fp32")
    again = Extraction(slow, data, data.samples, [1, 2])
    assert again.missing == []
    np.testing.assert_array_equal(np.concatenate([again.values[1], again.values[2]], axis=1), first)


def test_int8_has_features_of_its_own_and_is_taken_only_when_asked_for(
    small: Any, lively: Any, images: Any, extras: Path
) -> None:
    data, model = images(), lively(small(dim=64, mlp_dim=128))
    rounded = by(model, SEEN_AS, "auto", "auto", "int8")
    assert (rounded.choice.backend, rounded.compute.precision) == ("openvino", "int8")
    values = features(rounded, data, 1, 2)
    for asked in (("auto",), ("openvino",), ("auto", "cpu", "fp32"), ("auto", "cpu", "bf16")):
        exact = by(model, SEEN_AS, *asked)
        assert exact.compute.precision in ("fp32", "bf16")
        assert exact.key != rounded.key
        assert len(Extraction(exact, data, data.samples, [1, 2]).missing) == 12
    exact = by(model, SEEN_AS, "auto", "auto", "fp32")
    assert 1e-4 < apart(values, features(exact, data, 1, 2)) < 0.1
    assert Extraction(by(model, SEEN_AS, "auto", "auto", "int8"), data, data.samples, [1, 2]).missing == []


@pytest.mark.parametrize("package", ["openvino", "nncf"])
def test_another_version_of_what_rounds_makes_other_features(
    package: str, small: Any, lively: Any, extras: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = lively(small(dim=64, mlp_dim=128))
    before = [by(model, SEEN_AS, "auto", "cpu", precision).key for precision in ("int8", "fp32")]
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == package else version(name))
    after = [by(model, SEEN_AS, "auto", "cpu", precision).key for precision in ("int8", "fp32")]
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_a_network_is_prepared_when_a_feature_is_missing_and_once(
    small: Any, lively: Any, images: Any, extras: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(network: Deployed, description: Description) -> Any:
        made.append(description.precision)
        return to_openvino(network, description)

    to_openvino = graphs.to_openvino
    monkeypatch.setitem(graphs.GRAPHS, "openvino", counted)
    data, model = images(), lively(small())
    features(by(model, SEEN_AS), data, 1, 2)
    features(by(model, SEEN_AS), data, 1, 2)
    features(by(model, SEEN_AS), data, 1, 2, mirrored=True)
    assert len(made) == 1


class Unknown(torch.nn.Module):
    """An operation that no runtime has."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(tokens.float()).to(tokens.dtype)


def test_auto_computes_by_torch_what_openvino_cannot_take(
    small: Any,
    lively: Any,
    images: Any,
    extras: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(ACTIVATIONS, "gelu", Unknown)
    data, model = images(), lively(small())
    backbone = by(model, SEEN_AS, "auto", "cpu", "fp32")
    assert backbone.choice.backend == "openvino"
    found = features(backbone, data, 2)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("computed by torch: openvino cannot take the network (")
    assert backbone.choice.backend == "torch"
    assert backbone.choice.reason.startswith("openvino cannot take the network (")
    exact = backbone.model.forward_intermediates(
        torch.from_numpy(
            np.stack([SEEN_AS.normalise(SEEN_AS.fit_image(data.read(s))) for s in data.samples])
        ),
        [2],
        norm=True,
    )
    np.testing.assert_allclose(found[:, :32], exact[0][0][:, 0].detach().numpy(), atol=1e-5)
    for asked in (("openvino",), ("auto", "cpu", "int8")):
        with pytest.raises(
            UsageError, match=r"openvino cannot take the network .*: leave out --(backend|prec)"
        ):
            features(by(model, SEEN_AS, *asked), data, 1)


def test_what_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    for asked in (("openvino",), ("auto", "auto", "int8")):
        with pytest.raises(UsageError, match=r"pip install 'vitral\[fast\]'$"):
            choose_compute(*asked)
    choice, compute = choose_compute("auto", "cpu")
    assert (choice.backend, compute) == ("torch", choose("cpu"))
