"""timm: a name of its registry with arguments, so that `timm.create_model` builds the same network."""

from collections.abc import Iterator
from typing import Any

from vitral.model import VARIANTS, ViTConfig
from vitral.weights.families import eva
from vitral.weights.families import timm as family
from vitral.weights.rules import from_vitral
from vitral.weights.store import Checkpoint
from vitral.weights.targets.common import (
    Package,
    Refusal,
    form_from,
    nearly,
    unlike,
    with_all_biases,
    with_layer_scale,
    with_learned_positions,
    without_mask_token,
)

TITLE, FILE = "timm", "model.safetensors"

# Architectures that a plain network is, by name alone: size, patch and image.
PLAIN = {
    "tiny": ("16_224", "16_384"),
    "small": ("8_224", "16_224", "16_384", "32_224", "32_384"),
    "base": ("8_224", "16_224", "16_384", "32_224", "32_384"),
    "large": ("14_224", "16_224", "16_384", "32_224", "32_384"),
    "huge": ("14_224",),
    "giant": ("14_224",),
    "gigantic": ("14_224",),
}
HYBRIDS = {
    (): "vit_tiny_r_s16_p8_224",
    (2, 2, 2, 2): "vit_small_r26_s32_224",
    (3, 4, 9): "vit_base_r50_s16_224",
    (3, 4, 6, 3): "vit_large_r50_s32_224",
}
POOLS = {"token": "token", "distilled": "token", "average": "avg", "attention": "map"}


def prepare(checkpoint: Checkpoint) -> Checkpoint:
    """The same network in the words of `VisionTransformer`, or of `Eva` where it needs that class."""
    checkpoint = without_mask_token(checkpoint)
    config = checkpoint.config
    if is_eva(config):
        return (
            with_layer_scale(checkpoint) if config.norm_epsilon == 1e-5 else checkpoint
        )  # its architecture has some
    if config.patch_bias == config.pre_norm or config.qkv_bias == "no_key":
        checkpoint = with_all_biases(checkpoint)
    if config.gated_mlp:
        checkpoint = with_layer_scale(checkpoint)  # the only architecture with this MLP has some
    if config.position_embedding != "none":
        # With registers none of the special tokens has a position, or the class token's goes into it.
        before = config.special_tokens - config.registers
        special = (
            config.positioned_tokens if config.positioned_tokens == before and not config.registers else 0
        )
        checkpoint = with_learned_positions(checkpoint, special)
    return checkpoint


def is_eva(config: ViTConfig) -> bool:
    """Whether only timm's class `Eva` builds this network."""
    return config.rotary or config.qkv_bias == "no_key" or config.norm_in_attention or config.norm_in_mlp


def refusals(checkpoint: Checkpoint) -> Iterator[Refusal]:
    """What neither class can say."""
    config = checkpoint.config
    if config.norm_epsilon not in (1e-6, 1e-5):
        yield Refusal(
            f"norm_epsilon {config.norm_epsilon} (timm's are 1e-06 and 1e-05)", {"norm_epsilon": 1e-6}
        )
    if config.resnet_layers is not None:
        yield from nearly(config, "timm", resnet_form="timm")
        if config.resnet_layers not in HYBRIDS:
            yield Refusal(f"a hybrid of {config.resnet_layers} units, none of {', '.join(map(str, HYBRIDS))}")
    yield from unlike(config, representation_size=None)
    if config.pool not in POOLS:
        yield Refusal(f"pool {config.pool}")
    if config.distillation_token and (config.pool != "distilled" or config.registers or is_eva(config)):
        yield Refusal("a distillation token without a head of its own, or beside registers")
    if config.gated_mlp and config.activation != "silu":
        yield Refusal(
            f"a gated MLP with activation {config.activation} (timm's is silu)", {"activation": "silu"}
        )
    if config.pre_norm and config.patch_bias:
        yield Refusal("pre_norm beside a bias of the patches")
    if is_eva(config):
        yield from eva_refusals(config)


def eva_refusals(config: ViTConfig) -> Iterator[Refusal]:
    """What the class `Eva` cannot say."""
    if not config.gated_mlp:
        yield from nearly(config, "Eva", activation="gelu")
    if config.qkv_bias == "all":
        yield Refusal("a bias of the keys in a network that timm's class Eva builds")
    if config.pool == "attention":
        yield Refusal(
            "pool attention in a network that timm's class Eva builds (there it looks at all tokens)"
        )
    if config.positioned_tokens not in (0, config.special_tokens):
        yield Refusal(f"special_positions {config.positioned_tokens} of {config.special_tokens}")
    yield from unlike(config, patch_bias=True, resnet_layers=None, pre_norm=False)


