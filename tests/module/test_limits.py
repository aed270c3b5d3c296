from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.module import robust_limits


def limits(values, n_deviations=5.0):
    lower, upper = robust_limits(np.asarray(values, dtype=float)[:, None], n_deviations)
    return lower[0], upper[0]


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1e6), st.floats(-1e3, 0), st.integers(1, 7))
def test_a_few_outliers_of_a_normal_feature_lie_outside_and_all_others_inside(seed, scale, centre, n):
    rng = np.random.default_rng(seed)
    clean = centre + scale * rng.normal(size=200)
    far = centre + scale * rng.choice([-1, 1], n) * rng.uniform(15, 1000, n)
    lower, upper = limits(np.concatenate([clean, far]))
    assert ((clean >= lower) & (clean <= upper)).all()
    assert ((far < lower) | (far > upper)).any()
    # Outliers at like distances follow each other, but the nearest of them does not follow the others.
    nearest = far[np.abs(far - centre).argmin()]
    assert nearest < lower or nearest > upper


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.95))
def test_zero_inflated_features_keep_their_values(seed, share):
    """A marker gene: most cells 0, some high; its median absolute deviation is 0."""
    rng = np.random.default_rng(seed)
    gene = np.where(rng.random(400) < share, 0.0, rng.normal(7, 1, 400))
    lower, upper = limits(gene)
    assert lower <= gene.min()
    assert upper >= gene.max()


@given(st.integers(0, 2**32 - 1))
def test_a_minority_of_cells_at_other_values_is_no_outlier(seed):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(0, 0.01, 360), rng.normal(5, 0.01, 40)])
    lower, upper = limits(values)
    assert lower <= values.min()
    assert upper >= values.max()


def test_a_tail_is_no_outlier():
    values = np.exp(np.random.default_rng(0).normal(size=1000))
    assert limits(values)[1] >= np.sort(values)[-3]


@pytest.mark.parametrize(
    "values", [np.zeros(100), np.arange(19), np.repeat([0.0, 1.0], 50), np.full(50, np.nan)]
)
def test_without_a_spread_there_are_no_limits(values):
    assert limits(values) == (-np.inf, np.inf)
