"""Networks of transformers, saved by it and read by vitral: the same images must give the same numbers."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from vitral.errors import WeightsError
from vitral.model.encoder import ACTIVATIONS as OUR_ACTIVATIONS
from vitral.weights import load_model, overrides_from, read_checkpoint
from vitral.weights.families import FAMILIES
from vitral.weights.families.huggingface.common import ACTIVATIONS, dress
from vitral.weights.rules import from_vitral

from .networks import CONFIGS, SIZES, TRANSFORMERS, transformers_call, transformers_peer

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def saved(stirred, tmp_path):
    """`saved(case, size, **options)`: the peer and the folder that it wrote itself into."""

    def make(case, size="narrow", **options):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        return transformers_peer(stirred, folder, case, size, **options), folder

    return make


def expected(peer, images, interpolate=False):
    """What the peer makes of images: features, after the final norm, and logits; None for what it does not give."""
    if type(peer).__name__ == "CLIPModel":
        options = {"interpolate_pos_encoding": True} if interpolate else {}
        return None, peer.get_image_features(images, **options).pooler_output
    peer, options = transformers_call(peer, images, interpolate)
    out = peer(images, **options)
    logits = next((out[key] for key in ("logits", "image_embeds", "pooler_output") if key in out), None)
    features = None if "logits" in out else out.last_hidden_state
    if type(peer).__name__.startswith("CLIP"):
        features = getattr(peer, "vision_model", peer).post_layernorm(features)
    return features, logits


def compare(agree, case, model, peer, images, interpolate=False):
    family = TRANSFORMERS[case][0]
    with torch.no_grad():
        features, logits = expected(peer, images, interpolate)
        if features is not None:
            agree(family, case, model.forward_features(images), features, peer="transformers")
        if logits is not None:
            agree(family, case, model(images), logits, peer="transformers")
    assert features is not None or logits is not None


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", TRANSFORMERS)
def test_outputs_are_transformers(saved, agree, case, size):
    """Each class in two sizes, at its own resolution, at a larger and at one that is no square."""
    peer, folder = saved(case, size)
    model = load_model(folder)
    side, patch = SIZES[size]["image_size"], SIZES[size]["patch_size"]
    assert model.config.image_size == (side, side)
    assert model.config.heads == SIZES[size]["num_attention_heads"]
    compare(agree, case, model, peer, torch.randn(2, 3, side, side))
    for new in ((side + patch, side + patch), (side - patch, side + 2 * patch)):
        model = load_model(folder, image_size=new)
        compare(agree, case, model, peer, torch.randn(2, 3, *new), interpolate=True)


QUIRKS = {
    "ViTForImageClassification": [
        {"hidden_act": "gelu_new"},
        {"hidden_act": "quick_gelu"},
        {"hidden_act": "silu"},
        {"layer_norm_eps": 0.1},
        {"qkv_bias": False},
        {"num_channels": 1},
        {"image_size": [16, 40]},
        {"patch_size": [8, 4], "image_size": [16, 24]},
        {"num_attention_heads": 16},
    ],
    "ViTModel": [{"pooler_output_size": 11}],
    "DeiTForImageClassificationWithTeacher": [
        {"hidden_act": "gelu_pytorch_tanh"},
        {"layer_norm_eps": 0.1},
        {"qkv_bias": False},
        {"num_channels": 1},
        {"image_size": [16, 40]},
    ],
    "ViTMAEModel": [{"hidden_act": "gelu_new"}, {"layer_norm_eps": 0.1}, {"qkv_bias": False}],
    "Dinov2ForImageClassification": [
        {"use_swiglu_ffn": True},
        {"use_swiglu_ffn": True, "qkv_bias": False},
        {"use_mask_token": False},
        {"hidden_act": "silu"},
        {"layer_norm_eps": 0.1},
        {"num_channels": 1},
        {"mlp_ratio": 2},
    ],
    "Dinov2WithRegistersForImageClassification": [
        {"use_swiglu_ffn": True},
        {"num_register_tokens": 1},
        {"num_register_tokens": 0},
        {"qkv_bias": False},
        {"layer_norm_eps": 0.1},
    ],
    "DINOv3ViTModel": [
        {"use_gated_mlp": True, "hidden_act": "silu"},
        {"use_gated_mlp": True, "hidden_act": "gelu"},
        {"num_register_tokens": 0},
        {"query_bias": False, "value_bias": False},
        {"query_bias": False},
        {"value_bias": False},
        {"key_bias": True},
        {"proj_bias": False},
        {"mlp_bias": False},
        {"mlp_bias": False, "use_gated_mlp": True},
        {"layer_norm_eps": 0.1},
        {"image_size": [16, 40]},
        {"num_channels": 1},
        {"num_attention_heads": 2},
    ],
    "CLIPVisionModelWithProjection": [
        {"hidden_act": "gelu"},
        {"layer_norm_eps": 0.1},
        {"num_channels": 1},
    ],
    "SiglipVisionModel": [
        {"hidden_act": "gelu"},
        {"layer_norm_eps": 0.1},
        {"vision_use_head": False},
        {"num_channels": 1},
    ],
}


@pytest.mark.parametrize(
    ("case", "options"),
    [
        pytest.param(case, options, id=f"{case}-{options}")
        for case, many in QUIRKS.items()
        for options in many
    ],
)
def test_quirks_are_read_from_config_and_tensors(saved, agree, case, options):
    peer, folder = saved(case, **options)
    model = load_model(folder)
    size = options.get("image_size", 32)
    size = (size, size) if isinstance(size, int) else tuple(size)
    assert model.config.image_size == size
    compare(agree, case, model, peer, torch.randn(2, options.get("num_channels", 3), *size))


@pytest.mark.parametrize("case", ["CLIPVisionModel", "SiglipVisionModel"])
def test_what_is_left_over_at_right_and_bottom_is_not_seen(saved, agree, case):
    """SigLIP so400m has 384 pixels and patches of 14: their convolution leaves 6 pixels out."""
    peer, folder = saved(case, image_size=37)
    model = load_model(folder)
    assert model.config.image_size == (32, 32)
    images = torch.randn(2, 3, 37, 37)
    with torch.no_grad():
        features, _ = expected(peer, images)
        found = model.forward_features(images[..., :32, :32])
    agree(TRANSFORMERS[case][0], case, found, features, peer="transformers")


@pytest.mark.parametrize("size", [(24, 24), (8, 48), (40, 16), (56, 64)])
def test_rotary_positions_are_dinov3s_at_every_size(saved, agree, size):
    peer, folder = saved("DINOv3ViTModel", num_attention_heads=2)
    model = load_model(folder, image_size=size)
    with torch.no_grad():
        cosine, sine = peer.rope_embeddings(torch.zeros(1, 3, *size))
    found = model.rotation[:, model.config.special_tokens :]
    agree("dinov3_vit", "DINOv3ViTModel", found, torch.stack([cosine, sine]), peer="transformers")
    compare(agree, "DINOv3ViTModel", model, peer, torch.randn(1, 3, *size))


OUTSIDE = ("classifier.", "cls_classifier.", "distillation_classifier.", "visual_projection.")
UNUSED = ("decoder.", "text_model.", "text_projection.", "logit_")


def used(tensors, family):
    """What the network for images is made of."""
    head = (
        "vision_model.head." if "classifier.weight" in tensors and family == "siglip_vision_model" else UNUSED
    )
    return {
        n: t for n, t in tensors.items() if not n.startswith(UNUSED) and not n.startswith(head) and t.numel()
    }


@pytest.mark.parametrize("names", ["saved", "memory"])
@pytest.mark.parametrize("case", TRANSFORMERS)
def test_tensors_come_back_bit_for_bit(saved, case, names):
    peer, folder = saved(case)
    theirs = load_file(folder / "model.safetensors")
    if names == "memory":
        theirs = {name: tensor.clone() for name, tensor in peer.state_dict().items()}
        save_file(theirs, folder / "model.safetensors")
    family = FAMILIES[TRANSFORMERS[case][0]]
    checkpoint = read_checkpoint(folder)
    form = checkpoint.origin.form
    back = dress(from_vitral(checkpoint.tensors, family.rules(checkpoint.config, form), family.TITLE), form)
    wanted = used(theirs, TRANSFORMERS[case][0])
    assert back.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_form_is_plain_json(saved, case):
    _, folder = saved(case)
    form = read_checkpoint(folder).origin.form
    assert json.loads(json.dumps(form)) == form


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_pickle_of_a_state_dict_is_read(saved, agree, case):
    """As training scripts save it, and with the names of version 5."""
    peer, folder = saved(case)
    (folder / "model.safetensors").unlink()
    torch.save(peer.state_dict(), folder / "pytorch_model.bin")
    compare(agree, case, load_model(folder), peer, torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_pickle_of_an_old_version_is_read(saved, agree, case):
    """The names of all public files, with the buffers that older versions kept among them."""
    peer, folder = saved(case)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for name in [name for name in tensors if name.endswith("position_embedding.weight")]:
        ids = torch.arange(len(tensors[name]))[None]
        tensors[name.replace("position_embedding.weight", "position_ids")] = ids
    torch.save(tensors, folder / "pytorch_model.bin")
    compare(agree, case, load_model(folder), peer, torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize(
    "case", [case for case, (family, *_) in TRANSFORMERS.items() if FAMILIES[family].PREFIXES]
)
@pytest.mark.parametrize("with_config", [True, False])
def test_prefix_may_be_there_or_not(saved, case, with_config):
    """Bare networks were published with the prefix of the class around them, and the reverse."""
    _, folder = saved(case)
    if not with_config:
        (folder / "config.json").unlink()
    family = TRANSFORMERS[case][0]
    said = overrides_from({"heads": 4, "family": family})
    checkpoint = read_checkpoint(folder, said)
    prefix, known = checkpoint.origin.form["prefix"], FAMILIES[family].PREFIXES[0]
    other = "" if prefix else known
    tensors = used(load_file(folder / "model.safetensors"), family)
    changed = {n if n.startswith(OUTSIDE) else other + n.removeprefix(prefix): t for n, t in tensors.items()}
    assert changed.keys() != tensors.keys()
    save_file(changed, folder / "model.safetensors")
    again = read_checkpoint(folder, said)
    assert again.config == checkpoint.config
    for name, tensor in checkpoint.tensors.items():
        assert torch.equal(again.tensors[name], tensor), name


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_file_alone_is_read_where_heads_are_said(saved, agree, tmp_path, case):
    peer, folder = saved(case)
    alone = tmp_path / "alone.safetensors"
    shutil.copy(folder / "model.safetensors", alone)
    said = {"heads": 4}
    if case in ("ViTMAEModel", "ViTModel without pooler"):
        said["family"] = TRANSFORMERS[case][0]
    compare(agree, case, load_model(alone, **said, image_size=32), peer, torch.randn(1, 3, 32, 32))
    checkpoint = read_checkpoint(alone, overrides_from(said), image_size=32)
    assert checkpoint.origin.family == TRANSFORMERS[case][0]
    assert {"norm_epsilon", "mean"} <= set(checkpoint.origin.assumed)
    settled = case == "Dinov2Model with SwiGLU"  # which has silu whatever its configuration says
    assert ("activation" in checkpoint.origin.assumed) != settled
    assert "heads" not in checkpoint.origin.assumed


def test_heads_of_a_file_alone_are_dim_by_64_and_noted(saved, tmp_path):
    _, folder = saved("ViTModel", hidden_size=128, num_attention_heads=2)
    alone = tmp_path / "alone.safetensors"
    shutil.copy(folder / "model.safetensors", alone)
    checkpoint = read_checkpoint(alone)
    assert checkpoint.config.heads == 2
    assert "heads" in checkpoint.origin.assumed
    _, folder = saved("ViTModel")
    shutil.copy(folder / "model.safetensors", alone)
    with pytest.raises(WeightsError, match="say heads=N"):
        read_checkpoint(alone)


@pytest.mark.parametrize(("case", "dim", "heads"), [("DINOv3ViTModel", 1280, 20), ("ViTMAEModel", 1280, 16)])
def test_published_heads_that_are_not_dim_by_64_are_known(saved, tmp_path, case, dim, heads):
    """DINOv3's ViT-H+ has other heads than ViT-H of everyone else."""
    _, folder = saved(case, hidden_size=dim, num_attention_heads=heads, num_hidden_layers=1)
    alone = tmp_path / "alone.safetensors"
    shutil.copy(folder / "model.safetensors", alone)
    assert read_checkpoint(alone, overrides_from({"family": TRANSFORMERS[case][0]})).config.heads == heads