def package(checkpoint: Checkpoint) -> Package:
    """Tensors, and the config.json that timm's `local-dir:` reads."""
    config = checkpoint.config
    if is_eva(config):
        form = form_from(checkpoint, "eva") or eva.form_for(config)
        name, arguments = eva.architecture_for(config, form)
        rules = eva.rules(config, form)
    else:
        name, arguments = architecture_for(config)
        rules = family.rules(config, {})
    tensors = from_vitral(checkpoint.tensors, rules, TITLE)
    shown = "".join(f", {key}={value!r}" for key, value in arguments.items())
    usage = f'timm.create_model("{name}", checkpoint_path="{{path}}"{shown})'
    return Package(tensors, {"config.json": document(checkpoint, name, arguments)}, usage)


def document(checkpoint: Checkpoint, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """timm's config.json: architecture, arguments, preprocessing and labels."""
    config, preprocessing = checkpoint.config, checkpoint.preprocessing
    modes = {"crop": "center", "stretch": "squash", "pad": "border"}
    pretrained = {
        "input_size": [config.channels, *config.image_size],
        "fixed_input_size": True,
        "interpolation": preprocessing.interpolation,
        "crop_pct": preprocessing.crop_share,
        "crop_mode": modes[preprocessing.fit],
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "num_classes": config.num_classes,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": ["head", "head_dist"] if config.pool == "distilled" else "head",
    }
    content = {
        "architecture": name,
        "num_classes": config.num_classes,
        "num_features": config.dim,
        "global_pool": POOLS[config.pool],
        "model_args": arguments,
        "pretrained_cfg": pretrained,
    }
    return content | ({"label_names": list(checkpoint.class_names)} if checkpoint.class_names else {})


def architecture_for(config: ViTConfig) -> tuple[str, dict[str, Any]]:
    """A name of timm's registry and the arguments that make it this network; few, where the name says all."""
    name = _plain_name(config)
    if name is not None:
        return name, {"num_classes": config.num_classes}
    if config.resnet_layers is not None:
        name = HYBRIDS[config.resnet_layers]
    elif config.pool == "distilled":
        name = "deit_base_distilled_patch16_224"
    elif config.gated_mlp:
        name = "vit_giant_patch14_dinov2"
    else:
        name = "vit_base_patch16_clip_224" if config.norm_epsilon == 1e-5 else "vit_base_patch16_224"
    mlp_dim = config.mlp_dim * (2 if config.gated_mlp else 1)
    arguments: dict[str, Any] = {
        "img_size": list(config.image_size),
        "patch_size": _one(config.patch_size),
        "in_chans": config.channels,
        "num_classes": config.num_classes,
        "embed_dim": config.dim,
        "depth": config.layers,
        "num_heads": config.heads,
        "mlp_ratio": ratio(mlp_dim, config.dim),
    }
    if config.pool != "distilled":
        arguments |= {
            "global_pool": POOLS[config.pool],
            "class_token": config.class_token,
            "no_embed_class": config.positioned_tokens == 0,
            "reg_tokens": config.registers,
            "pre_norm": config.pre_norm,
            "fc_norm": config.norm_after_pool,
            "qkv_bias": config.qkv_bias == "all",
            "init_values": config.layer_scale,
        }
    if config.position_embedding == "none":
        arguments["pos_embed"] = "none"
    if config.activation != "gelu" and not config.gated_mlp:
        arguments["act_layer"] = config.activation
    return name, arguments


def ratio(mlp_dim: int, dim: int) -> float:
    """A factor that gives `mlp_dim` when timm multiplies it with `dim` and cuts off."""
    return mlp_dim / dim if mlp_dim % dim == 0 else (mlp_dim + 0.5) / dim


def _plain_name(config: ViTConfig) -> str | None:
    """The name that alone says the whole architecture."""
    for size, (layers, dim, mlp_dim, heads) in VARIANTS.items():
        for patch_and_image in PLAIN.get(size, ()):
            patch, image = map(int, patch_and_image.split("_"))
            plain = ViTConfig(
                image_size=(image, image),
                patch_size=(patch, patch),
                layers=layers,
                dim=dim,
                mlp_dim=mlp_dim,
                heads=heads,
            )
            same = config.replace(
                num_classes=plain.num_classes,
                dropout=0.0,
                attention_dropout=0.0,
                drop_path=0.0,
                position_interpolation=plain.position_interpolation,
                special_positions=None if config.special_positions == 1 else config.special_positions,
            )
            if same == plain:
                return f"vit_{size}_patch{patch_and_image}"
    return None


def _one(pair: tuple[int, int]) -> int | list[int]:
    return pair[0] if pair[0] == pair[1] else list(pair)
