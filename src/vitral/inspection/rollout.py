"""Attention rollout: which patches an answer stands on (figure 6, appendix D.8; Abnar and Zuidema 2020)."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def rollout(attentions: Sequence[Tensor] | Sequence[np.ndarray]) -> np.ndarray:
    """How much of each token of the input reached each token of the output, through all layers.

    In every layer the heads are averaged, the identity is added for the residual connection, the rows are made to
    sum to 1 again, and the layers are multiplied, the last one leftmost.

    Args:
        attentions: one `(batch, heads, tokens, tokens)` a layer, as `forward_attention` returns them.

    Returns:
        float64 `(batch, tokens, tokens)`; every row sums to 1.
    """
    reached: np.ndarray | None = None
    for attention in attentions:
        mixed = _as_array(attention).mean(axis=1)  # (batch, tokens, tokens)
        mixed = mixed + np.eye(mixed.shape[-1])
        mixed /= mixed.sum(axis=-1, keepdims=True)
        reached = mixed if reached is None else mixed @ reached
    if reached is None:
        raise ValueError("rollout needs the attention of at least one layer")
    return reached


def relevance(reached: np.ndarray, grid: tuple[int, int], special_tokens: int, pool: str) -> np.ndarray:
    """How much each patch contributes to what the head sees.

    Args:
        reached: `(batch, tokens, tokens)` from `rollout`.
        grid: rows and columns of patches.
        special_tokens: how many tokens stand before the patches.
        pool: as in `ViTConfig`: whether the head sees the class token, the average of the patches, or both; attention
            pooling is taken for an average.

    Returns:
        `(batch, rows, columns)`.
    """
    patches = reached[:, :, special_tokens:]
    token, average = patches[:, 0], patches[:, special_tokens:].mean(axis=1)
    shares = {"token": 1.0, "distilled": 1.0, "token_average": 0.5}
    share = shares.get(pool, 0.0)
    seen = share * token + (1 - share) * average
    return seen.reshape(-1, *grid)


def heatmap(
    relevance: np.ndarray, shape: tuple[int, int], region: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """The relevance of one image's patches at each of its pixels.

    Args:
        relevance: `(rows, columns)`.
        shape: (height, width) of the image in pixels.
        region: the box (left, top, right, bottom) of the image that the network saw, as `Preprocessing.region`
            tells it; None: all of it.

    Returns:
        float32 `(height, width)`, from 0 (least relevant, or not seen by the network) to 1; all 0 where every
        patch is as relevant as the others.
    """
    height, width = shape
    left, top, right, bottom = region or (0.0, 0.0, float(width), float(height))
    low, high = float(relevance.min()), float(relevance.max())
    span = high - low
    # Differences that are rounding errors of equal numbers show nothing.
    scaled = (relevance - low) / span if span > 1e-9 * high else np.zeros_like(relevance)
    columns, rows = max(1, round(right - left)), max(1, round(bottom - top))
    picture = Image.fromarray(scaled.astype(np.float32))
    seen = np.asarray(picture.resize((columns, rows), Image.Resampling.BILINEAR))
    result = np.zeros(shape, np.float32)
    down, across = round(top), round(left)  # negative where the region reaches beyond the image
    part = seen[max(0, -down) : height - down, max(0, -across) : width - across]
    result[max(0, down) : max(0, down) + part.shape[0], max(0, across) : max(0, across) + part.shape[1]] = (
        part
    )
    return np.clip(result, 0, 1)


def _as_array(attention: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(attention, torch.Tensor):
        attention = attention.detach().to("cpu", torch.float64).numpy()
    return attention.astype(np.float64)
