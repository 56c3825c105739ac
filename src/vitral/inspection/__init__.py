"""Looks inside a network, as numpy arrays and pictures."""

from vitral.inspection.faithfulness import Faithfulness, compared, faithfulness
from vitral.inspection.heat import heatmap, patch_at, patch_box
from vitral.inspection.overlay import overlay
from vitral.inspection.relevance import (
    FUSIONS,
    fused,
    gradient_step,
    positive_part,
    rollout,
    rollout_step,
    walk_back,
)

__all__ = [
    "FUSIONS",
    "Faithfulness",
    "compared",
    "faithfulness",
    "fused",
    "gradient_step",
    "heatmap",
    "overlay",
    "patch_at",
    "patch_box",
    "positive_part",
    "rollout",
    "rollout_step",
    "walk_back",
]
