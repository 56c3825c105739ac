"""torchvision's own checkpoints: logits at any resolution, and back again tensor for tensor."""

import copy
import re

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import VisionTransformer, get_model_weights, vision_transformer, vit_b_16
from torchvision.models.vision_transformer import interpolate_embeddings

from vitral.errors import WeightsError
from vitral.weights import load_model, read_checkpoint
from vitral.weights.families import torchvision
from vitral.weights.rules import from_vitral

SHAPES = {
    "small": {"image_size": 24, "patch_size": 8, "num_heads": 2, "hidden_dim": 128, "num_classes": 5},
    "with a representation": {
        "image_size": 20,
        "patch_size": 5,
        "num_heads": 3,
        "hidden_dim": 192,
        "num_classes": 4,
        "representation_size": 40,
    },
    "huge's width": {
        "image_size": 28,
        "patch_size": 14,
        "num_heads": 16,
        "hidden_dim": 1280,
        "num_layers": 1,
        "num_classes": 1000,
    },
}


def build(shape, **changes):
    return VisionTransformer(**({"num_layers": 2, "mlp_dim": 96} | SHAPES[shape] | changes))


def in_old_names(tensors):
    """As torchvision called the MLP's layers before 0.13."""
    numbers = {"0": "linear_1", "3": "linear_2"}
    return {
        re.sub(r"\.mlp\.([03])\.", lambda match: f".mlp.{numbers[match[1]]}.", name): tensor
        for name, tensor in tensors.items()
    }


@pytest.fixture(params=SHAPES)
def peer(request, stirred):
    return stirred(build(request.param))


@pytest.fixture(params=["today's names", "old names", "a head of one's own"])
def saved(request, peer, stirred, tmp_path):
    """A file of the peer's weights; its path, its tensors, and the peer that loads them strictly."""
    if request.param == "a head of one's own":  # as tutorials replace it
        peer.heads = stirred(torch.nn.Linear(peer.hidden_dim, 7), seed=1)
    tensors = peer.state_dict()
    if request.param == "old names":
        tensors = in_old_names(tensors)
    torch.save(tensors, tmp_path / "weights.pth")
    return tmp_path / "weights.pth", tensors, peer


def test_logits_are_torchvisions(saved, agree):
    file, _, peer = saved
    model = load_model(file)
    assert model.config.heads == peer.encoder.layers[0].self_attention.num_heads
    images = torch.randn(2, 3, peer.image_size, peer.image_size)
    with torch.no_grad():
        agree("torchvision", "VisionTransformer", model(images), peer(images), peer="torchvision")


@pytest.mark.parametrize("patches", [1, 3, 7])
def test_logits_at_another_resolution_are_torchvisions(saved, stirred, agree, patches):
    file, _, peer = saved
    size = patches * peer.patch_size
    resized = interpolate_embeddings(size, peer.patch_size, peer.state_dict())
    other = copy.deepcopy(peer)
    other.image_size = size
    other.encoder.pos_embedding = torch.nn.Parameter(resized["encoder.pos_embedding"])
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        found = load_model(file, image_size=size)(images)
        agree("torchvision", "VisionTransformer", found, other(images), peer="torchvision")


def test_safetensors_hold_the_same(peer, tmp_path):
    save_file(peer.state_dict(), tmp_path / "a.safetensors")
    torch.save({"model": peer.state_dict(), "epoch": 300}, tmp_path / "a.pth")
    first, second = (load_model(tmp_path / name).state_dict() for name in ("a.safetensors", "a.pth"))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_tensors_come_back_bit_for_bit(saved, agree):
    file, tensors, peer = saved
    checkpoint = read_checkpoint(file)
    form = checkpoint.origin.form
    rules = torchvision.rules(checkpoint.config, form)
    back = torchvision.dress(from_vitral(checkpoint.tensors, rules, torchvision.TITLE), form)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name
    images = torch.randn(2, 3, peer.image_size, peer.image_size)
    with torch.no_grad():
        expected = peer(images)
        peer.load_state_dict(back, strict=True)
        agree("torchvision", "VisionTransformer", peer(images), expected, peer="torchvision", way="out")


