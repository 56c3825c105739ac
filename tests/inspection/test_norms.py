"""Are the norms' quantiles those of the definition, and are artefacts counted, and only artefacts?"""

import numpy as np
import pytest

from vitral.inspection import summarise_norms


def test_quantiles_of_known_numbers() -> None:
    summary = summarise_norms(np.arange(101, dtype=np.float32).reshape(1, 101))
    assert (summary.lower_quartile, summary.median, summary.upper_quartile) == (25, 50, 75)
    assert (summary.percentile_99, summary.maximum, summary.tokens) == (99, 100, 101)
    assert summary.high_share == 0


def test_what_registers_cure_is_counted_and_ordinary_spread_is_not() -> None:
    """2 % of the patches ten times as long as the others, as the paper reports it."""
    ordinary = np.random.default_rng(0).normal(40, 8, 4900)  # the longest near 70
    artefacts = np.full(100, 400.0)
    assert summarise_norms(ordinary).high_share == 0
    summary = summarise_norms(np.concatenate([ordinary, artefacts]))
    assert summary.high_share == pytest.approx(0.02)
    assert summary.maximum == 400
    assert summary.median < 42
