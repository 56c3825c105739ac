"""Which patches an answer stands on: attention followed back through the layers.

Attention rollout: figure 6, appendix D.8; Abnar and Zuidema 2020. Gradient relevance: Chefer et al., ICCV 2021,
"Generic Attention-model Explainability". Both say of every layer, as a matrix, how much of each token that goes in is
in each token that comes out, and multiply these matrices.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from vitral.errors import UsageError

Array = Tensor | np.ndarray
FUSIONS = ("mean", "max", "min")


def rollout(attentions: Sequence[Array], fusion: str = "mean", discard: float = 0.0) -> np.ndarray:
    """How much of each token of the input reached each token of the output, through all layers.

    In every layer the heads are fused, the identity is added for the residual connection, the rows are made to sum to 1
    again, and the layers are multiplied, the last one leftmost.

    Args:
        attentions: one `(batch, heads, tokens, tokens)` a layer, as `forward_attention` returns them.
        fusion, discard: see `rollout_step`.

    Returns:
        float64 `(batch, tokens, tokens)`; every row sums to 1.
    """
    reached: np.ndarray | None = None
    for attention in attentions:
        step = rollout_step(attention, fusion, discard)
        reached = step if reached is None else step @ reached
    if reached is None:
        raise ValueError("rollout needs the attention of at least one layer")
    return reached


def rollout_step(attention: Array, fusion: str = "mean", discard: float = 0.0) -> np.ndarray:
    """One layer's part in `rollout`: `(batch, heads, tokens, tokens)` to float64 `(batch, tokens, tokens)`.

    Args:
        attention: the weights of one layer.
        fusion: what becomes of the heads: "mean" as in the paper, "max" or "min".
        discard: the share of an image's fused weights, the smallest ones, that is set to 0 first, in [0, 1).

    Raises:
        UsageError: another fusion, or a share that is none.
    """
    mixed = fused(attention, fusion)
    if not 0 <= discard < 1:
        raise UsageError(
            f"--discard {discard:g} is no share that can be left out: give 0 or more, and less than 1"
        )
    tokens = mixed.shape[-1]
    count = int(discard * tokens * tokens)
    if count:
        flat = mixed.reshape(len(mixed), -1)
        np.put_along_axis(flat, np.argpartition(flat, count - 1, axis=1)[:, :count], 0.0, axis=1)
    mixed = mixed + np.eye(tokens)
    return mixed / mixed.sum(axis=-1, keepdims=True)


def gradient_step(attention: Array, gradient: Array) -> np.ndarray:
    """One layer's part in the gradient relevance: identity + mean over heads of (gradient * attention)+.

    Args:
        attention: `(batch, heads, tokens, tokens)`.
        gradient: of what is explained with respect to it, the same shape.

    Returns:
        float64 `(batch, tokens, tokens)`; its product with what the layers before gave is R + A R.
    """
    positive = positive_part(attention, gradient).mean(axis=1)
    return positive + np.eye(positive.shape[-1])


def positive_part(values: Array, gradient: Array) -> np.ndarray:
    """(gradient * values)+, in float64."""
    return np.maximum(_as_array(values) * _as_array(gradient), 0)


def fused(attention: Array, fusion: str = "mean") -> np.ndarray:
    """The heads, the second axis, as one, in float64."""
    if fusion not in FUSIONS:
        raise UsageError(f"heads cannot be fused by {fusion!r}: choose one of {', '.join(FUSIONS)}")
    return getattr(_as_array(attention), fusion)(axis=1)


def walk_back(steps: Iterable[np.ndarray], seen: np.ndarray) -> np.ndarray:
    """How much of each token of the input is in what the head sees.

    Args:
        steps: one `(batch, tokens, tokens)` a layer, the last layer first.
        seen: `(batch, feature_layers, tokens)`: what the head takes of the last layers' tokens, the last layer last.

    Returns:
        `(batch, tokens)`.
    """
    rest = list(seen.swapaxes(0, 1))
    reached = np.zeros_like(seen[:, 0])
    for step in steps:
        if rest:
            reached = reached + rest.pop()
        reached = (reached[:, None] @ step)[:, 0]
    return reached


def _as_array(values: Array) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().double().numpy()
    return values.astype(np.float64)