def test_a_model_of_ours_loads_there_strictly(small, lively, agree):
    model = lively(small(image_size=(24, 24), representation_size=12))
    form = torchvision.form_for(model.config)
    tensors = from_vitral(model.state_dict(), torchvision.rules(model.config, form), torchvision.TITLE)
    other = VisionTransformer(24, 8, 3, 4, 32, 48, num_classes=5, representation_size=12).eval()
    other.load_state_dict(tensors, strict=True)
    images = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        agree("torchvision", "VisionTransformer", other(images), model(images), peer="torchvision", way="out")


def test_a_headless_network_gives_features(stirred, tmp_path, agree):
    peer = stirred(build("small"))
    peer.heads = torch.nn.Identity()
    torch.save(peer.state_dict(), tmp_path / "weights.pth")
    model, images = load_model(tmp_path / "weights.pth"), torch.randn(2, 3, 24, 24)
    assert model.config.num_classes == 0
    with torch.no_grad():
        agree("torchvision", "VisionTransformer", model(images), peer(images), peer="torchvision")


def test_what_the_file_does_not_say_is_noted_and_can_be_said(stirred, tmp_path):
    torch.save(stirred(build("small")).state_dict(), tmp_path / "weights.pth")
    checkpoint = read_checkpoint(tmp_path / "weights.pth")
    transforms = get_model_weights("vit_b_16").IMAGENET1K_V1.transforms()
    assert list(checkpoint.preprocessing.mean) == transforms.mean
    assert list(checkpoint.preprocessing.std) == transforms.std
    assert checkpoint.preprocessing.interpolation == transforms.interpolation.value
    assert checkpoint.preprocessing.crop_share == transforms.crop_size[0] / transforms.resize_size[0]
    assert checkpoint.preprocessing.size == (24, 24)
    assert checkpoint.origin.family == "torchvision"
    assert checkpoint.origin.assumed.keys() == {"heads", "mean", "std", "interpolation", "crop_share"}
    assert load_model(tmp_path / "weights.pth", heads=4).config.heads == 4


def test_a_thousand_outputs_are_imagenets_classes(stirred, tmp_path):
    torch.save(stirred(build("huge's width")).state_dict(), tmp_path / "weights.pth")
    names = read_checkpoint(tmp_path / "weights.pth").class_names
    assert len(set(names)) == 1000
    assert names[:2] == ("tench", "goldfish")


def test_a_convolutional_stem_is_refused(tmp_path):
    stem = [vision_transformer.ConvStemConfig(8, 3, 2), vision_transformer.ConvStemConfig(16, 3, 2)]
    torch.save(build("small", patch_size=4, conv_stem_configs=stem).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="convolutional stem"):
        load_model(tmp_path / "weights.pth")


def test_unknown_tensors_are_named(stirred, tmp_path):
    tensors = stirred(build("small")).state_dict()
    torch.save(tensors | {"heads.extra.weight": torch.ones(3)}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"heads\.extra\.weight is 3 instead of missing"):
        load_model(tmp_path / "weights.pth")


@pytest.mark.slow
@pytest.mark.parametrize("builder", ["vit_b_16", "vit_l_32"])
def test_every_builders_own_architecture_is_read(builder, tmp_path, agree):
    torch.manual_seed(0)
    peer = getattr(vision_transformer, builder)(num_classes=10).eval()
    torch.nn.init.normal_(peer.heads.head.weight)
    torch.save(peer.state_dict(), tmp_path / "weights.pth")
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        found = load_model(tmp_path / "weights.pth")(images)
        agree("torchvision", builder, found, peer(images), peer="torchvision")


def test_vit_b_16_is_the_papers_base(tmp_path):
    with torch.device("meta"):
        peer = vit_b_16()
    torch.save(
        {name: torch.zeros(1).expand(t.shape) for name, t in peer.state_dict().items()}, tmp_path / "w.pth"
    )
    config = read_checkpoint(tmp_path / "w.pth").config
    assert (config.layers, config.dim, config.mlp_dim, config.heads) == (12, 768, 3072, 12)
    assert (config.image_size, config.patch_size, config.num_classes) == ((224, 224), (16, 16), 1000)
    assert (config.activation, config.norm_epsilon) == ("gelu", 1e-6)
