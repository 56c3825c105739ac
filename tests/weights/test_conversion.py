"""Refusals and files of `convert`; whether other libraries take what it writes is asked in tests/parity."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vitral.errors import UsageError, WeightsError
from vitral.images import Preprocessing
from vitral.model import VisionTransformer
from vitral.weights import Checkpoint, convert, load_model, read_checkpoint, write_checkpoint


@pytest.fixture
def own(small, lively, tmp_path):
    """`own(**config)`: a folder of vitral's with a lively network."""

    def make(fit="crop", **changes):
        config = small(**({"image_size": 32} | changes))
        grey = (0.5,) * config.channels
        seen = Preprocessing(config.image_size, fit=fit, channels=config.channels, mean=grey, std=grey)
        names = tuple("abcdefgh"[: config.num_classes])
        write_checkpoint(tmp_path / "own", Checkpoint(config, seen, names, lively(config).state_dict()))
        return tmp_path / "own"

    return make


@pytest.mark.parametrize(
    ("to", "changes", "said"),
    [
        ("torchvision", {"activation": "gelu_tanh"}, "activation gelu_tanh"),
        ("torchvision", {"norm_epsilon": 1e-5}, "norm_epsilon 1e-05"),
        ("timm", {"norm_epsilon": 1e-3}, "norm_epsilon 0.001"),
        ("timm", {"resnet_layers": (), "patch_size": 1}, "resnet_form authors"),
        ("jax", {}, "activation gelu"),
        ("timm", {"merge": 2}, "merge 2"),
        ("torchvision", {"merge": 2}, "merge 2"),
        ("huggingface", {"merge": 2}, "merge 2"),
        ("huggingface", {"fit": "pad"}, "fitted by pad"),
        ("huggingface", {"image_size": (16, 24)}, "fitted by crop to 16 x 24"),
    ],
)
def test_what_a_format_says_only_nearly_is_refused_unless_asked_for(own, tmp_path, to, changes, said):
    folder = own(**changes)
    with pytest.raises(WeightsError, match=said) as refused:
        convert(folder, tmp_path / "out", to)
    assert "--approximate" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()
    done = convert(folder, tmp_path / "out", to, approximate=True)
    assert any(said in one for one in done.approximations)
    assert done.difference is not None
    assert all(file.is_file() for file in done.files)


@pytest.mark.parametrize(
    ("to", "changes", "said"),
    [
        ("torchvision", {"layer_scale": 0.1}, "layer_scale 0.1"),
        ("torchvision", {"registers": 4}, "registers 4"),
        ("torchvision", {"pool": "average"}, "pool average"),
        ("torchvision", {"num_classes": 0}, "num_classes 0"),
        ("torchvision", {"image_size": (16, 24)}, "squares"),
        ("torchvision", {"position_embedding": "rope"}, "position_embedding rope"),
        ("timm", {"representation_size": 24}, "representation_size 24"),
        ("timm", {"pool": "token_average"}, "pool token_average"),
        ("timm", {"resnet_layers": (1,), "patch_size": 1, "resnet_form": "timm"}, "a hybrid of"),
        ("timm", {"position_embedding": "rope"}, "bias of the keys"),
        ("huggingface", {"pool": "average", "class_token": False, "registers": 2}, "registers 2"),
        ("huggingface", {"pool": "average", "class_token": False, "image_size": (16, 24)}, "squares"),
        ("huggingface", {"registers": 2}, "mlp_dim 48"),
        ("huggingface", {"layer_scale": 1.0}, "mlp_dim 48"),
        ("huggingface", {"channels": 1}, "not RGB"),
        ("huggingface", {"representation_size": 24}, "representation_size 24"),
        ("jax", {"layer_scale": 0.1, "activation": "gelu_tanh"}, "layer_scale 0.1"),
        ("jax", {"pool": "average", "activation": "gelu_tanh"}, "beside a class token"),
    ],
)
def test_what_a_format_cannot_say_at_all_is_refused_by_name(own, tmp_path, to, changes, said):
    folder = own(**changes)
    for approximate in (False, True):
        with pytest.raises(WeightsError, match=said) as refused:
            convert(folder, tmp_path / "out", to, approximate=approximate)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_the_difference_printed_is_the_one_that_there_is(own, tmp_path):
    """The tanh form for the exact one: measured here once more, on other images."""
    folder = own()
    done = convert(folder, tmp_path / "out.npz", "jax", approximate=True)
    model = load_model(folder)
    tanh = VisionTransformer(model.config.replace(activation="gelu_tanh")).eval()
    tanh.load_state_dict(model.state_dict())
    images = torch.randn(64, 3, 32, 32)
    with torch.no_grad():
        found = float((tanh(images) - model(images)).abs().max() / model(images).abs().max())
    assert done.difference == pytest.approx(found, rel=2)
    assert 1e-6 < done.difference < 1e-2


