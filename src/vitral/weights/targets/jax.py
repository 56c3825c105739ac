"""The authors' .npz: vision_transformer's names, or big_vision's for what only that code builds."""

from collections.abc import Iterator

from vitral.weights.families import jax as family
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

TITLE, FILE = "the authors' JAX code", "model.npz"


def prepare(checkpoint: Checkpoint) -> Checkpoint:
    """The same network with all biases, and positions that are learned or sines."""
    checkpoint = with_all_biases(without_mask_token(checkpoint))
    if checkpoint.config.position_embedding in ("none", "learned_2d"):
        checkpoint = with_learned_positions(checkpoint, int(checkpoint.config.class_token))
    return checkpoint


def refusals(checkpoint: Checkpoint) -> Iterator[Refusal]:
    """What their code cannot say."""
    config = checkpoint.config
    yield from nearly(config, "JAX", activation="gelu_tanh", norm_epsilon=1e-6)
    if config.resnet_layers is not None:
        yield from nearly(config, "JAX", resnet_form="authors")
    yield from unlike(
        config,
        distillation_token=False,
        registers=0,
        pre_norm=False,
        norm_in_attention=False,
        layer_scale=None,
        gated_mlp=False,
        norm_in_mlp=False,
        norm_after_pool=False,
    )
    if config.rotary:
        yield Refusal(f"position_embedding {config.position_embedding}")
    if config.pool not in ("token", "average", "attention"):
        yield Refusal(f"pool {config.pool}")
    elif config.pool != "token" and config.class_token:
        yield Refusal(f"pool {config.pool} beside a class token")


def package(checkpoint: Checkpoint) -> Package:
    """Their arrays, in the layout of the file that they came from."""
    config = checkpoint.config
    newer = config.pool == "attention" or config.position_embedding == "sincos_2d"
    newer = newer or (config.class_token and config.positioned_tokens == 0)
    form = form_from(checkpoint, "jax") or {
        "naming": "big_vision" if newer else "published",
        "prefix": "",
        "scan": False,
    }
    tensors = from_vitral(checkpoint.tensors, family.rules(config, form), TITLE)
    return Package(family.dress(tensors, form), usage='numpy.load("{path}")')
