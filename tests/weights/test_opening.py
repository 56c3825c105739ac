"""Whose weights these are, and what the user says about them: nothing may load silently wrong."""

import json
import logging
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vitral.errors import UsageError, WeightsError
from vitral.images import Preprocessing
from vitral.weights import Checkpoint, convert, load_model, overrides_from, read_checkpoint, write_checkpoint


@pytest.fixture
def own(small, lively, tmp_path):
    """`own(names, **config)`: a folder of vitral's with a lively network."""

    def make(names=("apple", "maçã", "uva", "pear", "fig"), **changes):
        config = small(**({"image_size": 32, "mlp_dim": 64} | changes))
        model = lively(config)
        checkpoint = Checkpoint(config, Preprocessing(config.image_size), names, model.state_dict())
        write_checkpoint(tmp_path / "own", checkpoint)
        return tmp_path / "own"

    return make


@pytest.fixture
def theirs(own, tmp_path):
    """A folder of transformers' and a bare file of timm's, of the same network."""
    folder = own()
    convert(folder, tmp_path / "hf", "huggingface")
    convert(folder, tmp_path / "timm.safetensors", "timm")
    return tmp_path / "hf", tmp_path / "timm.safetensors"


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": 64}, "hidden_size 64, and .*projection.weight is 32x3x8x8"),
        ({"intermediate_size": 48}, "intermediate_size 48, and .*output.dense.weight is 32x64"),
        ({"patch_size": 4}, "patch_size 4, and"),
        ({"num_channels": 1}, "num_channels 1, and"),
    ],
)
def test_config_of_another_model_is_refused(theirs, changes, said):
    change_config(theirs[0], **changes)
    with pytest.raises(WeightsError, match=said):
        load_model(theirs[0])


def test_the_user_can_mend_a_wrong_config(theirs, assert_same):
    images = torch.randn(2, 3, 32, 32)
    right = load_model(theirs[0])(images)
    change_config(theirs[0], num_attention_heads=5, layer_norm_eps=0.0, hidden_act="nonsense")
    with pytest.raises(WeightsError):
        load_model(theirs[0])
    assert_same(load_model(theirs[0], heads=4, norm_epsilon=1e-6, activation="gelu")(images), right)


def test_the_user_decides_whose_weights_they_are(theirs, assert_same):
    images = torch.randn(2, 3, 32, 32)
    right = load_model(theirs[0])(images)
    change_config(theirs[0], model_type="vit_msn")
    with pytest.raises(WeightsError, match=r"'vit_msn'.*--family"):
        load_model(theirs[0])
    assert_same(load_model(theirs[0], family="vit")(images), right)
    with pytest.raises(WeightsError, match="not of family jax, but of timm"):
        load_model(theirs[1], family="jax", heads=4)
    with pytest.raises(UsageError, match="no family 'keras': choose one of jax"):
        load_model(theirs[1], family="keras")
    with pytest.raises(UsageError, match="leave family and grid out"):
        read_checkpoint(theirs[0].parent / "own", overrides_from({"family": "timm"}))


def test_two_families_that_fit_ask_for_a_word(own, tmp_path):
    """Without config.json, pooler and classifier, transformers' ViT and the encoder of its ViTMAE look the same."""
    convert(own((), num_classes=0, representation_size=24), tmp_path / "hf", "huggingface")
    tensors = load_file(tmp_path / "hf" / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if "pooler" not in n}, tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match="may be vit or vit_mae: say which, with family=… or --family"):
        load_model(tmp_path / "bare.safetensors", heads=4)
    for family in ("vit", "vit_mae"):
        assert load_model(tmp_path / "bare.safetensors", heads=4, family=family).config.dim == 32


def test_a_guess_between_timm_and_facebook_is_told(theirs):
    assumed = read_checkpoint(theirs[1], overrides_from({"heads": 4})).origin.assumed
    assert "--family facebook" in assumed["family"]
    said = read_checkpoint(theirs[1], overrides_from({"heads": 4, "family": "facebook"}))
    assert (
        said.preprocessing.mean != read_checkpoint(theirs[1], overrides_from({"heads": 4})).preprocessing.mean
    )
    assert "family" not in said.origin.assumed


def test_tensors_beside_the_network_are_not_dropped_silently(theirs, tmp_path, assert_same):
    tensors = load_file(theirs[1])
    wrapped = {f"backbone.{name}": t for name, t in tensors.items() if not name.startswith("head")}
    head = {name: t for name, t in tensors.items() if name.startswith("head")}
    torch.save(wrapped | head, tmp_path / "beside.pth")
    with pytest.raises(
        WeightsError, match=r"beside the network under backbone\. there are 2 tensors, such as head"
    ):
        load_model(tmp_path / "beside.pth", heads=4)
    torch.save(
        wrapped | {"head.mlp.0.weight": torch.ones(3, 3), "head.last_layer.weight": torch.ones(2)},
        tmp_path / "dino.pth",
    )
    assert load_model(tmp_path / "dino.pth", heads=4).config.num_classes == 0
    torch.save({f"module.{name}": t for name, t in tensors.items()}, tmp_path / "parallel.pth")
    images = torch.randn(2, 3, 32, 32)
    assert_same(
        load_model(tmp_path / "parallel.pth", heads=4)(images), load_model(theirs[1], heads=4)(images)
    )


def test_whole_numbers_are_no_weights(theirs, tmp_path):
    tensors = load_file(theirs[1])
    torch.save(tensors | {"head.weight": tensors["head.weight"].to(torch.int8)}, tmp_path / "int8.pth")
    with pytest.raises(
        WeightsError, match=r"head\.weight is int8: vitral reads weights in floating point only"
    ):
        load_model(tmp_path / "int8.pth", heads=4)


