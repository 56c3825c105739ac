"""How far attention reaches: mean attention distance by head (figure 7, right; appendix D.7)."""

import numpy as np
import torch
from torch import Tensor


def patch_distances(grid: tuple[int, int], patch_size: tuple[int, int]) -> np.ndarray:
    """Distances in pixels between the centres of all patches, row by row: float64 `(patches, patches)`.

    Args:
        grid: rows and columns of patches.
        patch_size: height and width in pixels of what a patch stands for, `ViTConfig.reach`.
    """
    row, column = (axis.ravel().astype(np.float64) for axis in np.indices(grid))
    return np.hypot(
        (row[:, None] - row) * patch_size[0],
        (column[:, None] - column) * patch_size[1],
    )


def attention_distance(
    attention: Tensor | np.ndarray, grid: tuple[int, int], patch_size: tuple[int, int]
) -> np.ndarray:
    """How far, on average, the patches of an image look: the receptive field that attention makes for itself.

    For every patch as query, the distance in pixels to the patches as keys, weighted by the attention weights; then the
    mean over the queries. Special tokens have no place in the image: they are left out on both sides, and each query's
    weights over the patches are made to sum to 1 again. A query that gives patches no weight at all looks nowhere and
    is passed over.

    Args:
        attention: `(batch, heads, tokens, tokens)`, one layer of `forward_attention`, special tokens first.
        grid: rows and columns of patches.
        patch_size: height and width in pixels of what a patch stands for, `ViTConfig.reach`.

    Returns:
        float64 `(batch, heads)`, pixels of the network's input; NaN where no query looks at a patch.
    """
    weights = torch.as_tensor(attention).detach()
    special = weights.shape[-1] - grid[0] * grid[1]
    assert special >= 0
    weights = weights[..., special:, special:].float()  # (batch, heads, patches, patches)
    distances = torch.from_numpy(patch_distances(grid, patch_size)).to(weights)
    reached = torch.einsum("bhqk,qk->bhq", weights, distances).double().cpu()
    given = weights.sum(dim=-1).double().cpu()
    return (reached / given).nanmean(dim=-1).numpy()  # 0 / 0 is NaN


def uniform_distance(grid: tuple[int, int], patch_size: tuple[int, int]) -> float:
    """The attention distance in pixels of a head that looks at all patches alike, the query's own among them."""
    return float(patch_distances(grid, patch_size).mean())
