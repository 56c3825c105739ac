"""Looks inside a network, as numpy arrays and pictures."""

from vitral.inspection.overlay import overlay
from vitral.inspection.rollout import heatmap, relevance, rollout

__all__ = ["heatmap", "overlay", "relevance", "rollout"]
