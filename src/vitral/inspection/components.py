"""What a network tells apart, as colours: the first three principal components of its patch features.

Source: Oquab et al. 2023, "DINOv2", figure 1.
"""

from dataclasses import dataclass

import numpy as np

from vitral.inspection.principal import principal_components

# Percentiles that become dark and bright, so that a few odd patches do not take the colours from all others.
DARK, BRIGHT = 1.0, 99.0


@dataclass(frozen=True, eq=False)
class FeatureComponents:
    """Patch features as colours.

    Args:
        colours: float32 `(images, rows, columns, 3)`, from 0 to 1: the first three components as red, green and blue.
        variance: `(3,)`, the share of the features' variance that each has, from 0 to 1.
    """

    colours: np.ndarray
    variance: np.ndarray


def feature_components(features: np.ndarray) -> FeatureComponents:
    """The principal components of patch features as red, green and blue.

    They are those of the patches of all images together, so that equal colours mean similar features from one image to
    another. A component and its negative say the same: which end is bright means nothing, but is always the same.

    Args:
        features: `(images, rows, columns, dim)`. Features that span fewer than three directions leave the other
            colours at one half.
    """
    vectors = features.reshape(-1, features.shape[-1]).astype(np.float64)
    axes, variance = principal_components(vectors, 3)
    colours, shares = np.full((len(vectors), 3), 0.5, np.float32), np.zeros(3)
    shares[: len(variance)] = variance
    for place, axis in enumerate(axes):
        values = (vectors - vectors.mean(axis=0)) @ axis
        dark, bright = np.percentile(values, [DARK, BRIGHT])
        if bright > dark:
            colours[:, place] = np.clip((values - dark) / (bright - dark), 0, 1)
    return FeatureComponents(colours.reshape(*features.shape[:-1], 3), shares)