def test_config_of_somebody_else_beside_the_tensors_settles_nothing(saved):
    _, folder = saved("ViTModel", hidden_size=128, num_attention_heads=2)
    (folder / "config.json").write_text(json.dumps({"learning_rate": 0.1}))
    checkpoint = read_checkpoint(folder)
    assert checkpoint.config.heads == 2
    assert "heads" in checkpoint.origin.assumed


def test_network_in_several_files_is_read(saved, agree):
    peer, folder = saved("Dinov2Model")
    (folder / "model.safetensors").unlink()
    peer.save_pretrained(folder, max_shard_size="20KB")
    assert not (folder / "model.safetensors").exists()
    compare(agree, "Dinov2Model", load_model(folder), peer, torch.randn(1, 3, 32, 32))


@pytest.mark.parametrize("case", ["ViTMAEModel", "ViTModel without pooler"])
def test_two_families_with_the_same_names_are_asked_for(saved, tmp_path, case):
    _, folder = saved(case)
    alone = tmp_path / "alone.safetensors"
    shutil.copy(folder / "model.safetensors", alone)
    with pytest.raises(WeightsError, match="vit or vit_mae: say which, with family="):
        load_model(alone, heads=4)
    means = {
        family: read_checkpoint(alone, overrides_from({"heads": 4, "family": family})).preprocessing.mean
        for family in ("vit", "vit_mae")
    }
    assert means["vit"] != means["vit_mae"]


