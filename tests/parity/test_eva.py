"""Weights of timm's Eva beside timm itself: EVA, EVA-02, DINOv3 and timm's own with rotary positions."""

import copy
import json

import pytest
import torch

from vitral.errors import WeightsError
from vitral.weights import load_model, overrides_from, read_checkpoint
from vitral.weights.families import eva
from vitral.weights.rules import from_vitral

from .networks import EVA, TINY, images_for, timm_peer

timm = pytest.importorskip("timm")
from timm.models import save_for_hf  # noqa: E402


@pytest.fixture(scope="module", params=EVA)
def network(request, stirred, tmp_path_factory):
    """What it stands for, timm's network, the folder that timm saved it in, and what a bare file does not tell."""
    folder, said = tmp_path_factory.mktemp("eva"), EVA[request.param][2]
    peer = timm_peer(stirred, folder, request.param)
    return request.param, peer, folder, said if said is None else {"heads": 3} | said


@torch.no_grad()
def test_folder_that_timm_saved_gives_its_features_and_logits(network, agree):
    kind, peer, folder, _ = network
    model = load_model(folder)
    assert read_checkpoint(folder).origin.family == "eva"
    images = images_for(model)
    agree("eva", kind, model.forward_features(images), peer.forward_features(images), peer="timm")
    agree("eva", kind, model(images), peer(images), peer="timm")


@torch.no_grad()
def test_bare_file_is_read_with_a_word_from_the_user(network, agree, tmp_path):
    kind, peer, _, said = network
    if said is None:
        pytest.skip("nobody but timm's config.json can say this grid")
    file = tmp_path / "weights.pth"
    torch.save(peer.state_dict(), file)
    model = load_model(file, **said)
    images = images_for(model)
    agree("eva", kind, model(images), peer(images), peer="timm")
    assumed = read_checkpoint(file, overrides_from(said)).origin.assumed
    assert {"position_embedding", "norm_epsilon", "mean", "std"} <= set(assumed)
    assert ("rope_grid" in assumed) == (model.config.rope_grid is not None)


@torch.no_grad()
def test_other_resolution_is_timms(network, agree):
    kind, peer, folder, _ = network
    if "its own grid" in kind:
        pytest.skip("timm then counts patches at any resolution; of weights that are published none is so")
    config = read_checkpoint(folder).config
    (height, width), (rows, columns) = config.image_size, config.reach
    size = height + rows, width + 2 * columns
    model = load_model(folder, image_size=size)
    peer = copy.deepcopy(peer)
    peer.set_input_size(img_size=size)
    images = images_for(model)
    agree("eva", kind, model(images), peer(images), peer="timm")


@torch.no_grad()
def test_written_weights_are_timms(network, agree, lively):
    """A network that never was timm's, in timm's names and order of rows."""
    kind, peer, folder, _ = network
    checkpoint = read_checkpoint(folder)
    model = lively(checkpoint.config, seed=5)
    peer = copy.deepcopy(peer)
    written = from_vitral(model.state_dict(), eva.rules(model.config, checkpoint.origin.form), eva.TITLE)
    peer.load_state_dict(written, strict=True)
    images = images_for(model)
    agree("eva", kind, model(images), peer(images), peer="timm", way="out")