def test_a_training_scripts_numpy_numbers_are_no_hindrance(theirs, tmp_path):
    content = {"state_dict": load_file(theirs[1]), "metric": np.float64(0.7), "epoch": np.int64(3)}
    torch.save(content, tmp_path / "last.pth")
    assert load_model(tmp_path / "last.pth", heads=4).config.dim == 32


@pytest.mark.parametrize("axes", [0, 3])
@pytest.mark.parametrize("naming", ["published", "linen"])
def test_a_hybrids_norms_have_the_axes_that_they_have(own, tmp_path, axes, naming, assert_same):
    folder = own(activation="gelu_tanh", resnet_layers=(1,), patch_size=1)
    convert(folder, tmp_path / "hybrid.npz", "jax")
    arrays = dict(np.load(tmp_path / "hybrid.npz"))
    for name, array in arrays.items():
        if "gn" in name:
            arrays[name] = array.reshape((1,) * axes + (-1,))
    if naming == "linen":
        new = {"Attention_1": "Attention_0", "LayerNorm_2": "LayerNorm_1", "MlpBlock_3": "MlpBlock_0"}
        for before, after in new.items():
            arrays = {name.replace(before, after): array for name, array in arrays.items()}
    np.savez(tmp_path / "changed.npz", **arrays)
    images = torch.randn(2, 3, 32, 32)
    assert_same(load_model(tmp_path / "changed.npz")(images), load_model(folder)(images))
    convert(tmp_path / "changed.npz", tmp_path / "again.npz", "jax")
    again = dict(np.load(tmp_path / "again.npz"))
    assert {name: array.shape for name, array in again.items()} == {n: a.shape for n, a in arrays.items()}


def test_classes_are_matched_by_name_whatever_their_unicode_form(own, caplog):
    folder = own()
    before = load_model(folder)
    with caplog.at_level(logging.WARNING, logger="vitral"):
        model = load_model(folder, class_names=["kiwi", unicodedata.normalize("NFD", "maçã"), "apple"])
    assert "keeps 2 of 3 classes" in caplog.text
    assert not model.head.weight[0].any()
    assert torch.equal(model.head.weight[1:], before.head.weight[[1, 0]])
    with pytest.raises(UsageError, match="two classes are called 'uva'"):
        load_model(folder, class_names=["uva", "uva"])
    with pytest.raises(UsageError, match="num_classes is 9, and there are 2 class_names"):
        load_model(folder, class_names=["uva", "fig"], num_classes=9)


def test_a_new_head_says_that_it_starts_at_zero(own, caplog):
    folder = own()
    with caplog.at_level(logging.WARNING, logger="vitral"):
        assert load_model(folder, num_classes=0).config.num_classes == 0
        assert not caplog.text
        assert not load_model(folder, num_classes=9).head.weight.any()
    assert "starts at zero" in caplog.text


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"grid": 5}, "grid is 5"),
        ({"grid": "5x5"}, "grid is '5x5'"),
        ({"heads": "4"}, "heads is '4'"),
        ({"norm_epsilon": "x"}, "norm_epsilon is 'x'"),
        ({"mean": ("a",)}, "mean is"),
        ({"colour": 3}, "cannot be told 'colour'"),
    ],
)
def test_nonsense_from_the_user_is_named_as_the_users(theirs, said, text):
    with pytest.raises(UsageError, match=text):
        load_model(theirs[1], **said)


def test_a_wrong_number_of_layers_takes_no_memory(theirs, tmp_path):
    """A network of that size would fill the machine before its tensors were found missing."""
    tensors = load_file(theirs[1])
    torch.save(tensors | {"blocks.9999999.norm1.weight": torch.ones(32)}, tmp_path / "huge.pth")
    with pytest.raises(WeightsError, match="tensors are not those of 10000000 layers"):
        load_model(tmp_path / "huge.pth", heads=4)
    change_config(theirs[0], num_hidden_layers=9999999)
    with pytest.raises(WeightsError, match="not those of 9999999 layers"):
        load_model(theirs[0])


def test_any_weights_can_be_told_to_merge(theirs, own, tmp_path, assert_same):
    """It is kept like every field, and taken back by 0."""
    images = torch.randn(2, 3, 32, 32)
    plain = load_model(tmp_path / "own")
    merging = load_model(tmp_path / "own", merge=3)
    assert merging.config == plain.config.replace(merge=3)
    assert not torch.allclose(merging(images), plain(images), atol=1e-3)
    for weights in theirs:
        assert_same(load_model(weights, merge=3, heads=4)(images), merging(images))
    checkpoint = read_checkpoint(tmp_path / "own", overrides_from({"merge": 3}))
    write_checkpoint(tmp_path / "kept", checkpoint)
    assert torch.equal(load_model(tmp_path / "kept")(images), merging(images))
    assert torch.equal(load_model(tmp_path / "kept", merge=0)(images), plain(images))
    with pytest.raises(UsageError, match="merge is -1: give a whole number, 0 or more"):
        load_model(tmp_path / "own", merge=-1)


def test_another_library_that_loaded_first_does_not_matter(own):
    """transformers changes torch's constructors while it loads, and torch remembers some of them."""
    folder = own(position_embedding="sincos_2d")
    code = (
        "import torch, transformers, sys\n"
        "sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)\n"
        "config = transformers.ViTConfig(**sizes)\n"
        "import tempfile; place = tempfile.mkdtemp()\n"
        "transformers.ViTModel(config).save_pretrained(place); transformers.ViTModel.from_pretrained(place)\n"
        f"import vitral; print(vitral.load_model({str(folder)!r}).config.position_embedding)"
    )
    pytest.importorskip("transformers")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "sincos_2d", done.stderr
