"""Weights of timm's VisionTransformer beside timm itself: small networks of every kind, and timm's whole registry."""

import contextlib
import copy
import json
import re

import pytest
import torch

from vitral.errors import VitralError, WeightsError
from vitral.weights import load_model, overrides_from, read_checkpoint
from vitral.weights.families import FAMILIES
from vitral.weights.families import timm as family
from vitral.weights.reading import Found
from vitral.weights.rules import from_vitral, to_vitral

from .networks import TIMM, TINY, images_for, timm_peer

timm = pytest.importorskip("timm")
from timm.models import save_for_hf  # noqa: E402


@pytest.fixture(scope="module", params=TIMM)
def network(request, stirred, tmp_path_factory):
    """What it stands for, timm's network, the folder that timm saved it in, and what a bare file does not tell."""
    folder, said = tmp_path_factory.mktemp("timm"), TIMM[request.param][2]
    return request.param, timm_peer(stirred, folder, request.param), folder, {"heads": 3} | said


@torch.no_grad()
def test_folder_that_timm_saved_gives_its_features_and_logits(network, agree):
    kind, peer, folder, _ = network
    model = load_model(folder)
    images = images_for(model)
    agree("timm", kind, model(images), peer(images), peer="timm")
    if model.config.resnet_layers:  # see the next test
        model, peer, images = model.double(), copy.deepcopy(peer).double(), images.double()
    agree("timm", kind, model.forward_features(images), peer.forward_features(images), peer="timm")


@pytest.mark.parametrize("network", ["R+ViT", "R26+ViT", "R50+ViT"], indirect=True)
@torch.no_grad()
def test_hybrids_differ_by_rounding_alone(network, agree):
    """Dozens of standardised convolutions round differently in fp32: features by nearly 1e-5, in either code alike."""
    kind, peer, folder, _ = network
    model, peer = load_model(folder).double(), copy.deepcopy(peer).double()
    images = images_for(model).double()
    agree(
        "timm",
        kind,
        model.forward_features(images),
        peer.forward_features(images),
        peer="timm",
        tolerance=1e-12,
    )
    agree("timm", kind, model(images), peer(images), peer="timm", tolerance=1e-12)


@torch.no_grad()
def test_bare_file_is_read_with_a_word_from_the_user(network, agree, tmp_path):
    kind, peer, _, said = network
    file = tmp_path / "weights.pth"
    torch.save(peer.state_dict(), file)
    model = load_model(file, **said)
    images = images_for(model)
    agree("timm", kind, model(images), peer(images), peer="timm")
    # What the network computes is then settled, or assumed and named.
    assumed = read_checkpoint(file, overrides_from(said)).origin.assumed
    assert not set(said) & set(assumed)
    assert {"norm_epsilon", "mean", "std"} <= set(assumed)


@torch.no_grad()
def test_other_resolution_is_timms(network, agree):
    kind, peer, folder, _ = network
    config = read_checkpoint(folder).config
    (height, width), (rows, columns) = config.image_size, config.reach
    size = height + rows, width + 2 * columns
    model = load_model(folder, image_size=size)
    peer = copy.deepcopy(peer)
    peer.set_input_size(img_size=size)
    if peer.pos_embed is not None:
        agree("timm", kind, model.embedding.position(), peer.pos_embed, peer="timm")
    images = images_for(model)
    if model.config.resnet_layers:
        model, peer, images = model.double(), peer.double(), images.double()
    agree("timm", kind, model(images), peer(images), peer="timm")


@torch.no_grad()
def test_written_weights_are_timms(network, agree, lively):
    """A network that never was timm's, in timm's names."""
    kind, peer, folder, _ = network
    model = lively(read_checkpoint(folder).config, seed=5)
    peer = copy.deepcopy(peer)
    written = from_vitral(model.state_dict(), family.rules(model.config, {}), family.TITLE)
    peer.load_state_dict(written, strict=True)
    images = images_for(model)
    agree("timm", kind, model(images), peer(images), peer="timm", way="out")


