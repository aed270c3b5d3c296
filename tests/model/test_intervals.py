from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_cae.model import _intervals
from scvi_cae.model._intervals import check_quantiles, min_residuals, places, pooled_quantiles


@given(st.integers(1, 400), st.integers(1, 99))
def test_places_are_those_of_the_definition(n, percent):
    q = Fraction(percent, 100)
    low, high = (int(place[0]) for place in places(n, np.array([percent / 100])))
    if percent < 50:
        assert low == high == math.floor(q * (n + 1)) - 1
    elif percent > 50:
        assert low == high == math.ceil(q * (n + 1)) - 1
    else:
        assert low + high == n - 1
    inside = 0 <= low and high < n
    assert inside == (n >= min_residuals(np.array([percent / 100])))


@given(st.integers(1, 200), st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_a_single_predictor_gives_the_quantiles_of_its_residuals(n, seed):
    rng = np.random.default_rng(seed)
    quantiles = np.array([0.9, 0.5, 0.1])
    n += min_residuals(quantiles)
    residuals = rng.normal(size=(n, 2))
    centre, scale = rng.normal(size=(4, 2)), rng.uniform(0.5, 2, size=(4, 2))
    found = pooled_quantiles([centre], [scale], [residuals], quantiles)
    for f in range(2):
        ordered = np.sort(residuals[:, f])
        expected = [
            ordered[math.ceil(Fraction(9, 10) * (n + 1)) - 1],
            np.median(ordered),
            ordered[math.floor(Fraction(1, 10) * (n + 1)) - 1],
        ]
        np.testing.assert_allclose(
            found[:, f], centre[:, f, None] + scale[:, f, None] * expected, rtol=1e-5, atol=1e-6
        )


@given(st.integers(0, 1000), st.integers(2, 4), st.sampled_from([0.0, 0.3]), st.sampled_from([1, 2**17]))
@settings(deadline=None, max_examples=30)
def test_several_predictors_are_pooled(seed, n_predictors, missing, chunk):
    rng = np.random.default_rng(seed)
    residuals = [rng.normal(size=(rng.integers(20, 40), 3)) for _ in range(n_predictors)]
    for r in residuals:
        r[rng.random(r.shape) < missing] = np.nan
    centres = rng.normal(size=(n_predictors, 5, 3))
    centres[:, 2] = np.nan
    scales = rng.uniform(0.5, 2, size=(n_predictors, 5, 3))
    quantiles = np.array([0.1, 0.5, 0.8])
    before = _intervals.CHUNK
    try:
        _intervals.CHUNK = chunk
        found = pooled_quantiles(centres, scales, residuals, quantiles)
    finally:
        _intervals.CHUNK = before
    assert np.isnan(found[2]).all()
    for i in (0, 1, 3, 4):
        for f in range(3):
            pool = [
                y[i, f] + s[i, f] * r
                for y, s, column in zip(centres, scales, residuals, strict=True)
                for r in column[:, f]
                if not np.isnan(r)
            ]
            n, pool = len(pool), sorted(pool)
            expected = [
                pool[math.floor(Fraction(1, 10) * (n + 1)) - 1],
                np.median(pool),
                pool[math.ceil(Fraction(8, 10) * (n + 1)) - 1],
            ]
            np.testing.assert_allclose(found[i, f], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [39, 40, 57])
def test_coverage_of_exchangeable_errors_is_what_was_asked_for(n):
    """The expected coverage is known: between the asked one and 1 / (n + 1) more on either side."""
    rng = np.random.default_rng(n)
    n_features, n_cells = 2000, 20
    residuals = rng.standard_t(3, size=(n, n_features))
    truth = rng.standard_t(3, size=(n_cells, n_features))
    quantiles = np.array([0.05, 0.95])
    zeros, ones = np.zeros((n_cells, n_features)), np.ones((n_cells, n_features))
    found = pooled_quantiles([zeros], [ones], [residuals], quantiles)
    coverage = ((truth >= found[..., 0]) & (truth <= found[..., 1])).mean()
    assert 0.9 - 0.005 < coverage < 0.9 + 2 / (n + 1) + 0.005


def test_coverage_of_cross_validated_predictors():
    """Means of folds, each calibrated on the fold that it left out."""
    rng = np.random.default_rng(0)
    n, n_features, n_cells = 50, 3000, 10
    data = rng.exponential(size=(n, n_features))
    folds = np.arange(n) % 5
    means = [data[folds != k].mean(0) for k in range(5)]
    residuals = [data[folds == k] - means[k] for k in range(5)]
    centres = [np.tile(mean, (n_cells, 1)) for mean in means]
    ones = [np.ones((n_cells, n_features))] * 5
    truth = rng.exponential(size=(n_cells, n_features))
    found = pooled_quantiles(centres, ones, residuals, np.array([0.1, 0.9]))
    coverage = ((truth >= found[..., 0]) & (truth <= found[..., 1])).mean()
    assert 0.79 < coverage < 0.87


@given(st.lists(st.integers(1, 99), min_size=1, max_size=6, unique=True), st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_quantiles_do_not_cross(percents, seed):
    rng = np.random.default_rng(seed)
    quantiles = np.array(percents) / 100
    n = min_residuals(quantiles)
    residuals = [rng.normal(size=(n, 1)), rng.normal(size=(7, 1))]
    centres, scales = rng.normal(size=(2, 6, 1)), rng.uniform(0.1, 2, size=(2, 6, 1))
    found = pooled_quantiles(centres, scales, residuals, quantiles)
    assert (np.diff(found[..., np.argsort(quantiles)]) >= 0).all()


@pytest.mark.parametrize(
    "quantiles", [[], [0.0, 0.5], [0.5, 1.0], [0.1, 0.1], 0.5, [[0.1, 0.9]], [np.nan], ["a"], [5, 95], None]
)
def test_what_are_no_quantiles(quantiles):
    with pytest.raises(ValueError, match=r"quantiles=.*above 0 and below 1, such as \[0.05, 0.95\]"):
        check_quantiles(quantiles)
