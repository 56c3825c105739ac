"""What every layer and every head looked at, and attention pooling, beside those who can say it of the same weights."""

import copy
import json

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torchvision.models import VisionTransformer
from torchvision.models.vision_transformer import interpolate_embeddings

from vitral.weights import load_model

from .networks import (
    EVA,
    SIZES,
    TIMM,
    TRANSFORMERS,
    facebook_dinov2,
    facebook_peer,
    images_for,
    timm_peer,
    transformers_call,
    transformers_peer,
)

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def look(agree, assert_same):
    """`look(family, network, model, images, expected, peer)`: model looks where the peer did, in every layer and head.

    `expected`: one `(batch, heads, tokens, tokens)` a layer, by the peer and from the same images. Gives the features.
    """

    def check(family, network, model, images, expected, peer):
        features, found = model.forward_attention(images)
        assert len(found) == len(expected) == model.config.layers
        for ours, theirs in zip(found, expected, strict=True):
            assert nothing_hides(theirs)
            agree(family, network, ours, theirs, peer=peer, way="attention")
            assert_same(ours.sum(dim=-1), torch.ones_like(ours[..., 0]), 1e-6)
        assert_same(features, model.forward_features(images))
        return features

    return check


def nothing_hides(weights):
    """Whether images, heads and tokens differ, and who looks from who is looked at: no wrong order could pass."""
    weights = torch.as_tensor(weights)
    orders = [weights.flip(axis) for axis in range(weights.ndim)]
    orders += [weights.transpose(2, 3)] if weights.ndim == 4 else []
    return all((weights - other).abs().max() > 0.01 * weights.abs().max() for other in orders)


def timm_attentions(peer):
    """A list that fills with the attention of each layer, before its dropout, as timm's network looks at images."""
    seen = []
    for block in peer.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    return seen


@pytest.fixture(scope="module", params=TIMM | EVA)
def of_timm(request, stirred, tmp_path_factory):
    """What it stands for, the family, timm's network and the folder that timm saved it in."""
    folder = tmp_path_factory.mktemp("timm")
    family = "eva" if request.param in EVA else "timm"
    return request.param, family, timm_peer(stirred, folder, request.param), folder


@pytest.mark.parametrize("resized", [False, True])
@torch.no_grad()
def test_attention_is_timms(of_timm, look, resized):
    """At the network's own size, and at one that is no square."""
    kind, family, peer, folder = of_timm
    model, peer = load_model(folder), copy.deepcopy(peer)
    if resized:
        if "its own grid" in kind:
            pytest.skip(
                "timm then counts patches at any resolution; of weights that are published none is so"
            )
        (height, width), (rows, columns) = model.config.image_size, model.config.reach
        size = height + rows, width + 2 * columns
        model = load_model(folder, image_size=size)
        peer.set_input_size(img_size=size)
    images = images_for(model)
    if model.config.resnet_layers:  # what its convolutions round in fp32 is no question here
        model, peer, images = model.double(), peer.double(), images.double()
    expected = timm_attentions(peer)
    peer(images)
    look(family, kind, model, images, expected, "timm")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", TRANSFORMERS)
@torch.no_grad()
def test_attention_is_transformers(stirred, look, tmp_path, case, size):
    """At the network's own size, and at one that is no square."""
    peer = transformers_peer(stirred, tmp_path, case, size)
    peer.set_attn_implementation("eager")
    side, patch = SIZES[size]["image_size"], SIZES[size]["patch_size"]
    for new in ((side, side), (side - patch, side + 2 * patch)):
        images = torch.randn(2, 3, *new)
        inner, options = transformers_call(peer, images, interpolate=new != (side, side))
        expected = inner(images, output_attentions=True, **options).attentions
        model = load_model(tmp_path, image_size=new)
        look(TRANSFORMERS[case][0], case, model, images, expected, "transformers")


def asked_again(attentions, network, images, **options):
    """What PyTorch's own attentions in a network, `(batch, heads, queries, tokens)` each, say of what each is given."""
    given = []
    hooks = [
        attention.register_forward_pre_hook(lambda module, inputs: given.append(inputs))
        for attention in attentions
    ]
    network(images, **options)
    for hook in hooks:
        hook.remove()
    asked = zip(attentions, given, strict=True)
    return [
        attention(*inputs, need_weights=True, average_attn_weights=False)[1] for attention, inputs in asked
    ]


