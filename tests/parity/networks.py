"""The small networks of the peers that several of these tests compare with, and how they are made."""

from typing import Any

import torch

# Two sizes: heads are not dim / 64 in either, and each has another number of them.
SIZES = {
    "narrow": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
        "image_size": 32, "patch_size": 8,
    },
    "wide": {
        "hidden_size": 72, "num_hidden_layers": 3, "num_attention_heads": 6, "intermediate_size": 100,
        "image_size": 30, "patch_size": 6,
    },
}  # fmt: skip
TEXT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
    "vocab_size": 11, "max_position_embeddings": 5, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip

# Class: family, options of its configuration, options of the class itself.
TRANSFORMERS = {
    "ViTModel": ("vit", {}, {}),
    "ViTModel without pooler": ("vit", {}, {"add_pooling_layer": False}),
    "ViTModel with a mask token": ("vit", {}, {"use_mask_token": True}),
    "ViTForMaskedImageModeling": ("vit", {"encoder_stride": 8}, {}),
    "ViTForImageClassification": ("vit", {"num_labels": 5}, {}),
    "DeiTModel": ("deit", {}, {}),
    "DeiTForImageClassification": ("deit", {"num_labels": 5}, {}),
    "DeiTForImageClassificationWithTeacher": ("deit", {"num_labels": 5}, {}),
    "ViTMAEModel": ("vit_mae", {}, {}),
    "ViTMAEForPreTraining": (
        "vit_mae",
        {"decoder_num_hidden_layers": 1, "decoder_hidden_size": 16, "decoder_num_attention_heads": 2},
        {},
    ),
    "Dinov2Model": ("dinov2", {}, {}),
    "Dinov2Model with SwiGLU": ("dinov2", {"use_swiglu_ffn": True}, {}),
    "Dinov2ForImageClassification": ("dinov2", {"num_labels": 5}, {}),
    "Dinov2WithRegistersModel": ("dinov2_with_registers", {}, {}),
    "Dinov2WithRegistersForImageClassification": ("dinov2_with_registers", {"num_labels": 5}, {}),
    "DINOv3ViTModel": ("dinov3_vit", {"num_register_tokens": 4}, {}),
    "DINOv3ViTModel with SwiGLU": ("dinov3_vit", {"use_gated_mlp": True, "hidden_act": "silu"}, {}),
    "CLIPVisionModel": ("clip_vision_model", {}, {}),
    "CLIPVisionModelWithProjection": ("clip_vision_model", {"projection_dim": 7}, {}),
    "CLIPModel": ("clip_vision_model", {"projection_dim": 7}, {}),
    "SiglipVisionModel": ("siglip_vision_model", {}, {}),
    "SiglipModel": ("siglip_vision_model", {}, {}),
    "SiglipForImageClassification": ("siglip_vision_model", {"num_labels": 5}, {}),
}
CONFIGS = {
    "vit": "ViTConfig",
    "deit": "DeiTConfig",
    "vit_mae": "ViTMAEConfig",
    "dinov2": "Dinov2Config",
    "dinov2_with_registers": "Dinov2WithRegistersConfig",
    "dinov3_vit": "DINOv3ViTConfig",
    "clip_vision_model": "CLIPVisionConfig",
    "siglip_vision_model": "SiglipVisionConfig",
}
# Both towers, in one configuration.
PAIRS = {
    "CLIPModel": "CLIPConfig",
    "SiglipModel": "SiglipConfig",
    "SiglipForImageClassification": "SiglipConfig",
    "CLIPForImageClassification": "CLIPConfig",
}


def transformers_peer(stirred, folder, case, size="narrow", **options):
    """A network of transformers, every parameter random, and saved in a folder: `case` as in `TRANSFORMERS`."""
    import transformers

    family, usual, arguments = TRANSFORMERS.get(case, ("clip_vision_model", {}, {}))
    name = case.partition(" ")[0]
    options = SIZES[size] | usual | options
    if name in PAIRS:
        outer = {key: options.pop(key) for key in ("projection_dim", "num_labels") if key in options}
        config = getattr(transformers, PAIRS[name])(vision_config=options, text_config=TEXT, **outer)
    else:
        config = getattr(transformers, CONFIGS[family])(**options)
    peer = stirred(getattr(transformers, name)(config, **arguments))
    peer.save_pretrained(folder)
    return peer


