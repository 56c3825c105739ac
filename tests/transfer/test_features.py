"""Are features what the network's own head would see, computed no more than once, and noticed when they are others?"""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitral.data import open_data
from vitral.device import choose
from vitral.errors import ImageError, UsageError
from vitral.images import Preprocessing
from vitral.inference import Normalise
from vitral.model import VisionTransformer
from vitral.transfer import Extraction, Pooling, ProbeRecipe, make_backbone, poolings
from vitral.transfer import features as features_module

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40)}


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features_module, "BATCH", 4)


def draw(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 40, (18, 26, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for place, split in enumerate(("train", "test")):
        for number, (name, colour) in enumerate(COLOURS.items()):
            for index in range(5):
                draw(
                    tmp_path / "photos" / split / name / f"{index}.png",
                    colour,
                    100 * place + 10 * number + index,
                )
    return tmp_path / "photos"


class Counting:
    """A network that counts the images that go through it."""

    def __init__(self, model: VisionTransformer) -> None:
        self.model, self.images = model, 0
        before = model.embed

        def embed(images: torch.Tensor) -> torch.Tensor:
            self.images += len(images)
            return before(images)

        model.embed = embed  # type: ignore[method-assign]


def seen(
    model: VisionTransformer,
    photos: Path,
    preprocessing: Preprocessing,
    precision: str = "fp32",
    **changes: Any,
) -> int:
    """How many images go through the network until the features of all photographs are there."""
    backbone = make_backbone(model, preprocessing, choose("cpu", precision))
    counting = Counting(backbone.model)
    data = open_data(str(photos))
    extraction = Extraction(backbone, data, data.samples, [1, 2], **changes)
    extraction.run()
    assert extraction.missing == []
    return counting.images


SEEN_AS = Preprocessing((16, 24))


def test_an_image_goes_through_the_network_once(photos: Path, small: Any, lively: Any) -> None:
    assert seen(lively(small()), photos, SEEN_AS) == 20
    assert seen(lively(small()), photos, SEEN_AS) == 0


def test_a_changed_image_is_computed_anew_and_no_other(photos: Path, small: Any, lively: Any) -> None:
    seen(lively(small()), photos, SEEN_AS)
    draw(photos / "train" / "red" / "3.png", (1, 2, 3), 0)
    assert seen(lively(small()), photos, SEEN_AS) == 1
    # Another name or folder does not make another image.
    (photos / "test" / "red" / "1.png").rename(photos / "test" / "red" / "seven.png")
    photos.rename(photos.parent / "moved")
    assert seen(lively(small()), photos.parent / "moved", SEEN_AS) == 0


def test_other_weights_compute_all_anew(photos: Path, small: Any, lively: Any) -> None:
    seen(lively(small()), photos, SEEN_AS)
    other = lively(small())
    with torch.no_grad():
        other.blocks[0].mlp.hidden.weight[0, 0] += 1e-3
    assert seen(other, photos, SEEN_AS) == 20
    # A head sees features and makes none.
    headless = lively(small())
    headless.replace_head(7)
    assert seen(headless, photos, SEEN_AS) == 0
    assert seen(lively(small(norm_epsilon=1e-5)), photos, SEEN_AS) == 20


@pytest.mark.parametrize(
    "changes",
    [{"mean": (0.4, 0.5, 0.5)}, {"fit": "stretch"}, {"crop_share": 0.9}, {"interpolation": "nearest"}],
)
def test_another_preprocessing_computes_all_anew(
    photos: Path, small: Any, lively: Any, changes: dict[str, Any]
) -> None:
    seen(lively(small()), photos, SEEN_AS)
    assert seen(lively(small()), photos, replace(SEEN_AS, **changes)) == 20
    assert seen(lively(small()), photos, SEEN_AS) == 0


def test_another_precision_and_the_mirrored_side_are_features_of_their_own(
    photos: Path, small: Any, lively: Any
) -> None:
    seen(lively(small()), photos, SEEN_AS)
    assert seen(lively(small()), photos, SEEN_AS, "bf16") == 20
    assert seen(lively(small()), photos, SEEN_AS, mirrored=True) == 20
    assert seen(lively(small()), photos, SEEN_AS, mirrored=True) == 0


NETWORKS = {
    "class token": {},
    "no class token": {"class_token": False, "pool": "average"},
    "registers": {"registers": 3, "layer_scale": 0.5},
    "distilled": {"distillation_token": True, "pool": "distilled"},
    "attention": {"class_token": False, "pool": "attention"},
    "the norm after the pooling": {"class_token": False, "pool": "average", "norm_after_pool": True},
    "the same of a class token": {"norm_after_pool": True},
    "several layers already": {"feature_layers": 2, "pool": "token_average"},
}


@pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("layer", [2, 1])
def test_pooled_features_are_what_the_head_of_the_cut_off_network_sees(
    photos: Path, small: Any, lively: Any, changes: dict[str, Any], layer: int
) -> None:
    model = lively(small(**changes))
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    compute = choose("cpu", "fp32")
    data = open_data(str(photos))
    backbone = make_backbone(model, SEEN_AS, compute)
    extraction = Extraction(backbone, data, data.split("test"), range(3))
    extraction.run()
    pixels = np.stack([SEEN_AS.fit_image(data.read(sample)) for sample in data.split("test")])
    images = Normalise(SEEN_AS, compute)(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    tried = 0
    for pool in ("token", "average", "token_average", "distilled", "attention"):
        for feature_layers in (1, 2):
            try:
                choice = poolings(
                    model.config, ProbeRecipe(layer=layer, pool=pool, feature_layers=feature_layers)
                )
            except UsageError:
                continue
            (pooling,) = choice
            assert pooling == Pooling(layer, feature_layers, pool)
            config = model.config.replace(
                layers=layer + 1, feature_layers=feature_layers, pool=pool, num_classes=0
            )
            cut = VisionTransformer(config).eval()
            cut.load_state_dict({name: weights[name] for name in cut.state_dict()})
            with torch.no_grad():
                expected = cut.pool(cut.forward_features(images)).numpy()
            np.testing.assert_allclose(extraction.pooled(pooling), expected, atol=1e-5)
            tried += 1
    assert tried >= 1 + (not model.config.norm_after_pool)


def test_mirrored_features_are_those_of_mirrored_images(photos: Path, small: Any, lively: Any) -> None:
    data, pooling = open_data(str(photos)), Pooling(2, 1, "token_average")
    backbone = make_backbone(lively(small()), replace(SEEN_AS, fit="stretch"), choose("cpu", "fp32"))
    mirrored = Extraction(backbone, data, data.split("test"), [2], mirrored=True)
    mirrored.run()
    for file in (photos / "test").rglob("*.png"):
        with Image.open(file) as picture:
            picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file)
    flipped = open_data(str(photos))
    plain = Extraction(backbone, flipped, flipped.split("test"), [2])
    plain.run()
    np.testing.assert_allclose(mirrored.pooled(pooling), plain.pooled(pooling), atol=0.05)
    original = Extraction(backbone, data, data.split("test"), [2])
    original.run()
    assert np.abs(original.pooled(pooling) - plain.pooled(pooling)).max() > 0.2


def test_what_a_network_leaves_to_choose_from(small: Any) -> None:
    twelve = {"layers": 12}
    both = (Pooling(11, 1, "token"), Pooling(11, 6, "token_average"))
    assert poolings(small(**twelve), ProbeRecipe()) == both
    assert poolings(small(**twelve), ProbeRecipe(layer=5))[1] == Pooling(5, 6, "token_average")
    assert poolings(small(**twelve), ProbeRecipe(layer=1))[1] == Pooling(1, 2, "token_average")
    assert poolings(small(**twelve), ProbeRecipe(pool="average")) == (
        Pooling(11, 1, "average"),
        Pooling(11, 6, "average"),
    )
    assert poolings(small(**twelve), ProbeRecipe(feature_layers=2)) == (
        Pooling(11, 2, "token"),
        Pooling(11, 2, "token_average"),
    )
    siglip = small(class_token=False, pool="attention", **twelve)
    assert poolings(siglip, ProbeRecipe()) == (Pooling(11, 1, "attention"), Pooling(11, 6, "average"))
    assert poolings(siglip, ProbeRecipe(layer=3)) == (Pooling(3, 1, "average"), Pooling(3, 4, "average"))
    eva = small(class_token=False, pool="average", norm_after_pool=True, **twelve)
    assert poolings(eva, ProbeRecipe()) == (Pooling(11, 1, "average"),)
    with pytest.raises(UsageError, match="no layer 12: the network has 12, 0 to 11"):
        poolings(small(**twelve), ProbeRecipe(layer=12))
    with pytest.raises(UsageError, match=r"--pool attention is not for layer 3 .* choose one of average"):
        poolings(siglip, ProbeRecipe(layer=3, pool="attention"))
    with pytest.raises(UsageError, match=r"--feature-layers 5 .* up to layer 3: ask for 4"):
        poolings(small(**twelve), ProbeRecipe(layer=3, feature_layers=5, pool="token"))


def test_progress_counts_what_is_kept_as_done(photos: Path, small: Any, lively: Any) -> None:
    data = open_data(str(photos))
    backbone = make_backbone(lively(small()), SEEN_AS, choose("cpu", "fp32"))
    first = Extraction(backbone, data, data.samples, [2])
    first.run(6)
    assert len(first.missing) == 14
    assert first.seconds_per_image is not None
    assert first.seconds_per_image > 0
    told: list[tuple[int, int]] = []
    again = Extraction(backbone, data, data.samples, [2])
    assert len(again.missing) == 14
    again.run(progress=lambda done, total: told.append((done, total)))
    assert told == [(10, 20), (14, 20), (18, 20), (20, 20)]


def test_a_file_that_has_gone_bad_is_named(photos: Path, small: Any, lively: Any) -> None:
    data = replace(open_data(str(photos)), keep=False)
    (photos / "test" / "green" / "2.png").write_bytes(b"no longer an image")
    backbone = make_backbone(lively(small()), SEEN_AS, choose("cpu", "fp32"))
    with pytest.raises(ImageError, match=r"test/green/2\.png"):
        Extraction(backbone, data, data.samples, [2]).run()


def test_a_cache_that_cannot_be_written_costs_only_the_time(
    photos: Path, small: Any, lively: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VITRAL_CACHE", str(tmp_path / "file"))
    assert seen(lively(small()), photos, SEEN_AS) == 20
    assert seen(lively(small()), photos, SEEN_AS) == 20


PROGRAM = """
import sys, torch
from vitral.data import open_data
from vitral.device import choose
from vitral.images import Preprocessing
from vitral.model import create_model
from vitral.transfer import Extraction, features, make_backbone
features.BATCH = 1
torch.manual_seed(0)
model = create_model("vit_mini_patch8_16", num_classes=0)
data = open_data(sys.argv[1])
backbone = make_backbone(model, Preprocessing((16, 16)), choose("cpu", "fp32"))
extraction = Extraction(backbone, data, data.samples, [2, 5])
print(len(extraction.missing), flush=True)
extraction.run(progress=lambda done, total: print(done, flush=True))
values = extraction.values[5]
print("sum", float(values.sum()), float(abs(values).max()))
"""


def start(photos: Path) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", PROGRAM, str(photos)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def read(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout is not None
    with process.stdout:
        lines = process.stdout.read().splitlines()
    process.wait(120)
    return lines


@pytest.mark.slow
def test_processes_at_once_and_killed_ones_harm_no_features(photos: Path) -> None:
    killed = start(photos)
    assert killed.stdout is not None
    lines = [killed.stdout.readline() for _ in range(9)]
    killed.send_signal(signal.SIGKILL)
    read(killed)
    done = int(lines[-1])
    both = [start(photos), start(photos)]
    outputs = [read(process) for process in both]
    for process, output in zip(both, outputs, strict=True):
        assert process.returncode == 0
        assert int(output[0]) <= 20 - done  # all that the killed one had told of was there
    last = read(start(photos))
    assert last[0] == "0"
    # The same numbers, whoever computed them, and those of a process that finds no cache.
    shutil.rmtree(os.environ["VITRAL_CACHE"])
    alone = read(start(photos))
    assert alone[0] == "20"
    assert {output[-1] for output in (*outputs, last)} == {alone[-1]}