# Without these it is another network, a whole one.
OPTIONAL = ("embeddings.mask_token", "visual_projection.weight")


@pytest.mark.parametrize("case", TRANSFORMERS)
def test_missing_tensor_is_named(saved, case):
    _, folder = saved(case)
    family = TRANSFORMERS[case][0]
    tensors = load_file(folder / "model.safetensors")
    for name in used(tensors, family):
        if name.endswith(OPTIONAL):
            continue
        save_file({n: t for n, t in tensors.items() if n != name}, folder / "model.safetensors")
        inner = name.split("vision_model.")[-1].removeprefix(f"{family}.").removeprefix("vit.")
        with pytest.raises(WeightsError, match=inner.replace(".", r"\.")):
            read_checkpoint(folder)


@pytest.mark.parametrize("extra", ["", "inner"])
@pytest.mark.parametrize("case", TRANSFORMERS)
def test_unknown_tensor_is_named(saved, case, extra):
    _, folder = saved(case)
    tensors = load_file(folder / "model.safetensors")
    prefix = read_checkpoint(folder).origin.form["prefix"] if extra else ""
    save_file(tensors | {f"{prefix}adapter.weight": torch.ones(2, 3)}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"adapter\.weight is 2x3 instead of missing"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("case", "options", "text"),
    [
        ("DINOv3ViTModel", {"rope_theta": 50.0}, "rope_theta 50"),
        ("DINOv3ViTModel", {"key_bias": True, "value_bias": False}, "bias for key and query alone"),
        ("ViTModel", {"pooler_act": "relu"}, "'relu'"),
        ("ViTForImageClassification", {"hidden_act": "relu"}, "'relu'"),
        ("CLIPForImageClassification", {"num_labels": 5}, "CLIPForImageClassification"),
    ],
)
def test_what_vitral_cannot_say_is_refused_by_name(saved, case, options, text):
    _, folder = saved(case, **options)
    with pytest.raises(WeightsError, match=text):
        read_checkpoint(folder)


