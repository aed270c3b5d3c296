from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss

from scvi_cae.evaluate import abstention, interval_scores, interval_width, pooled_r2


def intervals_of(values, quantiles, features=None):
    features = features or [f"f{i}" for i in range(values.shape[1])]
    columns = pd.MultiIndex.from_product([features, quantiles], names=["feature", "quantile"])
    return pd.DataFrame(values.reshape(len(values), -1), columns=columns)


@given(st.integers(0, 1000), st.lists(st.sampled_from([0.05, 0.1, 0.5, 0.8, 0.9]), min_size=2, unique=True))
@settings(deadline=None, max_examples=40)
def test_scores_are_their_formulas(seed, quantiles):
    rng = np.random.default_rng(seed)
    n, p = 12, 3
    truth, scale = rng.normal(size=(n, p)), rng.uniform(0.5, 3, p)
    truth[rng.random((n, p)) < 0.3] = np.nan
    truth[0] = 0.0
    rank = np.argsort(np.argsort(quantiles))
    values = np.sort(rng.normal(size=(n, p, len(quantiles))), axis=-1)[..., rank]
    scores = interval_scores(truth, intervals_of(values, quantiles), scale)
    low, high = values.min(-1), values.max(-1)
    for f in range(p):
        seen = ~np.isnan(truth[:, f])
        y = truth[seen, f]
        row = scores.loc[f"f{f}"]
        assert row["n_cells"] == seen.sum()
        assert row["coverage"] == pytest.approx(np.mean((low[seen, f] <= y) & (y <= high[seen, f])))
        assert row["width"] == pytest.approx(np.mean(high[seen, f] - low[seen, f]) / scale[f])
        losses = [mean_pinball_loss(y, values[seen, f, i], alpha=q) for i, q in enumerate(quantiles)]
        assert row["pinball"] == pytest.approx(np.mean(losses) / scale[f])


def test_scores_leave_out_cells_without_prediction():
    values = np.array([[[0.0, 1.0]], [[np.nan, np.nan]], [[0.0, 3.0]]])
    intervals = intervals_of(values, [0.1, 0.9])
    scores = interval_scores([[0.5], [0.5], [5.0]], intervals, [1.0])
    assert scores.loc["f0", ["n_cells", "coverage", "width"]].tolist() == [2, 0.5, 2.0]
    width = interval_width(intervals, [2.0])
    np.testing.assert_array_equal(width, [0.5, np.nan, 1.5])


def test_scores_of_columns_in_any_order():
    values = np.arange(12.0).reshape(2, 3, 2)
    intervals = intervals_of(values, [0.1, 0.9])
    by_quantile = intervals.sort_index(axis=1, level="quantile")
    truth = values.mean(-1)
    pd.testing.assert_frame_equal(
        interval_scores(truth, intervals, np.ones(3)), interval_scores(truth, by_quantile, np.ones(3))
    )


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_setting_cells_aside(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.normal(size=(2, 40, 3))
    truth[rng.random(truth.shape) < 0.2] = np.nan
    mean, scale, uncertainty = rng.normal(size=3), rng.uniform(1, 2, 3), rng.random(40)
    table = abstention(truth, prediction, uncertainty, mean, scale, [0, 0.25, 0.9])
    assert table["n_cells"].tolist() == [40, 30, 4]
    for fraction, row in table.iterrows():
        kept = uncertainty <= np.sort(uncertainty)[round(40 * (1 - fraction)) - 1]
        assert row["r2"] == pytest.approx(pooled_r2(truth[kept], prediction[kept], mean, scale))
        assert row["mse"] == pytest.approx(np.nanmean(((truth[kept] - prediction[kept]) / scale) ** 2))


def test_the_errors_themselves_order_cells_best():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(50, 4))
    prediction = truth + rng.normal(size=(50, 4)) * np.arange(50)[:, None]
    squared = ((truth - prediction) ** 2).mean(1)
    table = abstention(truth, prediction, squared, np.zeros(4), np.ones(4))
    assert table["mse"].is_monotonic_decreasing


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: interval_scores([[1.0]], x[["f0"]].droplevel(1, axis=1), [1.0]), "two quantiles or more"),
        (lambda x: interval_width(x.iloc[:, [0]], [1.0]), "two quantiles or more"),
        (lambda x: interval_scores(np.ones((3, 1)), x, [1.0]), "the intervals are of 2 cells by 1 features"),
        (lambda x: interval_scores(np.ones((2, 1)), x, [1.0, 2.0]), "give the same cells and features"),
        (lambda x: interval_scores(np.full((2, 1), np.nan), x, [1.0]), r"truth and prediction of \['f0'\]"),
        (lambda x: abstention([[1.0]], [[1.0]], [0.1, 0.2], [0], [1]), "each of the 1 cells"),
        (lambda x: abstention([[1.0]], [[1.0]], [np.nan], [0], [1]), "without a prediction"),
        (lambda x: abstention([[1.0]], [[1.0]], [0.1], [0], [1], [1.0]), "at least 0 and below 1"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(intervals_of(np.array([[[0.0, 1.0]], [[0.0, 2.0]]]), [0.1, 0.9]))


def test_features_without_scale_have_no_width():
    rng = np.random.default_rng(0)
    columns = pd.MultiIndex.from_product([["a", "b"], [0.1, 0.9]], names=["feature", "quantile"])
    intervals = pd.DataFrame(np.sort(rng.normal(size=(20, 4)), axis=1), columns=columns)
    truth = rng.normal(size=(20, 2))
    scores = interval_scores(truth, intervals, [2.0, 0.0])
    alone = interval_scores(truth[:, :1], intervals[["a"]], [2.0])
    pd.testing.assert_series_equal(scores.loc["a"], alone.loc["a"])
    assert scores.loc["b", ["width", "pinball"]].isna().all()
    np.testing.assert_allclose(interval_width(intervals, [2.0, 0.0]), interval_width(intervals[["a"]], [2.0]))
    prediction = truth + rng.normal(size=truth.shape)
    table = abstention(truth, prediction, np.arange(20), [0, 0], [2.0, 0.0])
    only = abstention(truth[:, :1], prediction[:, :1], np.arange(20), [0], [2.0])
    pd.testing.assert_frame_equal(table, only)
