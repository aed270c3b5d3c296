"""Pooled R2, tested against its formula written as loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from scvi_cae.evaluate import pooled_r2, r2_beyond


@st.composite
def measured(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth with missing values, prediction, mean, scale."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, p = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    truth = rng.normal(3, 2, (n, p))
    truth[rng.random((n, p)) < draw(st.sampled_from([0.0, 0.4]))] = np.nan
    truth[0, 0] = 1.5
    return truth, rng.normal(3, 2, (n, p)), rng.normal(3, 1, p), rng.uniform(0.5, 3, p)


@given(measured())
@settings(deadline=None, max_examples=60)
def test_r2_is_its_formula(case):
    truth, prediction, mean, scale = case
    residual = total = 0.0
    for i, j in np.ndindex(truth.shape):
        if not np.isnan(truth[i, j]):
            y = (truth[i, j] - mean[j]) / scale[j]
            residual += (y - (prediction[i, j] - mean[j]) / scale[j]) ** 2
            total += y**2
    assert pooled_r2(truth, prediction, mean, scale) == pytest.approx(1 - residual / total)


def test_r2_of_perfect_mean_and_worse_predictions():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20, 3))
    mean, scale = truth.mean(0), truth.std(0)
    assert pooled_r2(truth, truth, mean, scale) == 1
    assert pooled_r2(truth, np.tile(mean, (20, 1)), mean, scale) == 0
    assert pooled_r2(truth, 2 * mean - truth, mean, scale) == pytest.approx(-3)


def test_r2_is_sklearns_where_both_are_defined():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(30, 4))
    mean, scale = truth.mean(0), truth.std(0)
    prediction = truth + rng.normal(size=truth.shape)
    expected = r2_score(((truth - mean) / scale).ravel(), ((prediction - mean) / scale).ravel())
    assert pooled_r2(truth, prediction, mean, scale) == pytest.approx(expected)


def test_r2_does_not_depend_on_units():
    rng = np.random.default_rng(2)
    truth, prediction, mean, scale = *rng.normal(size=(2, 10, 3)), rng.normal(size=3), rng.uniform(1, 2, 3)
    unit = np.array([1e-3, 1, 1e6])
    expected = pooled_r2(truth, prediction, mean, scale)
    assert pooled_r2(truth * unit, prediction * unit, mean * unit, scale * unit) == pytest.approx(expected)


def test_r2_needs_no_prediction_of_missing_values():
    truth = np.array([[1.0, np.nan], [3.0, 2.0]])
    prediction = np.array([[1.0, np.nan], [3.0, 2.0]])
    assert pooled_r2(truth, prediction, [2, 1], [1, 1]) == 1
    prediction[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN at 1 entries.*row 1, column 1"):
        pooled_r2(truth, prediction, [2, 1], [1, 1])


def test_r2_is_nan_if_all_values_equal_the_mean():
    assert np.isnan(pooled_r2([[2.0]], [[2.0]], [2], [1]))


@pytest.mark.parametrize(
    ("truth", "prediction", "mean", "match"),
    [
        ([[1.0, 2.0]], [[1.0]], [0, 0], r"truth has shape \(1, 2\) and prediction \(1, 1\)"),
        ([[1.0, 2.0]], [[1.0, 2.0]], [0], "one number for each of the 2 features"),
        ([[np.nan, np.nan]], [[1.0, 2.0]], [0, 0], "no observed value"),
    ],
)
def test_r2_names_what_is_wrong(truth, prediction, mean, match):
    with pytest.raises(ValueError, match=match):
        pooled_r2(truth, prediction, mean, np.ones(len(mean)))


@given(measured())
@settings(deadline=None, max_examples=30)
def test_beyond_is_its_formula_and_pooled_r2_beyond_the_mean(case):
    truth, prediction, mean, scale = case
    assert r2_beyond(truth, prediction, np.tile(mean, (len(truth), 1)), scale) == pytest.approx(
        pooled_r2(truth, prediction, mean, scale)
    )
    reference = np.random.default_rng(0).normal(3, 2, truth.shape)
    observed = ~np.isnan(truth)
    sse = [np.sum((((truth - p) / scale)[observed]) ** 2) for p in (prediction, reference)]
    assert r2_beyond(truth, prediction, reference, scale) == pytest.approx(1 - sse[0] / sse[1])


def test_beyond_is_zero_for_the_reference_and_nan_for_a_perfect_one():
    truth, reference = np.array([[1.0], [2.0]]), np.array([[1.5], [1.0]])
    assert r2_beyond(truth, reference, reference, [1.0]) == 0
    assert np.isnan(r2_beyond(truth, reference, truth, [1.0]))
    with pytest.raises(ValueError, match="scale has shape"):
        r2_beyond(truth, reference, reference, [1.0, 2.0])


@pytest.mark.parametrize("scale", [0.0, np.nan])
def test_features_without_scale_are_not_scored(scale):
    """A feature that is constant, or was never measured, among the training cells."""
    rng = np.random.default_rng(0)
    truth, prediction = rng.normal(size=(2, 20, 3))
    expected = pooled_r2(truth, prediction, np.zeros(3), np.ones(3))
    wide = [np.c_[x, x[:, :1] * 1e6] for x in (truth, prediction)]
    assert pooled_r2(*wide, np.zeros(4), [1, 1, 1, scale]) == expected
    wide[1][:, 3] = np.nan
    assert pooled_r2(*wide, np.zeros(4), [1, 1, 1, scale]) == expected
    with pytest.raises(ValueError, match=r"NaN at 20 entries.*row 0, column 3"):
        pooled_r2(*wide, np.zeros(4), np.ones(4))
    assert np.isnan(pooled_r2(truth, prediction, np.zeros(3), np.full(3, scale)))