def transformers_call(peer, images, interpolate=False) -> tuple[Any, dict[str, Any]]:
    """The network for images in a peer, and the options with which it takes all patches in their order."""
    name = type(peer).__name__
    if name in ("ViTMAEForPreTraining", "ViTForMaskedImageModeling", "SiglipModel", "CLIPModel"):
        return transformers_call(getattr(peer, "vision_model", None) or peer.vit, images, interpolate)
    options: dict[str, Any] = {"interpolate_pos_encoding": True} if interpolate else {}
    if name.startswith(("Dino", "DINO")):
        options = {}  # always interpolates
    if name == "ViTMAEModel":
        peer.config.mask_ratio = 0.0
        patches = images[0, 0].numel() // peer.config.patch_size**2
        options["noise"] = torch.arange(patches).expand(len(images), -1)  # in their order
    return peer, options


TINY_OF_1000 = {"embed_dim": 48, "num_heads": 3, "depth": 3}
TINY = TINY_OF_1000 | {"num_classes": 7}
# What it stands for: the name of timm's registry, arguments, and what the tensors alone do not tell.
TIMM = {
    "ViT": ("vit_tiny_patch16_224", {"img_size": 64}, {}),
    "ViT, one channel, not square": ("vit_small_patch8_224", {"img_size": (24, 40), "in_chans": 1}, {"grid": (3, 5)}),
    "ViT, oblong patches": ("vit_base_patch32_224", {"img_size": (32, 64), "patch_size": (8, 16), "mlp_ratio": 3}, {}),
    "ViT, average beside a class token": (
        "vit_base_patch16_224", {"img_size": 48, "global_pool": "avg", "fc_norm": False}, {"pool": "average"},
    ),
    "ViT, average": ("vit_base_patch16_224", {"img_size": 48, "global_pool": "avg"}, {}),
    "ViT, no bias of queries, keys and values": ("vit_medium_patch16_gap_240", {"img_size": 48}, {}),
    "ViT, no positions": ("vit_tiny_patch16_224", {"img_size": 48, "pos_embed": "none"}, {"grid": (3, 3)}),
    "ViT, registers": ("vit_medium_patch16_reg4_gap_256", {"img_size": 64}, {}),
    "ViT, registers with positions": ("vit_tiny_patch16_224", {"img_size": 64, "reg_tokens": 3}, {}),
    "ViT, registers, attention pooling": ("vit_so150m_patch16_reg4_map_256", {"img_size": 48}, {}),
    "DeiT": ("deit_tiny_patch16_224", {"img_size": 48}, {}),
    "DeiT, distilled": ("deit_tiny_distilled_patch16_224", {"img_size": 48}, {}),
    "DeiT, distilled, no head": ("deit_tiny_distilled_patch16_224", {"img_size": 48, "num_classes": 0}, {}),
    "DeiT III": ("deit3_small_patch16_224", {"img_size": 64}, {}),
    "DINO": ("vit_small_patch16_224", {"img_size": 48, "num_classes": 0}, {}),
    "DINOv2": ("vit_small_patch14_dinov2", {"img_size": 56, "num_classes": 0}, {}),
    "DINOv2, registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 56}, {}),
    "DINOv2, SwiGLU": ("vit_giant_patch14_dinov2", {"img_size": 42}, {}),
    "DINOv2, SwiGLU, registers": ("vit_giant_patch14_reg4_dinov2", {"img_size": 42}, {}),
    "TIPSv2": ("vit_base_patch14_reg1_tipsv2", {"img_size": 42}, {}),
    "SigLIP": ("vit_base_patch16_siglip_224", {"img_size": 48}, {}),
    "SigLIP, tanh": ("vit_so400m_patch16_siglip_256", {"img_size": 48}, {"activation": "gelu_tanh"}),
    "SigLIP, average": ("vit_base_patch16_siglip_gap_224", {"img_size": 48}, {}),
    "CLIP": ("vit_base_patch32_clip_224", {"img_size": 96}, {}),
    "CLIP, QuickGELU": ("vit_base_patch16_clip_quickgelu_224", {"img_size": 48}, {"activation": "quick_gelu"}),
    "BEiT-3": ("beit3_base_patch16_224", {"img_size": 48}, {}),
    "R+ViT": ("vit_tiny_r_s16_p8_224", {"img_size": (64, 96)}, {"grid": (2, 3)}),
    "R26+ViT": ("vit_small_r26_s32_224", {"img_size": 64}, {}),
    "R50+ViT": ("vit_base_r50_s16_224", {"img_size": 32, "in_chans": 1}, {}),
}  # fmt: skip
EVA = {
    "EVA": ("eva_giant_patch14_224", {"img_size": 42}, {}),
    "EVA, CLIP": ("eva_giant_patch14_clip_224", {"img_size": 42}, {}),
    "EVA-02, one layer for queries, keys, values": ("eva02_tiny_patch14_224", {"img_size": 42}, {}),
    "EVA-02": ("eva02_base_patch14_224", {"img_size": (28, 56)}, {"grid": (2, 4)}),
    "EVA-02, CLIP": ("eva02_base_patch16_clip_224", {"img_size": 48, "num_classes": 0}, {}),
    "EVA-02, another grid": ("eva02_tiny_patch14_336", {"img_size": 42, "ref_feat_shape": (24, 20)}, None),
    "EVA with rotary positions of its own grid": (
        "eva_giant_patch14_224", {"img_size": (28, 56), "use_rot_pos_emb": True}, None,
    ),
    "ViT with rotary positions": ("vit_betwixt_patch16_rope_reg4_gap_256", {"img_size": (48, 80)}, {"grid": (3, 5)}),
    "ViT with rotary positions, no bias": (
        "vit_mediumd_patch16_rope_reg1_gap_256", {"img_size": 48, "in_chans": 1}, {"grid": (3, 3)},
    ),
    "DINOv3": ("vit_small_patch16_dinov3", {"img_size": (48, 80)}, {"grid": (3, 5)}),
    "DINOv3, biases": ("vit_small_patch16_dinov3_qkvb", {"img_size": 48, "num_classes": 0}, {"grid": (3, 3)}),
    "DINOv3, SwiGLU": ("vit_huge_plus_patch16_dinov3_qkvb", {"img_size": 48}, {"grid": (3, 3)}),
    "DINOv3, class token": (
        "vit_7b_patch16_dinov3", {"img_size": 48, "global_pool": "token"}, {"grid": (3, 3), "pool": "token"},
    ),
    "LingBot": ("vit_giant_patch16_lingbot", {"img_size": 32}, {"grid": (2, 2), "pool": "token"}),
}  # fmt: skip


