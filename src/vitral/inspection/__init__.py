"""Looks inside a network, as numpy arrays and pictures."""

from vitral.inspection.activations import Activations, activations, batch_size
from vitral.inspection.components import FeatureComponents, feature_components
from vitral.inspection.distance import attention_distance, patch_distances, uniform_distance
from vitral.inspection.filters import FilterComponents, filter_components, why_no_filters
from vitral.inspection.norms import HIGH_NORM, NormSummary, summarise_norms
from vitral.inspection.overlay import overlay
from vitral.inspection.positions import (
    PositionPattern,
    position_pattern,
    position_similarity,
    why_no_positions,
)
from vitral.inspection.principal import principal_components
from vitral.inspection.rollout import heatmap, relevance, rollout

__all__ = [
    "HIGH_NORM",
    "Activations",
    "FeatureComponents",
    "FilterComponents",
    "NormSummary",
    "PositionPattern",
    "activations",
    "attention_distance",
    "batch_size",
    "feature_components",
    "filter_components",
    "heatmap",
    "overlay",
    "patch_distances",
    "position_pattern",
    "position_similarity",
    "principal_components",
    "relevance",
    "rollout",
    "summarise_norms",
    "uniform_distance",
    "why_no_filters",
    "why_no_positions",
]
