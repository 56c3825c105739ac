"""How long tokens are: their norms by layer, and the few far too long ones that registers cure.

Source: Darcet et al. 2024, "Vision Transformers Need Registers": in large trained networks some 2 % of the patches, in
dull places, give up what they show and carry something of the whole image; their norm is about ten times the others'.
"""

from dataclasses import dataclass

import numpy as np

# Times the median. The norms of a layer's ordinary patches differ by some tens of per cent, those of the artefacts from
# them by a factor of about ten: 3 lies halfway between 1 and 10 in ratio. A multiple of the median needs no unit, and
# however long the artefacts are, they do not move it.
HIGH_NORM = 3.0


@dataclass(frozen=True)
class NormSummary:
    """How the norms of some tokens are distributed.

    Args:
        median, lower_quartile, upper_quartile, percentile_99, maximum: of the L2 norms.
        high_share: share of the tokens whose norm is above `HIGH_NORM` times the median.
        tokens: how many there are.
    """

    median: float
    lower_quartile: float
    upper_quartile: float
    percentile_99: float
    maximum: float
    high_share: float
    tokens: int


def summarise_norms(norms: np.ndarray) -> NormSummary:
    """The distribution of L2 norms of any shape, such as those of one layer's patches in many images."""
    lower, median, upper, high, maximum = np.quantile(norms, [0.25, 0.5, 0.75, 0.99, 1.0])
    return NormSummary(
        median=float(median),
        lower_quartile=float(lower),
        upper_quartile=float(upper),
        percentile_99=float(high),
        maximum=float(maximum),
        high_share=float((norms > HIGH_NORM * median).mean()),
        tokens=int(norms.size),
    )
