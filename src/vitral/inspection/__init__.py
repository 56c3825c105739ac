"""Looks inside a network, as numpy arrays and pictures."""

from vitral.inspection.activations import Activations, activations, batch_size
from vitral.inspection.components import FeatureComponents, feature_components
from vitral.inspection.distance import attention_distance, patch_distances, uniform_distance
from vitral.inspection.faithfulness import Faithfulness, compared, faithfulness
from vitral.inspection.filters import FilterComponents, filter_components, why_no_filters
from vitral.inspection.heat import heatmap, patch_at, patch_box
from vitral.inspection.norms import HIGH_NORM, NormSummary, summarise_norms
from vitral.inspection.overlay import overlay
from vitral.inspection.positions import (
    PositionPattern,
    position_pattern,
    position_similarity,
    why_no_positions,
)
from vitral.inspection.principal import principal_components
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
    "HIGH_NORM",
    "Activations",
    "Faithfulness",
    "FeatureComponents",
    "FilterComponents",
    "NormSummary",
    "PositionPattern",
    "activations",
    "attention_distance",
    "batch_size",
    "compared",
    "faithfulness",
    "feature_components",
    "filter_components",
    "fused",
    "gradient_step",
    "heatmap",
    "overlay",
    "patch_at",
    "patch_box",
    "patch_distances",
    "position_pattern",
    "position_similarity",
    "positive_part",
    "principal_components",
    "rollout",
    "rollout_step",
    "summarise_norms",
    "uniform_distance",
    "walk_back",
    "why_no_filters",
    "why_no_positions",
]