def test_tensors_come_back_bit_for_bit(network, tmp_path):
    _, peer, folder, _ = network
    theirs = {name: tensor.half() for name, tensor in peer.state_dict().items()}
    torch.save(theirs, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    checkpoint = read_checkpoint(tmp_path)
    back = from_vitral(checkpoint.tensors, family.rules(checkpoint.config, {}), family.TITLE)
    assert back.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert back[name].dtype == torch.float16
        assert torch.equal(back[name], tensor), name


@pytest.fixture(scope="module")
def plain(stirred):
    """timm's plain ViT."""
    return stirred(timm.create_model("vit_tiny_patch16_224", **TINY | {"img_size": 64}))


@pytest.mark.parametrize("wrapper", ["state_dict", "state_dict_ema", "none", "module."])
@torch.no_grad()
def test_file_of_timms_training_script(plain, agree, tmp_path, wrapper):
    """A DataParallel's prefix too; of averaged weights beside plain ones, the average."""
    tensors = plain.state_dict()
    content = {"epoch": 3, "arch": "vit_tiny_patch16_224", "state_dict": tensors, "optimizer": {"state": {}}}
    if wrapper == "state_dict_ema":
        content |= {"state_dict": {name: 0 * tensor for name, tensor in tensors.items()}, wrapper: tensors}
    elif wrapper == "none":
        content = tensors
    elif wrapper == "module.":
        content["state_dict"] = {f"module.{name}": tensor for name, tensor in tensors.items()}
    torch.save(content, tmp_path / "model_best.pth.tar")
    model = load_model(tmp_path / "model_best.pth.tar", heads=3)
    images = images_for(model)
    agree("timm", "ViT", model(images), plain(images), peer="timm")
    assert (
        read_checkpoint(tmp_path / "model_best.pth.tar", overrides_from({"heads": 3})).origin.family == "timm"
    )


def test_metadata_settle_preprocessing_and_classes(plain, tmp_path):
    details = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_pct": 0.8, "crop_mode": "squash"}
    labels = {"label_names": [f"n{index}" for index in range(7)], "label_descriptions": {"n2": "an owl"}}
    model_config = {"pretrained_cfg": details | {"interpolation": "bilinear"}, **labels}
    save_for_hf(
        plain, tmp_path, model_config=model_config, model_args={"num_heads": 3}, safe_serialization=True
    )
    checkpoint = read_checkpoint(tmp_path)
    seen = checkpoint.preprocessing
    assert (seen.mean, seen.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (seen.size, seen.fit, seen.crop_share, seen.interpolation) == (
        (64, 64),
        "stretch",
        0.8,
        "bilinear",
    )
    assert checkpoint.class_names == ("n0", "n1", "an owl", "n3", "n4", "n5", "n6")
    assert checkpoint.origin.assumed == {}


def test_config_of_older_timm_is_one_level(plain, tmp_path):
    save_for_hf(plain, tmp_path, safe_serialization=True)
    flat = {
        "architecture": "vit_tiny_patch16_224",
        "num_heads": 3,
        "input_size": [3, 64, 64],
        "mean": [0.1, 0.2, 0.3],
    }
    (tmp_path / "config.json").write_text(json.dumps(flat))
    assert read_checkpoint(tmp_path).preprocessing.mean == (0.1, 0.2, 0.3)


def test_heads_of_a_changed_architecture_are_asked_for(tmp_path):
    """timm notes what its user changed: without num_heads that is the architecture's own number, not by the dim."""
    save_for_hf(
        timm.create_model("vit_small_patch16_224", embed_dim=192, depth=1), tmp_path, safe_serialization=True
    )
    with pytest.raises(WeightsError, match=r"embed_dim .* say heads=N"):
        load_model(tmp_path)
    assert load_model(tmp_path, heads=6).config.heads == 6


@pytest.mark.parametrize(
    ("argument", "value", "what"),
    [
        ("act_layer", "relu", "activation 'relu'"),
        ("global_pool", "avgmax", "pool by 'avgmax'"),
        ("attn_layer", "diff", "attn_layer 'diff'"),
        ("norm_layer", "layernormfp32", "norm_layer"),
        ("pool_include_prefix", True, "pool_include_prefix"),
    ],
)
def test_arguments_without_a_tensor_of_their_own_are_refused(plain, tmp_path, argument, value, what):
    save_for_hf(plain, tmp_path, safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_args"] |= {argument: value, "num_heads": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=what):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("model_args", [1]), ("pretrained_cfg", "x"), ("num_heads", "three"), ("input_size", 5), ("mean", 0.5),
        ("mean", "abc"), ("crop_pct", "x"), ("label_names", 5), ("label_descriptions", [1]), ("global_pool", [1]),
        ("act_layer", {}), ("act_layer", [1]), ("img_size", "x"), ("img_size", [64, 64, 64]),
    ],
)  # fmt: skip
def test_damaged_metadata_are_passed_over_or_refused(plain, tmp_path, argument, value):
    save_for_hf(plain, tmp_path, model_args={"num_heads": 3}, safe_serialization=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["num_heads"] = 3
    for part in (config, config["model_args"], config["pretrained_cfg"]):
        if argument in part or part is config:
            part[argument] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with contextlib.suppress(VitralError):  # whose text says what to do
        assert load_model(tmp_path).config.heads == 3


# What timm's four modules of Vision Transformers have and vitral has not: in the error, and the architectures.
REFUSED = {
    "parallel blocks": r"vit_(small|base)_patch16_18x2_224|vit_\w+_xp_224|vit_d?pwee_\w+",
    "differential attention": r"vit_(dwee|dlittle)_\w+",
    "norms without biases": r"aimv2_\w+|test_vit4",
    "norms of queries and keys": r"vit_\w+_sapiens2",
    "norms after attention and MLP": r"vit_base_patch16_rpn_224|eva02_enormous_\w+",
    "no norm after the last block": r"vit_intern300m_\w+|vit_\w+_radio_v\d",
    "convolutional stem": r"vit_base_mci_224|vit_\w+_resnet\d+d_\w+",
    "RoPE-ViT": r"vit_\w+_rope_(mixed_)?(ape_)?224",
    "Perception Encoder": r"vit_pe_\w+",
    "looks at registers": r"test_vit3",
}
REGISTRY = [
    name
    for module in ("vision_transformer", "deit", "vision_transformer_hybrid", "eva")
    for name in timm.list_models(module=module)
]
SUPPORTED = [name for name in REGISTRY if not any(re.fullmatch(names, name) for names in REFUSED.values())]
ACTIVATIONS = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu"}
POOLS = {"token": "token", "distilled": "token", "average": "avg", "attention": "map"}


def reading_of(tensors, config, title=None):
    """What a family makes of tensors without numbers; the one that bare files go to, unless another is named."""
    fitting = [one for one in FAMILIES if FAMILIES[one].recognise(tensors.keys(), config)]
    house = FAMILIES[title or next(one for one in fitting if one != "facebook")]
    cleaned, form = house.clean(tensors)
    reading = house.read(Found(cleaned, config), form)
    to_vitral(cleaned, house.rules(reading.config, form), reading.config, house.TITLE)
    return reading


def short(name):
    """The architecture without memory and, where its blocks are all alike, with two of them."""
    return timm.create_model(name, device="meta", **({} if "sapiens2" in name else {"depth": 2}))


def truth_of(peer):
    """What timm's module is, in our fields."""
    embedding, block = peer.patch_embed, peer.blocks[0]
    return {
        "heads": block.attn.num_heads,
        "activation": ACTIVATIONS[type(block.mlp.act).__name__],
        "norm_epsilon": block.norm1.eps,
        "pool": peer.global_pool,
        "patch_size": tuple(embedding.proj.kernel_size),
        # Patches need not fill timm's image: what they fill counts.
        "image_size": tuple(
            side // reach * reach
            for side, reach in zip(embedding.img_size, embedding.feat_ratio(as_scalar=False), strict=True)
        ),
    }


def as_truth(reading):
    """What was read, to compare."""
    fields = ("heads", "activation", "norm_epsilon", "pool", "patch_size", "image_size")
    found = {field: getattr(reading.config, field) for field in fields}
    return found | {"pool": POOLS[found["pool"]]}


@pytest.mark.parametrize("name", REGISTRY)
def test_architecture_of_timms_registry_is_read_or_refused(name):
    peer = short(name)
    what = next((what for what, names in REFUSED.items() if re.fullmatch(names, name)), None)
    if what is not None:
        with pytest.raises(WeightsError, match=what) as raised:
            reading_of(peer.state_dict(), {"architecture": name})
        assert "\n" not in str(raised.value)
        return
    reading = reading_of(peer.state_dict(), {"architecture": name})
    truth = truth_of(peer)
    if "image_size" in reading.assumed:  # positions that fit any size tell none
        truth["image_size"] = reading.config.image_size
    assert as_truth(reading) == truth


@pytest.mark.parametrize("name", SUPPORTED)
def test_tensors_alone_are_read_right_or_what_is_assumed_is_named(name):
    peer = short(name)
    if peer.embed_dim == 96:
        pytest.skip("nothing tells the heads of a dim that is no multiple of 64, and vitral asks for them")
    reading = reading_of(peer.state_dict(), {})
    truth, found = truth_of(peer), as_truth(reading)
    assert {field for field in truth if found[field] != truth[field]} <= reading.assumed.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", SUPPORTED)
@torch.no_grad()
def test_small_network_of_each_architecture_gives_timms_logits(name, stirred, agree, tmp_path):
    ratio = short(name).patch_embed.feat_ratio(as_scalar=False)
    size = 2 * ratio[0], 3 * ratio[1]
    peer = stirred(timm.create_model(name, depth=2, embed_dim=32, num_heads=2, img_size=size, num_classes=5))
    save_for_hf(peer, tmp_path, safe_serialization=True)
    checkpoint = read_checkpoint(tmp_path)
    model = checkpoint.model()
    images = images_for(model)
    if model.config.resnet_layers:
        model, peer, images = model.double(), peer.double(), images.double()
    module = "Eva" if checkpoint.origin.family == "eva" else "VisionTransformer"
    agree(
        checkpoint.origin.family,
        f"{module}, every name of the registry",
        model(images),
        peer(images),
        peer="timm",
    )
    seen, theirs = checkpoint.preprocessing, peer.pretrained_cfg
    assert (seen.size, seen.mean, seen.std) == (size, tuple(theirs["mean"]), tuple(theirs["std"]))
    assert (seen.crop_share, seen.interpolation) == (theirs["crop_pct"], theirs["interpolation"])


@pytest.mark.parametrize(
    "name",
    [
        "beit_base_patch16_224", "beitv2_large_patch16_224", "cait_xxs24_224", "hiera_tiny_224", "sam2_hiera_tiny",
        "samvit_base_patch16", "vit_relpos_small_patch16_224", "vit_srelpos_small_patch16_224", "vitamin_small_224",
    ],
)  # fmt: skip
def test_other_networks_of_like_names_are_refused(name):
    tensors = timm.create_model(name, device="meta").state_dict()
    for config in ({"architecture": name}, {}):
        fitting = [title for title, one in FAMILIES.items() if one.recognise(tensors.keys(), config)]
        assert fitting
        for title in fitting:
            with pytest.raises(WeightsError):
                reading_of(tensors, config, title)