def test_flags_that_contradict_the_tensors_are_refused(saved):
    _, folder = saved("DINOv3ViTModel", mlp_bias=False)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"mlp_bias": True}))
    with pytest.raises(WeightsError, match="mlp_bias"):
        read_checkpoint(folder)


def test_patches_of_no_image_are_refused(saved):
    """SigLIP 2 in its variant of any size and proportions takes patches, not images."""
    _, folder = saved("SiglipVisionModel")
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.patch_embedding.weight"] = tensors["embeddings.patch_embedding.weight"].flatten(1)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"embeddings\.patch_embedding\.weight is 32x192"):
        read_checkpoint(folder)


@pytest.mark.parametrize("family", CONFIGS)
def test_defaults_are_those_of_their_configuration_class(family):
    """What a config.json leaves out is as transformers takes it: old files of SigLIP leave out nearly all."""
    module, theirs = FAMILIES[family], getattr(transformers, CONFIGS[family])()
    usual = getattr(module, "USUAL", None)
    if usual is None:  # shared with a relative
        usual = FAMILIES[{"dinov2_with_registers": "dinov2"}.get(family, "vit")].USUAL
    for name, value in usual.items():
        assert getattr(theirs, name) == value, name
    assert theirs.image_size == 224


@pytest.mark.parametrize("theirs", ACTIVATIONS)
def test_activations_are_transformers(theirs):
    x = torch.linspace(-6, 6, 1001)
    expected = transformers.activations.ACT2FN[theirs](x)
    difference = OUR_ACTIVATIONS[ACTIVATIONS[theirs]]()(x) - expected
    assert difference.abs().max() <= 1e-6


def test_vision_config_that_says_nothing_means_the_defaults(stirred, agree, tmp_path):
    """As Google published SigLIP: {"model_type": "siglip_vision_model"} and no more."""
    config = transformers.SiglipVisionConfig(num_hidden_layers=1, image_size=32)
    peer = stirred(transformers.SiglipVisionModel(config))
    peer.save_pretrained(tmp_path)
    short = {"num_hidden_layers": 1, "image_size": 32, "model_type": "siglip_vision_model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip", "vision_config": short}))
    compare(agree, "SiglipVisionModel", load_model(tmp_path), peer, torch.randn(1, 3, 32, 32))


def test_outputs_of_a_projection_have_no_class_names(saved):
    _, folder = saved("CLIPModel")
    checkpoint = read_checkpoint(folder)
    assert checkpoint.config.num_classes == 7
    assert checkpoint.class_names == ()
