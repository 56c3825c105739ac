"""Adam, AdamW, SGD and Muon as the recipes name them, the learning rate's course, and weights in two precisions."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vitral.training.recipe import Recipe


class Weights:
    """The weights that learn, in fp32, beside the working copy that the model computes with.

    In fp32 the two are the same tensors. In bf16 and fp16 the model itself is of that type, which spares every step
    the conversion of weights and activations; gradients are added up and applied in fp32 ("master weights",
    Micikevicius et al. 2018). What does not learn (`requires_grad` is off) is kept in fp32 as it was.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.model = model
        learning = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.copies = dtype != torch.float32
        self.frozen: dict[str, Tensor] = {
            name: weight.detach().clone() if self.copies else weight.detach()
            for name, weight in model.named_parameters()
            if not weight.requires_grad
        }
        self.names = list(learning)
        self.working: list[Tensor] = list(learning.values())
        self.master: list[Tensor] = (
            [nn.Parameter(weight.detach().clone()) for weight in self.working]
            if self.copies
            else self.working
        )
        if self.copies:
            model.to(dtype)

    def tensors(self, values: list[Tensor]) -> dict[str, Tensor]:
        """All the model's weights by name, in fp32: `values` of those that learn, and what is frozen."""
        return self.frozen | dict(zip(self.names, values, strict=True))

    @torch.no_grad()
    def set_frozen(self, values: dict[str, Tensor]) -> None:
        """Give what does not learn these values, of the same names and shapes."""
        if values.keys() != self.frozen.keys():
            raise ValueError("other weights are frozen")
        working = dict(self.model.named_parameters())
        for name, value in values.items():
            self.frozen[name].copy_(value)
            working[name].copy_(value)

    def add_gradients(self) -> None:
        """Move the working copy's gradients to the masters, adding to what is there."""
        if not self.copies:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.working]
        for master, gradient in zip(self.master, gradients, strict=True):
            master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)
        for parameter in self.working:
            parameter.grad = None

    @torch.no_grad()
    def show(self, values: list[Tensor] | None = None) -> None:
        """Let the model compute with `values`, one a weight; the masters where none are given."""
        shown = self.master if values is None else values
        if shown is not self.working:
            copy_all(self.working, shown)


def make_optimizers(recipe: Recipe, model: nn.Module, weights: Weights) -> tuple[torch.optim.Optimizer, ...]:
    """The recipe's optimizer over the master weights, weight decay only where the recipe wants it.

    Muon is for matrices that turn one hidden vector into another, those of the encoder; everything else is AdamW's
    then, at the same learning rate.
    """
    kernels = {f"{name}.weight" for name, module in model.named_modules() if is_kernel(module)}
    named = dict(zip(weights.names, weights.master, strict=True))
    hidden = [name for name in named if recipe.optimizer == "muon" and _is_hidden_matrix(name, named[name])]
    layers = 1 + max((_layer(name, 0) for name in named), default=0)

    def groups(names: list[str]) -> list[dict[str, Any]]:
        """The weights of equal decay and equal share of the learning rate together, "share" beside each."""
        found: dict[tuple[float, float], list[Tensor]] = {}
        for name in names:
            decay = recipe.weight_decay if recipe.decay == "all" or name in kernels else 0.0
            share = recipe.layer_decay ** (layers - _layer(name, layers))
            found.setdefault((decay, share), []).append(named[name])
        return [
            {"params": params, "weight_decay": decay, "share": share}
            for (decay, share), params in found.items()
        ]

    rest = groups([name for name in named if name not in hidden])
    rate, betas = recipe.learning_rate, (recipe.momentum, recipe.beta2)
    if recipe.optimizer == "sgd":
        return (torch.optim.SGD(rest, lr=rate, momentum=recipe.momentum, fused=True),)
    if recipe.optimizer == "adam":
        return (torch.optim.Adam(rest, lr=rate, betas=betas, fused=True),)
    adamw = torch.optim.AdamW(rest, lr=rate, betas=betas, fused=True)
    if not hidden:
        return (adamw,)
    muon = torch.optim.Muon(
        groups(hidden), lr=rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return muon, adamw


def _layer(name: str, head: int) -> int:
    """The layer that a weight belongs to: 0 the embedding, then the blocks, and `head` for all that comes after."""
    if name.startswith("embedding."):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else head


def _is_hidden_matrix(name: str, weight: Tensor) -> bool:
    return name.startswith("blocks.") and weight.ndim == 2


def is_kernel(module: nn.Module) -> bool:
    """Whether a module's weight is what the authors' trainer calls a kernel: of dense layers and of the patches."""
    return isinstance(module, (nn.Linear, nn.Conv2d)) or type(module).__name__ == "PatchEmbedding"


def learning_rate(recipe: Recipe, step: int, steps: int, steps_per_epoch: int) -> float:
    """The rate of update `step` (from 0) of `steps`: linear warm-up, then as the recipe's schedule falls to zero."""
    warmup = recipe.warm_up(steps_per_epoch)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    shares = {"cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done, "constant": 1.0}
    return recipe.learning_rate * shares[recipe.schedule]


def gradient_norm(weights: Iterable[Tensor], clip: float) -> Tensor:
    """The global norm of the gradients, as a number on the device; they are scaled down to `clip` unless that is 0."""
    return nn.utils.clip_grad_norm_(weights, clip or math.inf)


@torch.no_grad()
def update_average(average: list[Tensor], weights: list[Tensor], decay: float, step: int) -> None:
    """Move the exponential moving average on by one step; early steps count more, so that it starts without lag."""
    decay = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(average, weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]


def copy_all(targets: list[Tensor], values: list[Tensor]) -> None:
    """Copy each of `values` into its target, of whatever type; on a GPU all in one go."""
    torch._foreach_copy_(targets, values)  # pyright: ignore[reportPrivateImportUsage]
