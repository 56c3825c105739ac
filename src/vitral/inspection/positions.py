"""What the position embeddings have learned of the image's plane: their similarity (figure 7, centre)."""

from dataclasses import dataclass

import numpy as np
import torch

from vitral.errors import UsageError
from vitral.language import Sentence
from vitral.model import VisionTransformer, ViTConfig


@dataclass(frozen=True)
class PositionPattern:
    """The pattern of the paper's figure as numbers: a patch resembles its neighbours, its row and its column.

    Args:
        nearest_in_4: share of the patches whose most similar other patch touches them with a side.
        nearest_in_8: the same with a side or a corner.
        chance_4, chance_8: what both would be if any other patch were as likely to be the most similar one.
        same_row, same_column, elsewhere: mean similarity of a patch to the others of its row, to the others of its
            column, and to those of neither; None where there are none.
    """

    nearest_in_4: float
    nearest_in_8: float
    chance_4: float
    chance_8: float
    same_row: float | None
    same_column: float | None
    elsewhere: float | None


def position_similarity(model: VisionTransformer) -> np.ndarray:
    """Cosine similarity of the position embeddings of all pairs of patches.

    Learned tables, also beside rotary positions, tables of rows and columns, and fixed sines and cosines alike; at the
    grid that the model has now, so a resized model shows interpolated ones. Special tokens are left out.

    Returns:
        float64 `(rows, columns, rows, columns)`: of the patch at the first two, with that at the last two.

    Raises:
        UsageError: the network adds no position embedding to its patches, or has only one patch.
    """
    reason = why_no_positions(model.config)
    position = model.embedding.position
    if reason is not None or position is None:
        raise UsageError(reason or "the network has no position embedding")
    table = position()[0, position.special :].detach().to("cpu", torch.float64).numpy()  # (patches, dim)
    unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return (unit @ unit.T).reshape(*position.grid, *position.grid)


def position_pattern(similarity: np.ndarray) -> PositionPattern:
    """How much a similarity of positions follows the image's plane.

    Args:
        similarity: `(rows, columns, rows, columns)` from `position_similarity`, of two patches or more.
    """
    rows, columns = similarity.shape[:2]
    patches = rows * columns
    row, column = (axis.ravel() for axis in np.indices((rows, columns)))
    down, across = np.abs(row[:, None] - row), np.abs(column[:, None] - column)  # (patches, patches) each
    flat = similarity.reshape(patches, patches)
    others = ~np.eye(patches, dtype=bool)
    nearest = np.where(others, flat, -np.inf).argmax(axis=1)
    by_side, by_corner = down + across == 1, np.maximum(down, across) == 1
    own = np.arange(patches)

    def mean(which: np.ndarray) -> float | None:
        return float(flat[which].mean()) if which.any() else None

    return PositionPattern(
        nearest_in_4=float(by_side[own, nearest].mean()),
        nearest_in_8=float(by_corner[own, nearest].mean()),
        chance_4=float(by_side.sum() / others.sum()),
        chance_8=float(by_corner.sum() / others.sum()),
        same_row=mean((down == 0) & others),
        same_column=mean((across == 0) & others),
        elsewhere=mean((down > 0) & (across > 0)),
    )


def why_no_positions(config: ViTConfig) -> Sentence | None:
    """Why a network has no position embeddings to be compared; None where it has."""
    if config.position_embedding == "rope":
        return Sentence(
            "rotary positions turn queries and keys and are no vectors to compare: "
            "look at the attention distance instead",
            "posições rotativas giram consultas e chaves e não são vetores a comparar: veja a distância de atenção",
        )
    if config.position_embedding == "none":
        return Sentence(
            "the network has no position embedding: look at one that has",
            "a rede não tem embedding de posição: veja uma que tenha",
        )
    if config.patches < 2:
        return Sentence(
            "a single patch resembles no other: look at a network with more patches, or at larger images",
            "um único patch não se parece com outro: veja uma rede com mais patches, ou imagens maiores",
        )
    return None
