"""Files as facebookresearch's training scripts write them, beside timm with the same weights.

Where timm reads such a file itself, it does so here: then its names are not only ours.
"""

from argparse import Namespace

import pytest
import torch

from vitral.errors import WeightsError
from vitral.images import HALF, IMAGENET_MEAN, IMAGENET_STD
from vitral.weights import load_model, overrides_from, read_checkpoint
from vitral.weights.families import facebook
from vitral.weights.rules import from_vitral

from .networks import facebook_dinov2, facebook_peer, images_for

timm = pytest.importorskip("timm")
from timm.models.deit import checkpoint_filter_fn  # noqa: E402

SAID = {"heads": 3}  # dim / 64 fits their sizes, not these


def saved(tmp_path, content):
    """A file of PyTorch's."""
    torch.save(content, tmp_path / "checkpoint.pth")
    return tmp_path / "checkpoint.pth"


def check(agree, kind, file, peer, **said):
    """Features and logits are timm's, the way back is exact, and preprocessing is ImageNet's."""
    model = load_model(file, **SAID | said)
    images = images_for(model)
    with torch.no_grad():
        features = peer.forward_features(images)
        agree("facebook", kind, model.forward_features(images), features, peer="timm")
        agree("facebook", kind, model(images), peer.forward_head(features), peer="timm")
    checkpoint = read_checkpoint(file, overrides_from(SAID | said))
    assert checkpoint.origin.family == "facebook"
    seen = checkpoint.preprocessing
    assert (seen.mean, seen.std, seen.crop_share, seen.interpolation) == (
        IMAGENET_MEAN, IMAGENET_STD, 0.875, "bicubic",
    )  # fmt: skip
    return checkpoint


def written(checkpoint):
    """A checkpoint's tensors in their names."""
    return from_vitral(
        checkpoint.tensors, facebook.rules(checkpoint.config, checkpoint.origin.form), facebook.TITLE
    )