@pytest.mark.parametrize("patches", [4, 3, 7])
@torch.no_grad()
def test_attention_is_torchvisions(stirred, look, tmp_path, patches):
    """At its own 4 x 4 patches, at fewer and at more."""
    peer = stirred(VisionTransformer(32, 8, 3, 4, 64, 96, num_classes=5))
    torch.save(peer.state_dict(), tmp_path / "weights.pth")
    peer.image_size = 8 * patches
    resized = interpolate_embeddings(8 * patches, 8, peer.state_dict())
    peer.encoder.pos_embedding = torch.nn.Parameter(resized["encoder.pos_embedding"])
    images = torch.randn(2, 3, 8 * patches, 8 * patches)
    model = load_model(tmp_path / "weights.pth", image_size=8 * patches, heads=4)
    attentions = [layer.self_attention for layer in peer.encoder.layers]
    expected = asked_again(attentions, peer, images)
    look("torchvision", "VisionTransformer", model, images, expected, "torchvision")


# Name, arguments, and how its authors save it.
FACEBOOK = {
    "DINO": ("vit_small_patch16_224", {"img_size": 48, "num_classes": 0}, "teacher"),
    "MAE": ("vit_base_patch16_224", {"img_size": 64, "num_classes": 0}, "model"),
    "DeiT": ("deit_base_patch16_224", {"img_size": 48}, "model"),
    "DeiT, distilled": ("deit_small_distilled_patch16_224", {"img_size": 48}, "model"),
    "DINOv2": ("vit_small_patch14_dinov2", {}, None),
    "DINOv2, SwiGLU": ("vit_giant_patch14_dinov2", {}, None),
    "DINOv2, registers": ("vit_base_patch14_reg4_dinov2", {}, None),
    "DINOv2, SwiGLU, registers": ("vit_giant_patch14_reg4_dinov2", {}, None),
}


@pytest.mark.parametrize("kind", FACEBOOK)
@torch.no_grad()
def test_attention_in_facebookresearchs_files_is_timms(stirred, look, tmp_path, kind):
    name, changes, wrapper = FACEBOOK[kind]
    if wrapper is None:
        peer, tensors = facebook_dinov2(stirred, name)
        content = tensors
    else:
        peer, tensors = facebook_peer(stirred, name, **changes)
        prefix = "backbone." if wrapper == "teacher" else ""
        content = {wrapper: {prefix + name: tensor for name, tensor in tensors.items()}}
    torch.save(content, tmp_path / "checkpoint.pth")
    model = load_model(tmp_path / "checkpoint.pth", heads=3, family="facebook")
    images = images_for(model)
    expected = timm_attentions(peer)
    peer(images)
    look("facebook", kind, model, images, expected, "timm")


ORACLES = [
    "vit_token", "vit_token_prelogits", "vit_gap_linen_names", "big_vision_gap", "big_vision_tok", "big_vision_map",
]  # fmt: skip


def below(tensors, *names):
    """The tensors below the first of these names that there is."""
    name = next(name for name in names if any(key.startswith(f"{name}/") for key in tensors))
    return {
        key.removeprefix(f"{name}/"): array for key, array in tensors.items() if key.startswith(f"{name}/")
    }


def norm_by_hand(x, of):
    centred = x - x.mean(axis=-1, keepdims=True)
    return of["scale"] * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) + of["bias"]


def attention_by_hand(asking, asked, of):
    """softmax(q k^T / sqrt(head_dim)) v in every head, and the softmax."""
    q, k, v = (
        np.einsum("btd,dhe->bhte", x, of[f"{name}/kernel"]) + of[f"{name}/bias"][:, None]
        for name, x in (("query", asking), ("key", asked), ("value", asked))
    )
    weights = np.exp(np.einsum("bhqe,bhke->bhqk", q, k) / np.sqrt(q.shape[-1]))
    weights /= weights.sum(axis=-1, keepdims=True)
    mixed = np.einsum("bhqk,bhke->bhqe", weights, v)
    return np.einsum("bhqe,hed->bqd", mixed, of["out/kernel"]) + of["out/bias"], weights


def mlp_by_hand(x, of):
    x = x @ of["Dense_0/kernel"] + of["Dense_0/bias"]
    x = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x @ of["Dense_1/kernel"] + of["Dense_1/bias"]