def test_tensors_come_back_bit_for_bit(network, tmp_path):
    _, peer, folder, _ = network
    theirs = {name: tensor.half() for name, tensor in peer.state_dict().items()}
    torch.save(theirs, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    checkpoint = read_checkpoint(tmp_path)
    back = from_vitral(checkpoint.tensors, eva.rules(checkpoint.config, checkpoint.origin.form), eva.TITLE)
    assert back.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert back[name].dtype == torch.float16
        assert torch.equal(back[name], tensor), name


DINOV3 = {
    "position_embedding": "rope",
    "norm_epsilon": 1e-5,
    "registers": 2,
    "layer_scale": 1e-5,
    "activation": "gelu",
}
EVA02 = {"position_embedding": "learned_rope", "rope_grid": (16, 12), "gated_mlp": True, "activation": "silu"}


@pytest.mark.parametrize(
    "changes",
    [
        DINOV3,
        DINOV3 | {"gated_mlp": True, "activation": "silu", "pool": "average"},
        DINOV3 | {"norm_epsilon": 1e-6, "class_token": False, "pool": "average", "channels": 1},
        EVA02,
        EVA02 | {"norm_in_mlp": True, "norm_in_attention": True, "num_classes": 0},
        EVA02 | {"position_embedding": "rope", "norm_epsilon": 1e-5, "qkv_bias": "none", "layer_scale": 1e-5},
        EVA02 | {"rope_grid": None, "registers": 1, "special_positions": 0, "pool": "average"},
        {"norm_in_mlp": True, "mlp_dim": 64},
        {"norm_epsilon": 1e-5, "pool": "average", "norm_after_pool": True, "layer_scale": 1e-5},
    ],
)
@pytest.mark.parametrize("apart", [False, True])
@torch.no_grad()
def test_architecture_of_ones_own_has_a_name_in_timm(changes, apart, small, lively, agree, tmp_path):
    """timm builds it from name and arguments, and what timm saves of it is read as the same network."""
    config = small(**{"qkv_bias": "no_key", "position_interpolation": "bicubic_antialias"} | changes)
    model = lively(config)
    form = eva.form_for(config)
    if apart:
        form = {"fused": False, "packed": not config.gated_mlp}
    name, arguments = eva.architecture_for(config, form)
    peer = timm.create_model(name, **json.loads(json.dumps(arguments))).eval()
    peer.load_state_dict(from_vitral(model.state_dict(), eva.rules(config, form), eva.TITLE), strict=True)
    images = images_for(model)
    agree("eva", "a network of one's own", model(images), peer(images), peer="timm", way="out")
    save_for_hf(peer, tmp_path, safe_serialization=True)
    assert read_checkpoint(tmp_path).config == config
    assert read_checkpoint(tmp_path).origin.form == form


def changed_config(folder, **arguments):
    """Other arguments in a folder's config.json."""
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] |= arguments
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("eva02_tiny_patch14_224", "rope_type", "mixed"),
        ("eva02_tiny_patch14_224", "rope_rotate_half", True),
        ("eva02_tiny_patch14_224", "rope_temperature", 100.0),
        ("vit_small_patch16_dinov3", "rope_temperature", 10.0),
        ("vit_small_patch16_dinov3", "rope_grid_indexing", "xy"),
        ("vit_small_patch16_dinov3", "rope_grid_offset", 1.0),
        ("eva_giant_patch14_clip_224", "use_post_norm", True),
    ],
)
def test_arguments_without_a_tensor_of_their_own_are_refused(tmp_path, name, argument, value):
    peer = timm.create_model(name, **TINY | {"img_size": 112})
    save_for_hf(peer, tmp_path, safe_serialization=True)
    load_model(tmp_path)
    changed_config(tmp_path, **{argument: value})
    with pytest.raises(WeightsError, match=argument):
        load_model(tmp_path)


def test_rotary_positions_can_be_left_out(stirred, agree, tmp_path):
    peer = stirred(
        timm.create_model("eva02_tiny_patch14_224", **TINY | {"img_size": 28, "use_rot_pos_emb": False})
    )
    save_for_hf(peer, tmp_path, safe_serialization=True)
    model = load_model(tmp_path)
    images = images_for(model)
    agree("eva", "EVA-02 without rotary positions", model(images), peer(images), peer="timm")


def test_file_of_two_meanings_says_what_to_do(tmp_path):
    """timm's RoPE-ViT has the tensors of facebookresearch's DeiT III to the last one."""
    peer = timm.create_model("vit_small_patch16_rope_ape_224", **TINY | {"img_size": 48})
    torch.save(peer.state_dict(), tmp_path / "model.pth")
    with pytest.raises(WeightsError, match="--family facebook"):
        load_model(tmp_path / "model.pth", heads=3)
    assert load_model(tmp_path / "model.pth", heads=3, family="facebook").config.layer_scale is not None