def timm_peer(stirred, folder, kind):
    """A network of timm, every parameter random, and saved in a folder: `kind` as in `TIMM` and `EVA`."""
    import timm

    name, changes, _ = (TIMM | EVA)[kind]
    peer = stirred(timm.create_model(name, **TINY | changes))
    timm.models.save_for_hf(peer, folder, safe_serialization=True)
    return peer


def facebook_peer(stirred, name, **changes):
    """timm's network of a name, with as many classes as it comes with, and its tensors."""
    import timm

    peer = stirred(timm.create_model(name, **TINY_OF_1000 | changes))
    return peer, peer.state_dict()


def facebook_dinov2(stirred, name, **changes):
    """timm's DINOv2, and the same in the names of facebookresearch, by which timm converts it."""
    from timm.models.deit import checkpoint_filter_fn

    peer, tensors = facebook_peer(stirred, name, **{"img_size": 56, "num_classes": 0} | changes)
    theirs = {name.replace("reg_token", "register_tokens"): tensor for name, tensor in tensors.items()}
    if "giant" in name:
        swiglu = {"mlp.fc1": "mlp.w12", "mlp.fc2": "mlp.w3"}
        for ours, other in swiglu.items():
            theirs = {name.replace(ours, other): tensor for name, tensor in theirs.items()}
    theirs["mask_token"] = torch.randn(1, 48)
    if "register_tokens" in theirs:  # theirs has a position of the class token, which timm adds to the token
        own = torch.randn(1, 1, 48)
        theirs["cls_token"] = theirs["cls_token"] - own
        theirs["pos_embed"] = torch.cat([own, theirs["pos_embed"]], dim=1)
    peer.load_state_dict(checkpoint_filter_fn(dict(theirs), peer), strict=True)
    return peer, theirs


def images_for(model):
    """Two images of noise."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, model.config.channels, *model.config.image_size, generator=generator)