def network_by_hand(tensors, images, facts):
    """Equations 1 to 4 in numpy and fp64, image by patches: logits, each layer's attention, the attention pooling's."""
    tensors = {
        name.removeprefix(facts.get("prefix", "")): np.asarray(x, np.float64) for name, x in tensors.items()
    }
    (batch, height, width, channels), patch = images.shape, facts["patch_size"]
    pieces = images.reshape(batch, height // patch, patch, width // patch, patch, channels)
    flat = pieces.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, patch * patch * channels)
    z = flat @ tensors["embedding/kernel"].reshape(-1, facts["dim"]) + tensors["embedding/bias"]
    token = np.broadcast_to(tensors["cls"], (batch, 1, facts["dim"])) if "cls" in tensors else z[:, :0]
    if "pos_embedding" in tensors:  # big_vision: the class token has none
        z = np.concatenate([token, z + tensors["pos_embedding"]], axis=1)
    else:
        z = np.concatenate([token, z], axis=1) + tensors["Transformer/posembed_input/pos_embedding"]
    attentions = []
    for layer in range(facts["depth"]):
        block = below(tensors, f"Transformer/encoderblock_{layer}")
        attention = below(block, "MultiHeadDotProductAttention_0", "MultiHeadDotProductAttention_1")
        normed = norm_by_hand(z, below(block, "LayerNorm_0"))
        out, weights = attention_by_hand(normed, normed, attention)
        attentions.append(weights)
        z = z + out
        normed = norm_by_hand(z, below(block, "LayerNorm_1", "LayerNorm_2"))
        z = z + mlp_by_hand(normed, below(block, "MlpBlock_0", "MlpBlock_3"))
    z, pooling = norm_by_hand(z, below(tensors, "Transformer/encoder_norm")), None
    if facts["pool"] == "map":
        head = below(tensors, "MAPHead_0")
        probe = np.broadcast_to(head["probe"], (batch, 1, facts["dim"]))
        y, pooling = attention_by_hand(probe, z, below(head, "MultiHeadDotProductAttention_0"))
        y = y + mlp_by_hand(norm_by_hand(y, below(head, "LayerNorm_0")), below(head, "MlpBlock_0"))
        y, pooling = y[:, 0], pooling[:, :, 0]
    else:
        y = z[:, 0] if facts["pool"] == "cls" else z.mean(axis=1)
    if "pre_logits/kernel" in tensors:
        y = np.tanh(y @ tensors["pre_logits/kernel"] + tensors["pre_logits/bias"])
    return y @ tensors["head/kernel"] + tensors["head/bias"], attentions, pooling


@pytest.mark.parametrize("name", ORACLES)
@torch.no_grad()
def test_attention_is_the_papers_in_the_authors_networks(shared, look, agree, assert_same, name):
    """Their code gave logits alone; what is worked out by hand is theirs if its logits are."""
    folder = shared / "oracles"
    facts = json.loads((folder / f"{name}.json").read_text())
    known = dict(np.load(folder / f"{name}.expected.npz"))
    tensors = dict(np.load(folder / f"{name}.npz"))
    logits, expected, pooling = network_by_hand(tensors, known["images"].astype(np.float64), facts)
    np.testing.assert_allclose(logits, known["logits"], rtol=0, atol=1e-5 * np.abs(known["logits"]).max())
    model = load_model(folder / f"{name}.npz")
    images = torch.from_numpy(known["images"]).permute(0, 3, 1, 2)
    features = look("jax", name, model, images, expected, "numpy")
    if pooling is not None:
        found, weights = model.forward_head_attention(features)
        agree("jax", name, weights, pooling, peer="numpy", way="attention")
        assert_same(found, torch.from_numpy(known["logits"]))


class Softmaxes(TorchFunctionMode):
    """Keeps the softmaxes that are computed meanwhile: timm's attention pooling shows its own to nobody."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.Tensor.softmax:
            self.seen.append(out)
        return out


def same_pooling(agree, assert_same, family, network, model, images, expected, peer):
    """The pooling looks where the peer's does, `(batch, heads, patches)`, and not at special tokens."""
    features, special = model.forward_features(images), model.config.special_tokens
    logits, weights = model.forward_head_attention(features)
    assert (weights[..., :special] == 0).all()
    assert nothing_hides(expected)
    agree(family, network, weights[..., special:], expected, peer=peer, way="attention")
    assert_same(weights.sum(dim=-1), torch.ones_like(weights[..., 0]), 1e-6)
    assert_same(logits, model.forward_head(features))
    return logits, weights