def test_everything_goes_out_and_comes_back_in_our_own_format(own, tmp_path):
    folder = own(
        registers=3, layer_scale=0.1, position_embedding="rope", pool="token_average", mask_token=True
    )
    convert(folder, tmp_path / "out", "vitral")
    assert (tmp_path / "out" / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    before, after = read_checkpoint(folder).tensors, read_checkpoint(tmp_path / "out").tensors
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_where_weights_came_from_is_kept(shared, tmp_path):
    """In our own format on the way, a file of the authors' comes back bit for bit, in the naming that it had."""
    for file in sorted((shared / "oracles").glob("*.npz")):
        if "expected" in file.name:
            continue
        convert(file, tmp_path / file.stem, "vitral")
        origin = json.loads((tmp_path / file.stem / "config.json").read_text())["origin"]
        assert origin["family"] == "jax"
        assert "activation" in origin["assumed"]
        convert(tmp_path / file.stem, tmp_path / file.name, "jax")
        before, after = dict(np.load(file)), dict(np.load(tmp_path / file.name))
        assert before.keys() == after.keys()
        for name, array in before.items():
            assert array.dtype == after[name].dtype
            np.testing.assert_array_equal(array, after[name])


def test_files_that_are_there_are_not_replaced_unless_asked(own, tmp_path):
    folder = own()
    convert(folder, tmp_path / "out", "timm")
    with pytest.raises(UsageError, match=r"is there already.*--overwrite"):
        convert(folder, tmp_path / "out", "timm")
    convert(folder, tmp_path / "out", "timm", overwrite=True)


@pytest.mark.parametrize(
    ("to", "name"), [("jax", "out.pth"), ("torchvision", "out.npz"), ("timm", "out.npz")]
)
def test_an_ending_that_is_not_the_formats_is_refused(own, tmp_path, to, name):
    folder = own(activation="gelu_tanh" if to == "jax" else "gelu")
    with pytest.raises(UsageError, match="give a folder, or a file like"):
        convert(folder, tmp_path / name, to)
    assert not (tmp_path / name).exists()


def test_no_such_format(own, tmp_path):
    with pytest.raises(UsageError, match="vitral, timm, huggingface, torchvision, jax"):
        convert(own(), tmp_path / "out", "keras")


def test_the_weights_own_files_stay_as_they_are(own, tmp_path):
    """Converting a folder into itself replaces it only where that was asked for, and never half."""
    folder: Path = own()
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        convert(folder, folder, "timm")
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_runs_own_folder_and_a_file_for_transformers_are_refused(own, tmp_path):
    folder = own()
    (folder / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="a run's own folder"):
        convert(folder, folder, "timm", overwrite=True)
    with pytest.raises(UsageError, match="is a file: give a folder"):
        convert(folder, tmp_path / "out.safetensors", "huggingface")


@pytest.mark.parametrize("kind", [np.float64, np.float16])
def test_arrays_keep_their_precision(own, tmp_path, kind):
    convert(own(activation="gelu_tanh"), tmp_path / "in.npz", "jax")
    arrays = {name: array.astype(kind) / 3 for name, array in np.load(tmp_path / "in.npz").items()}
    np.savez(tmp_path / "other.npz", **arrays)
    convert(tmp_path / "other.npz", tmp_path / "out.npz", "jax")
    back = dict(np.load(tmp_path / "out.npz"))
    for name, array in arrays.items():
        assert back[name].dtype == kind
        np.testing.assert_array_equal(back[name], array)


def test_pixels_that_differ_are_measured_too(own, tmp_path):
    done = convert(own(fit="pad"), tmp_path / "out", "huggingface", approximate=True)
    assert done.difference > 1e-3
    with pytest.raises(WeightsError, match="norm_after_pool True"):
        convert(own(pool="average", norm_after_pool=True), tmp_path / "mae", "huggingface")
