"""Hugging Face's transformers: a folder with config.json, the tensors, and preprocessor_config.json.

Of its many classes one says a network to the last digit: ViT the paper's; DeiT one with a distillation token; DINOv2
what has layer scales, a head over more than the class token, or no head; SigLIP what has no class token.
"""

import math
from collections.abc import Iterator
from typing import Any

from vitral.images import Preprocessing
from vitral.model import ViTConfig
from vitral.weights.families import FAMILIES
from vitral.weights.families.huggingface.common import dress
from vitral.weights.rules import from_vitral
from vitral.weights.store import Checkpoint
from vitral.weights.targets.common import (
    Package,
    Refusal,
    unlike,
    with_all_biases,
    with_head_over,
    with_layer_scale,
    with_learned_positions,
    with_zero_mask_token,
    without_mask_token,
)

TITLE, FILE = "transformers", "model.safetensors"
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu", "silu": "silu"}
RESAMPLE = {"nearest": 0, "bilinear": 2, "bicubic": 3}
CLASSES = {
    "vit": "ViT",
    "deit": "DeiT",
    "dinov2": "Dinov2",
    "dinov2_with_registers": "Dinov2WithRegisters",
    "siglip": "Siglip",
}
FAMILY = {"siglip": "siglip_vision_model"}  # where the family that reads it has another name
# What a classifier of each kind may look at.
POOLS = {"vit": ("token",), "deit": ("token", "distilled"), "siglip": ("average",)}


def kind_of(checkpoint: Checkpoint) -> str:
    """The `model_type` that a network goes out as: by its parts, and that of the file it came from where two fit."""
    config, origin = checkpoint.config, checkpoint.origin
    if not config.class_token:
        return "siglip"
    if config.distillation_token:
        return "deit"
    if config.registers:
        return "dinov2_with_registers"
    plain = config.pool == "token" and config.layer_scale is None and not config.gated_mlp
    pooled = config.num_classes or config.representation_size is not None
    return "vit" if plain and (pooled or (origin is not None and origin.family == "vit")) else "dinov2"


def prepare(checkpoint: Checkpoint) -> Checkpoint:
    """The same network in the words of its kind."""
    config, kind = checkpoint.config, kind_of(checkpoint)
    needed = config.qkv_bias == "no_key" or (kind == "siglip" and config.qkv_bias == "none")
    if needed or not config.patch_bias:
        checkpoint = with_all_biases(checkpoint)
    checkpoint = with_learned_positions(checkpoint, config.special_tokens - config.registers)
    if kind.startswith("dinov2"):
        checkpoint = with_layer_scale(checkpoint)
        if config.registers:
            checkpoint = with_zero_mask_token(checkpoint)
        return with_head_over(checkpoint, "token_average") if config.num_classes else checkpoint
    return without_mask_token(checkpoint) if config.num_classes or kind == "siglip" else checkpoint


def refusals(checkpoint: Checkpoint) -> Iterator[Refusal]:
    """What neither its classes nor its image processors can say."""
    config, kind = checkpoint.config, kind_of(checkpoint)
    never = ("pre_norm", "norm_in_attention", "norm_in_mlp", "norm_after_pool")
    yield from unlike(config, **dict.fromkeys(never, False), resnet_layers=None)
    if config.rotary:
        yield Refusal(f"position_embedding {config.position_embedding}")
    if kind.startswith("dinov2"):
        yield from unlike(config, representation_size=None)
        if _mlp_ratio(config) is None:
            yield Refusal(f"mlp_dim {config.mlp_dim} (DINOv2 takes multiples of dim, here {config.dim})")
    else:
        yield from unlike(config, registers=0, gated_mlp=False, layer_scale=None)
        if config.num_classes or kind == "siglip":
            yield from unlike(config, representation_size=None)
    if kind == "siglip" and not (_is_square(config.image_size) and _is_square(config.patch_size)):
        yield Refusal("images or patches that are no squares (without a class token)")
    pools = POOLS.get(kind, ("token_average",))
    if not config.num_classes:
        pools = ("average", "attention") if kind == "siglip" else ("token",)
    if config.pool not in pools:
        yield Refusal(f"pool {config.pool}" + ("" if config.num_classes else " without a head"))
    yield from _of_images(checkpoint.preprocessing)


def _of_images(preprocessing: Preprocessing) -> Iterator[Refusal]:
    (height, width), fit = preprocessing.size, preprocessing.fit
    if preprocessing.channels != 3:
        yield Refusal("images that are not RGB (its pipelines make RGB of all)")
    if fit == "pad" or (fit == "crop" and height != width):
        yield Refusal(f"images fitted by {fit} to {height} x {width}", {"fit": "stretch"})