@pytest.mark.parametrize("kind", ["ViT, registers, attention pooling", "SigLIP", "SigLIP, tanh"])
def test_attention_pooling_is_timms(stirred, agree, assert_same, tmp_path, kind):
    """And what a logit owes to it."""
    peer = timm_peer(stirred, tmp_path, kind)
    peer.attn_pool.fused_attn = False
    model = load_model(tmp_path)
    images = images_for(model)
    features = peer.forward_features(images)
    with Softmaxes() as softmaxes:
        expected_logits = peer.forward_head(features)
    (theirs,) = softmaxes.seen
    logits, weights = same_pooling(agree, assert_same, "timm", kind, model, images, theirs.squeeze(2), "timm")
    assert_same(logits, expected_logits)
    (expected,) = torch.autograd.grad(expected_logits[:, 3].sum(), theirs)
    (found,) = torch.autograd.grad(logits[:, 3].sum(), weights)
    assert_same(found[..., model.config.special_tokens :], expected.squeeze(2))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", ["SiglipVisionModel", "SiglipModel"])
@torch.no_grad()
def test_attention_pooling_is_transformers(stirred, agree, assert_same, tmp_path, case, size):
    peer = transformers_peer(stirred, tmp_path, case, size)
    side, patch = SIZES[size]["image_size"], SIZES[size]["patch_size"]
    for new in ((side, side), (side - patch, side + 2 * patch)):
        images = torch.randn(2, 3, *new)
        inner, options = transformers_call(peer, images, interpolate=new != (side, side))
        (theirs,) = asked_again([inner.head.attention], inner, images, **options)
        model = load_model(tmp_path, image_size=new)
        same_pooling(
            agree, assert_same, "siglip_vision_model", case, model, images, theirs.squeeze(2), "transformers"
        )


def same_gradients(assert_same, model, images, logits, attentions):
    """What a logit owes to each layer's attention, later layers included, is what the peer's owes to its own."""
    expected = torch.autograd.grad(logits[:, 3].sum(), attentions)
    features, attentions = model.forward_attention(images)
    found = model.forward_head(features)
    assert_same(found, logits)
    for ours, theirs in zip(torch.autograd.grad(found[:, 3].sum(), attentions), expected, strict=True):
        assert nothing_hides(theirs)
        assert_same(ours, theirs)


@pytest.mark.parametrize(
    "kind", ["ViT", "DeiT, distilled", "DINOv2, registers", "SigLIP", "EVA-02, CLIP", "DINOv3"]
)
def test_what_a_logit_owes_to_attention_is_timms(stirred, assert_same, tmp_path, kind):
    peer, model = timm_peer(stirred, tmp_path, kind), load_model(tmp_path)
    images, attentions = images_for(model), timm_attentions(peer)
    same_gradients(assert_same, model, images, peer(images), attentions)


@pytest.mark.parametrize(
    "case",
    [
        "ViTForImageClassification",
        "DeiTForImageClassificationWithTeacher",
        "Dinov2ForImageClassification",
        "SiglipForImageClassification",
    ],
)
def test_what_a_logit_owes_to_attention_is_transformers(stirred, assert_same, tmp_path, case):
    peer = transformers_peer(stirred, tmp_path, case, "wide")
    peer.set_attn_implementation("eager")
    images = torch.randn(2, 3, 30, 30)
    out = peer(images, output_attentions=True)
    same_gradients(assert_same, load_model(tmp_path), images, out.logits, out.attentions)


@torch.no_grad()
def test_layers_come_as_they_are_asked_for(stirred, assert_same, tmp_path):
    peer, model = timm_peer(stirred, tmp_path, "ViT"), load_model(tmp_path)
    images, expected = images_for(model), timm_attentions(peer)
    peer(images)
    features, found = model.forward_attention(images, layers=(-1, 0))
    assert_same(features, peer.forward_features(images))
    for ours, layer in zip(found, (2, 0), strict=True):
        assert_same(ours, expected[layer])
