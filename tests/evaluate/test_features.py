"""Scores of features, tested against scikit-learn and scipy one feature at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import r2_score

from scvi_cae.evaluate import feature_correlation, feature_r2


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3]))
@settings(deadline=None, max_examples=40)
def test_each_feature_is_scored_on_its_own_cells(seed, missing):
    rng = np.random.default_rng(seed)
    truth, prediction, mean = rng.normal(3, 2, (12, 4)), rng.normal(3, 2, (12, 4)), rng.normal(size=4)
    truth[rng.random(truth.shape) < missing] = np.nan
    r2, r = feature_r2(truth, prediction, mean), feature_correlation(truth, prediction)
    for j in range(4):
        seen = ~np.isnan(truth[:, j])
        y, y_hat = truth[seen, j], prediction[seen, j]
        if len(y) >= 3:
            assert r2[j] == pytest.approx(1 - ((y - y_hat) ** 2).sum() / ((y - mean[j]) ** 2).sum())
            assert r2_score(y, y_hat) == pytest.approx(feature_r2(y[:, None], y_hat[:, None], [y.mean()])[0])
            assert r[j] == pytest.approx(pearsonr(y, y_hat).statistic)


def test_features_that_do_not_vary_or_were_not_measured_have_no_score():
    truth = np.array([[1.0, 7.1, np.nan, 1.0], [2.0, 7.1, np.nan, 2.0], [3.0, 7.1, np.nan, 4.0]])
    prediction = np.array([[1.0, 2.0, 3.0, 0.1], [2.0, 1.0, 3.0, 0.1], [3.0, 0.0, 3.0, 0.1]])
    np.testing.assert_array_equal(np.isnan(feature_correlation(truth, prediction)), [False, True, True, True])
    np.testing.assert_array_equal(
        np.isnan(feature_r2(truth, prediction, [0, 7.1, 0, 0])), [False, True, True, False]
    )


def test_correlation_is_invariant_to_scale_and_offset_but_r2_is_not():
    truth = np.random.default_rng(0).normal(size=(20, 2))
    np.testing.assert_allclose(feature_correlation(truth, 5 * truth + 3), 1)
    assert (feature_r2(truth, 5 * truth + 3, truth.mean(0)) < 0).all()


@pytest.mark.parametrize("measure", [lambda t, p: feature_r2(t, p, [0.0]), feature_correlation])
def test_a_prediction_is_needed_where_truth_is_observed(measure):
    with pytest.raises(ValueError, match="NaN at 1 entries"):
        measure([[1.0], [2.0]], [[1.0], [np.nan]])


def test_features_without_prediction_have_no_score():
    rng = np.random.default_rng(0)
    truth, prediction = rng.normal(size=(2, 20, 3))
    gap = prediction.copy()
    gap[:, 1] = np.nan
    for score in (lambda p: feature_r2(truth, p, np.zeros(3)), lambda p: feature_correlation(truth, p)):
        assert np.isnan(score(gap)[1])
        np.testing.assert_array_equal(score(gap)[[0, 2]], score(prediction)[[0, 2]])
    gap[0, 2] = np.nan
    with pytest.raises(ValueError, match="NaN at 1 entries"):
        feature_r2(truth, gap, np.zeros(3))
