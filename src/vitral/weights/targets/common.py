"""What the targets share: refusals, and the same network said in plainer words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from vitral.model import ViTConfig, model_without_weights
from vitral.weights.rules import Form, Tensors
from vitral.weights.store import Checkpoint


@dataclass(frozen=True)
class Refusal:
    """Something that a format cannot say.

    Args:
        what: it, for a sentence: "activation gelu_tanh (torchvision's is gelu)".
        changes: fields of `ViTConfig` or `Preprocessing` with which the format would say nearly the same; None where
            nothing comes near.
    """

    what: str
    changes: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Package:
    """A checkpoint in a target's words.

    Args:
        tensors: by its names.
        documents: JSON files that belong beside them, by file name.
        usage: the line of Python that loads it; `{path}` stands for the file or folder.
    """

    tensors: Tensors
    documents: Mapping[str, Any] = field(default_factory=dict)
    usage: str = ""


class Target(Protocol):
    """What each module of a target offers."""

    @property
    def TITLE(self) -> str:
        """Whose format it is, for sentences."""
        ...

    @property
    def FILE(self) -> str:
        """The file of tensors where OUT is a folder."""
        ...

    def refusals(self, checkpoint: Checkpoint) -> Iterator[Refusal]:
        """What the format cannot say of a checkpoint that `prepare` has been over."""
        ...

    def prepare(self, checkpoint: Checkpoint) -> Checkpoint:
        """The same network, to the last digit, in words that the format knows."""
        ...

    def package(self, checkpoint: Checkpoint) -> Package:
        """Tensors and documents of a prepared checkpoint, in the form of the file that it came from, if any."""
        ...


def form_from(checkpoint: Checkpoint, family: str) -> Form | None:
    """How the file was laid out that a checkpoint came from; None where it came from another family."""
    origin = checkpoint.origin
    return origin.form if origin is not None and origin.family == family else None


def unlike(config: ViTConfig, **wanted: Any) -> Iterator[Refusal]:
    """A refusal for each field that is not as wanted, without a way round."""
    for name, value in wanted.items():
        if getattr(config, name) != value:
            yield Refusal(f"{name} {getattr(config, name)}")


def nearly(config: ViTConfig, house: str, **wanted: Any) -> Iterator[Refusal]:
    """The same for fields that change nothing but rounding or shape of a curve: the wanted value comes near."""
    for name, value in wanted.items():
        if getattr(config, name) != value:
            yield Refusal(f"{name} {getattr(config, name)} ({house}'s is {value})", {name: value})


def with_all_biases(checkpoint: Checkpoint) -> Checkpoint:
    """Zeros where a network has no bias of the patches, the queries, keys or values: the same map."""
    config, tensors = checkpoint.config, dict(checkpoint.tensors)
    if not config.patch_bias:
        tensors["embedding.patch.bias"] = torch.zeros(config.dim)
    for layer in range(config.layers) if config.qkv_bias != "all" else ():
        attention, nothing = f"blocks.{layer}.attention", torch.zeros(config.dim)
        query = tensors.pop(f"{attention}.query_bias", nothing)
        value = tensors.pop(f"{attention}.value_bias", nothing)
        tensors[f"{attention}.qkv.bias"] = torch.cat([query, nothing.to(query), value])
    return replace(checkpoint, config=config.replace(patch_bias=True, qkv_bias="all"), tensors=tensors)


def with_learned_positions(checkpoint: Checkpoint, special: int) -> Checkpoint:
    """Positions of whatever kind is added, as a learned table that has rows for the first `special` special tokens.

    A row more is zero; a row less goes into its token, which it is added to anyway.
    """
    config, tensors = checkpoint.config, dict(checkpoint.tensors)
    if config.rotary or (config.position_embedding == "learned" and config.positioned_tokens == special):
        return checkpoint
    table = torch.zeros(1, config.patches, config.dim)
    if config.position_embedding != "none":
        model = model_without_weights(config)
        model.load_state_dict(tensors, assign=True)
        assert model.embedding.position is not None
        table = model.embedding.position().detach()
    own, of_patches = table.split([config.positioned_tokens, config.patches], dim=1)
    names = [f"embedding.{name}" for name in ("class_token", "distillation_token", "registers")]
    start = 0
    for name in names:
        if name in tensors:
            end, first = start + tensors[name].shape[1], max(start, special)
            folded = own[:, first:end]
            if folded.numel():
                tensors[name] = tensors[name].clone()
                tensors[name][:, first - start : first - start + folded.shape[1]] += folded
            start = end
    rows = torch.cat([own[:, :special], own.new_zeros(1, max(special - own.shape[1], 0), config.dim)], dim=1)
    for name in list(tensors):
        if name.startswith("embedding.position."):
            del tensors[name]
    tensors["embedding.position.table"] = torch.cat([rows, of_patches], dim=1)
    config = config.replace(position_embedding="learned", special_positions=special)
    return replace(checkpoint, config=config, tensors=tensors)


def without_mask_token(checkpoint: Checkpoint) -> Checkpoint:
    """Without the vector for hidden patches, which no classifier looks at."""
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name != "embedding.mask_token"}
    return replace(checkpoint, config=checkpoint.config.replace(mask_token=False), tensors=tensors)


def with_zero_mask_token(checkpoint: Checkpoint) -> Checkpoint:
    """With a vector of zeros for hidden patches, where a format always has one."""
    if checkpoint.config.mask_token:
        return checkpoint
    tensors = checkpoint.tensors | {"embedding.mask_token": torch.zeros(1, checkpoint.config.dim)}
    return replace(checkpoint, config=checkpoint.config.replace(mask_token=True), tensors=tensors)


def with_layer_scale(checkpoint: Checkpoint) -> Checkpoint:
    """With layer scales of one, where a format always has some: a factor that changes no digit."""
    config = checkpoint.config
    if config.layer_scale is not None:
        return checkpoint
    names = [
        f"blocks.{layer}.{branch}_scale.scale"
        for layer in range(config.layers)
        for branch in ("attention", "mlp")
    ]
    tensors = checkpoint.tensors | {name: torch.ones(config.dim) for name in names}
    return replace(checkpoint, config=config.replace(layer_scale=1.0), tensors=tensors)


def with_head_over(checkpoint: Checkpoint, pool: str) -> Checkpoint:
    """A head over class token and average side by side, from one that sees either: what it did not see weighs zero."""
    config = checkpoint.config
    if config.pool not in ("token", "average") or not config.class_token or config.norm_after_pool:
        return checkpoint
    tensors = dict(checkpoint.tensors)
    if config.num_classes:
        weight = tensors["head.weight"]
        sides = [weight, torch.zeros_like(weight)]
        tensors["head.weight"] = torch.cat(sides if config.pool == "token" else sides[::-1], dim=1)
    return replace(checkpoint, config=config.replace(pool=pool), tensors=tensors)
