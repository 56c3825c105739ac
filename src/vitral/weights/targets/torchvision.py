"""torchvision's `VisionTransformer`: a state dict, and the call that builds the network for it."""

from collections.abc import Iterator

from vitral.model import VARIANTS, ViTConfig
from vitral.weights.families import torchvision as family
from vitral.weights.rules import from_vitral
from vitral.weights.store import Checkpoint
from vitral.weights.targets.common import (
    Package,
    Refusal,
    form_from,
    nearly,
    unlike,
    with_all_biases,
    with_learned_positions,
    without_mask_token,
)

TITLE, FILE = "torchvision", "model.pth"
BUILDERS = {
    ("base", 16): "vit_b_16",
    ("base", 32): "vit_b_32",
    ("large", 16): "vit_l_16",
    ("large", 32): "vit_l_32",
    ("huge", 14): "vit_h_14",
}


def prepare(checkpoint: Checkpoint) -> Checkpoint:
    """The same network with all biases and a learned position for class token and patches."""
    checkpoint = with_all_biases(without_mask_token(checkpoint))
    return with_learned_positions(checkpoint, 1) if checkpoint.config.class_token else checkpoint


def refusals(checkpoint: Checkpoint) -> Iterator[Refusal]:
    """What torchvision's class cannot say."""
    config = checkpoint.config
    yield from nearly(config, "torchvision", activation="gelu", norm_epsilon=1e-6)
    yield from unlike(
        config,
        pool="token",
        channels=3,
        distillation_token=False,
        registers=0,
        pre_norm=False,
        norm_in_attention=False,
        layer_scale=None,
        gated_mlp=False,
        norm_in_mlp=False,
        norm_after_pool=False,
        resnet_layers=None,
    )
    if config.rotary:
        yield Refusal(f"position_embedding {config.position_embedding}")
    if config.patch_size[0] != config.patch_size[1] or config.image_size[0] != config.image_size[1]:
        yield Refusal("images or patches that are no squares")
    if config.num_classes == 0:
        yield Refusal("a network without a head (num_classes 0)")


def package(checkpoint: Checkpoint) -> Package:
    """Their state dict, in the naming of the file that it came from."""
    config = checkpoint.config
    usual = family.form_for(config)
    form = (form_from(checkpoint, "torchvision") or usual) | {"head": usual["head"]}  # what its builders make
    tensors = family.dress(from_vitral(checkpoint.tensors, family.rules(config, form), TITLE), form)
    return Package(
        tensors,
        usage=f'model = {_builder(config)}; model.load_state_dict(torch.load("{{path}}", weights_only=True))',
    )


def _builder(config: ViTConfig) -> str:
    sizes = {values: name for name, values in VARIANTS.items()}
    size = sizes.get((config.layers, config.dim, config.mlp_dim, config.heads))
    name = BUILDERS.get((size or "", config.patch_size[0]))
    head = f"num_classes={config.num_classes}"
    if config.representation_size is not None:
        head += f", representation_size={config.representation_size}"
    if name:
        return f"torchvision.models.{name}({head}, image_size={config.image_size[0]})"
    return (
        f"torchvision.models.VisionTransformer({config.image_size[0]}, {config.patch_size[0]}, {config.layers}, "
        f"{config.heads}, {config.dim}, {config.mlp_dim}, {head})"
    )
