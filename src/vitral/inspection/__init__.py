"""Looks inside a network, as numpy arrays."""

from vitral.inspection.rollout import heatmap, relevance, rollout

__all__ = ["heatmap", "relevance", "rollout"]