def package(checkpoint: Checkpoint) -> Package:
    """Tensors and both documents."""
    config, kind = checkpoint.config, kind_of(checkpoint)
    name = CLASSES[kind]
    prefix = "vision_model." if kind == "siglip" else f"{kind}." if config.num_classes else ""
    if config.num_classes:
        name += "ForImageClassification" + ("WithTeacher" if config.pool == "distilled" else "")
    else:
        name += "VisionModel" if kind == "siglip" else "Model"
    form = {"prefix": prefix, "naming": "saved"}
    rules = FAMILIES[FAMILY.get(kind, kind)].rules(config, form)
    tensors = dress(from_vitral(checkpoint.tensors, rules, TITLE), form)
    documents = {
        "config.json": settings(checkpoint, kind, name),
        "preprocessor_config.json": processor(checkpoint.preprocessing),
    }
    pooled = ", add_pooling_layer=False" if name == "ViTModel" and config.representation_size is None else ""
    usage = f'transformers.{name}.from_pretrained("{{folder}}"{pooled})'
    if config.num_classes:
        usage = 'transformers.pipeline("image-classification", "{folder}")'
    return Package(tensors, documents, usage)


def settings(checkpoint: Checkpoint, kind: str, name: str) -> dict[str, Any]:
    """Its config.json."""
    config = checkpoint.config
    content: dict[str, Any] = {
        "hidden_size": config.dim,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "hidden_act": ACTIVATIONS[config.activation],
        "layer_norm_eps": config.norm_epsilon,
        "image_size": _one(config.image_size),
        "patch_size": _one(config.patch_size),
        "num_channels": config.channels,
    }
    if kind != "siglip":
        content |= {
            "qkv_bias": config.qkv_bias == "all",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }
    if kind.startswith("dinov2"):
        content |= {
            "mlp_ratio": _mlp_ratio(config),
            "layerscale_value": config.layer_scale,
            "use_swiglu_ffn": config.gated_mlp,
            "use_mask_token": config.mask_token,
        }
        if config.registers:
            content["num_register_tokens"] = config.registers
    else:
        content["intermediate_size"] = config.mlp_dim
        if config.representation_size is not None:
            content["pooler_output_size"] = config.representation_size
    if kind == "siglip" and config.num_classes:
        content = {"vision_config": content | {"model_type": "siglip_vision_model", "vision_use_head": False}}
    elif kind == "siglip":
        kind = "siglip_vision_model"
        content["vision_use_head"] = config.pool == "attention"
    content = {"architectures": [name], "model_type": kind, "torch_dtype": "float32"} | content
    if config.num_classes:
        names = checkpoint.class_names or tuple(f"LABEL_{index}" for index in range(config.num_classes))
        content["id2label"] = {str(index): label for index, label in enumerate(names)}
        content["label2id"] = {label: index for index, label in enumerate(names)}
    if checkpoint.thresholds is not None:
        content["problem_type"] = "multi_label_classification"  # its pipeline then takes the sigmoid
    return content


def processor(preprocessing: Preprocessing) -> dict[str, Any]:
    """Its preprocessor_config.json: of its processors, one that resizes and crops as ours does."""
    height, width = preprocessing.size
    low, high = preprocessing.range
    content: dict[str, Any] = {
        "do_convert_rgb": True,
        "do_resize": True,
        "resample": RESAMPLE[preprocessing.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / (high - low),
        "do_normalize": True,
        "image_mean": [mean + low / (high - low) for mean in preprocessing.mean],
        "image_std": list(preprocessing.std),
    }
    if preprocessing.fit == "stretch":
        return {
            "image_processor_type": "ViTImageProcessor",
            "size": {"height": height, "width": width},
            **content,
        }
    return {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": math.floor(height / preprocessing.crop_share)},
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        **content,
    }


def _mlp_ratio(config: ViTConfig) -> int | None:
    """The whole number by which DINOv2's configuration says the MLP's size; None where none does."""
    if not config.gated_mlp:
        ratio, rest = divmod(config.mlp_dim, config.dim)
        return None if rest else ratio
    # Of a gated MLP the size is two thirds, rounded up to a multiple of 8.
    sizes = {(int(config.dim * ratio * 2 / 3) + 7) // 8 * 8: ratio for ratio in range(1, 17)}
    return sizes.get(config.mlp_dim)


def _is_square(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]


def _one(pair: tuple[int, int]) -> int | list[int]:
    return pair[0] if _is_square(pair) else list(pair)