def assert_same_tensors(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("prefix", ["backbone.", "module.backbone."])
def test_dinos_training_checkpoint(stirred, agree, tmp_path, prefix):
    peer, tensors = facebook_peer(stirred, "vit_small_patch16_224", img_size=48, num_classes=0)
    head = prefix.removesuffix("backbone.") + "head."
    teacher = {prefix + name: tensor for name, tensor in tensors.items()}
    teacher |= {f"{head}mlp.0.weight": torch.ones(8, 48), f"{head}last_layer.weight_g": torch.ones(9, 1)}
    student = {f"module.{name}": 0 * tensor for name, tensor in teacher.items()}
    args = Namespace(arch="vit_small", patch_size=16)
    content = {"student": student, "teacher": teacher, "optimizer": {"state": {}}, "epoch": 99, "args": args}
    checkpoint = check(agree, "DINO", saved(tmp_path, content), peer)
    assert checkpoint.config.position_interpolation == "bicubic_offset"
    assert_same_tensors(written(checkpoint), tensors)


def test_dinos_backbone_is_timms_unless_the_user_says_whose_it_is(stirred, agree, tmp_path):
    peer, tensors = facebook_peer(stirred, "vit_small_patch16_224", img_size=48, num_classes=0)
    file = saved(tmp_path, tensors)
    assumed = read_checkpoint(file, overrides_from(SAID))
    assert (assumed.origin.family, assumed.preprocessing.mean) == ("timm", HALF)
    checkpoint = check(agree, "DINO", file, peer, family="facebook")
    assert checkpoint.config.position_interpolation == "bicubic_offset"
    assert "position_interpolation" in checkpoint.origin.assumed


@pytest.mark.parametrize(
    ("kind", "name", "interpolation"),
    [
        ("DINOv2", "vit_small_patch14_dinov2", "bicubic_offset"),
        ("DINOv2, SwiGLU", "vit_giant_patch14_dinov2", "bicubic_offset"),
        ("DINOv2, registers", "vit_base_patch14_reg4_dinov2", "bicubic_antialias"),
        ("DINOv2, SwiGLU, registers", "vit_giant_patch14_reg4_dinov2", "bicubic_antialias"),
    ],
)
def test_dinov2(stirred, agree, tmp_path, kind, name, interpolation):
    peer, tensors = facebook_dinov2(stirred, name)
    checkpoint = check(agree, kind, saved(tmp_path, tensors), peer)
    assert checkpoint.config.position_interpolation == interpolation
    assert checkpoint.config.positioned_tokens == 1
    assert_same_tensors(written(checkpoint), tensors)


@torch.no_grad()
def test_dinov2_with_registers_at_another_resolution(stirred, agree, tmp_path):
    """There timm does as its authors do."""
    peer, tensors = facebook_dinov2(stirred, "vit_base_patch14_reg4_dinov2")
    model = load_model(saved(tmp_path, tensors), image_size=(42, 98), **SAID)
    peer.set_input_size(img_size=(42, 98))
    images = images_for(model)
    agree("facebook", "DINOv2, registers", model(images), peer(images), peer="timm")


def test_dinov2_in_groups_of_blocks(stirred, agree, tmp_path):
    """As it is trained: blocks.0.0, blocks.0.1, blocks.1.2, beside the heads of self-supervision."""
    peer, tensors = facebook_dinov2(stirred, "vit_small_patch14_dinov2")
    grouped = {}
    for name, tensor in tensors.items():
        for block, place in ((0, "0.0"), (1, "0.1"), (2, "1.2")):
            name = name.replace(f"blocks.{block}.n", f"blocks.{place}.n").replace(
                f"blocks.{block}.a", f"blocks.{place}.a"
            )
            name = name.replace(f"blocks.{block}.m", f"blocks.{place}.m").replace(
                f"blocks.{block}.l", f"blocks.{place}.l"
            )
        grouped[f"backbone.{name}"] = tensor
    assert "backbone.blocks.1.2.attn.qkv.weight" in grouped
    content = {"teacher": grouped | {"dino_head.mlp.0.weight": torch.ones(8, 48)}}
    check(agree, "DINOv2", saved(tmp_path, content), peer)


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_base_patch14_reg4_dinov2"])
@torch.no_grad()
def test_dinov2s_linear_classifier(stirred, agree, tmp_path, name):
    """It sees the class token beside the average of the patches."""
    peer, tensors = facebook_dinov2(stirred, name)
    head = torch.nn.Linear(2 * 48, 5)
    content = {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    content |= {"linear_head.weight": head.weight, "linear_head.bias": head.bias}
    file = saved(tmp_path, content)
    model = load_model(file, **SAID)
    images = images_for(model)
    features = peer.forward_features(images)
    seen = torch.cat([features[:, 0], features[:, peer.num_prefix_tokens :].mean(dim=1)], dim=1)
    agree("facebook", "DINOv2 with a linear head", model(images), head(seen), peer="timm")
    checkpoint = read_checkpoint(file, overrides_from(SAID))
    assert_same_tensors(
        written(checkpoint), tensors | {"linear_head.weight": head.weight, "linear_head.bias": head.bias}
    )


def test_linear_classifier_over_four_layers_is_refused(stirred, tmp_path):
    _, tensors = facebook_dinov2(stirred, "vit_small_patch14_dinov2")
    content = {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    content |= {"linear_head.weight": torch.ones(5, 5 * 48), "linear_head.bias": torch.ones(5)}
    with pytest.raises(WeightsError, match="linear head over several layers"):
        load_model(saved(tmp_path, content), **SAID)


def test_mae_is_read_without_its_decoder(stirred, agree, tmp_path):
    peer, tensors = facebook_peer(stirred, "vit_base_patch16_224", img_size=64, num_classes=0)
    decoder = {
        "mask_token": torch.ones(1, 1, 32),
        "decoder_pos_embed": torch.ones(1, 17, 32),
        "decoder_embed.weight": torch.ones(32, 48),
        "decoder_blocks.0.norm1.weight": torch.ones(32),
        "decoder_blocks.11.norm1.weight": torch.ones(32),
        "decoder_norm.bias": torch.ones(32),
        "decoder_pred.bias": torch.ones(768),
    }
    for content in ({"model": tensors | decoder, "optimizer": {}}, {"model": tensors}, tensors | decoder):
        checkpoint = check(agree, "MAE", saved(tmp_path, content), peer)
        assert checkpoint.config.num_classes == 0
        assert_same_tensors(written(checkpoint), tensors)
        assert checkpoint.config.position_interpolation == "bicubic"


def test_mae_fine_tuned_averages(stirred, agree, tmp_path):
    peer, tensors = facebook_peer(stirred, "vit_base_patch16_224", img_size=48, global_pool="avg")
    checkpoint = check(agree, "MAE, fine-tuned", saved(tmp_path, {"model": tensors}), peer)
    assert (checkpoint.config.pool, checkpoint.config.norm_after_pool) == ("average", True)
    assert len(checkpoint.class_names) == 1000
    assert_same_tensors(written(checkpoint), tensors)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("DeiT", "deit_base_patch16_224"), ("DeiT, distilled", "deit_small_distilled_patch16_224")],
)
@pytest.mark.parametrize("wrapper", ["model", "model_ema"])
def test_deit(stirred, agree, tmp_path, kind, name, wrapper):
    peer, tensors = facebook_peer(stirred, name, img_size=48)
    content = {"model": {name: 0 * tensor for name, tensor in tensors.items()}, "epoch": 300} | {
        wrapper: tensors
    }
    checkpoint = check(agree, kind, saved(tmp_path, content), peer)
    assert checkpoint.config.position_interpolation == "bicubic"
    assert_same_tensors(written(checkpoint), tensors)


def test_deit_iii(stirred, agree, tmp_path):
    """Layer scales of another name, and no position for the class token."""
    peer, tensors = facebook_peer(stirred, "deit3_small_patch16_224", img_size=224)
    theirs = {
        name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): tensor
        for name, tensor in tensors.items()
    }
    peer.load_state_dict(checkpoint_filter_fn(dict(theirs), peer, adapt_layer_scale=True), strict=True)
    checkpoint = check(agree, "DeiT III", saved(tmp_path, {"model": theirs}), peer)
    assert (checkpoint.config.grid, checkpoint.config.positioned_tokens) == ((14, 14), 0)
    assert checkpoint.config.position_interpolation == "bicubic"
    assert_same_tensors(written(checkpoint), theirs)


def test_dinov3s_own_file_is_refused_in_one_line(stirred, tmp_path):
    _, tensors = facebook_peer(stirred, "vit_small_patch14_dinov2", img_size=56, num_classes=0)
    del tensors["pos_embed"]
    tensors |= {"storage_tokens": torch.ones(1, 4, 48), "mask_token": torch.ones(1, 48)}
    tensors |= {"rope_embed.periods": torch.ones(4), "blocks.0.attn.qkv.bias_mask": torch.ones(144)}
    with pytest.raises(WeightsError, match="DINOv3's own tensors, which vitral does not read"):
        load_model(saved(tmp_path, tensors))
