"""Robust standardisation against the published steps, one feature at a time."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conftest import make_modality
from scvi_cae.pp import robust_scale


def make_adata(values: np.ndarray):
    adata = make_modality(values, np.array([f"c{i}" for i in range(len(values))]), "x")
    adata.X = values
    return adata


def one_feature(values: np.ndarray, percentiles: tuple[float, float], max_value: float | None):
    measured = values[~np.isnan(values)]
    low, high = np.percentile(measured, percentiles)
    central = measured[(measured >= low) & (measured <= high)]
    z = (values - np.mean(central)) / np.std(central)
    return z if max_value is None else np.clip(z, -max_value, max_value)


@st.composite
def features(draw: st.DrawFn) -> np.ndarray:
    """Features with gaps and outliers, in several units."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, p = draw(st.integers(4, 60)), draw(st.integers(1, 5))
    values = rng.normal(rng.normal(0, 50, p), 10.0 ** rng.integers(-3, 4, p), (n, p))
    values[rng.random((n, p)) < 0.05] *= 100
    missing = rng.random((n, p)) < draw(st.sampled_from([0.0, 0.3]))
    missing[:4] = False
    values[missing] = np.nan
    return values


@given(features(), st.sampled_from([(1.0, 99.0), (0, 100), (20, 75)]), st.sampled_from([6.0, 1.5, None]))
@settings(deadline=None, max_examples=80)
def test_each_feature_is_scaled_as_published(values, percentiles, max_value):
    n = (~np.isnan(values)).sum(axis=0).min()
    assume(n > 5)
    adata = make_adata(values)
    robust_scale(adata, percentiles=percentiles, max_value=max_value)
    for j in range(values.shape[1]):
        np.testing.assert_allclose(
            adata.X[:, j], one_feature(values[:, j], percentiles, max_value), rtol=1e-9, atol=1e-9
        )


@given(features(), st.floats(1e-2, 1e2), st.floats(-1e2, 1e2))
@settings(deadline=None, max_examples=30)
def test_units_do_not_matter(values, unit, offset):
    one, other = make_adata(values), make_adata(values * unit + offset)
    for adata in (one, other):
        robust_scale(adata, percentiles=(0, 100))
    np.testing.assert_allclose(one.X, other.X, rtol=1e-4, atol=1e-4)


def test_parameters_take_the_values_back():
    values = np.random.default_rng(0).normal(-70, 5, (50, 2)).astype(np.float32)
    adata = make_adata(values)
    robust_scale(adata, max_value=None)
    mean, std = adata.var["robust_scale_mean"].to_numpy(), adata.var["robust_scale_std"].to_numpy()
    assert mean.dtype == std.dtype == np.float64
    np.testing.assert_allclose(adata.X * std + mean, values, rtol=1e-5)


def test_an_outlier_does_not_set_the_scale():
    values = np.random.default_rng(0).normal(size=(200, 1))
    adata = make_adata(np.concatenate([values, [[1e6]]]))
    robust_scale(adata)
    assert adata.var["robust_scale_std"].iloc[0] == pytest.approx(values.std(), rel=0.1)
    assert adata.X[-1, 0] == 6


@pytest.mark.parametrize("mask", ["ipfx", np.array([True, False, True])])
def test_others_are_left_as_they_are(mask):
    values = np.random.default_rng(0).normal(5, 2, (50, 3)).astype(np.float32)
    adata, all_scaled = make_adata(values), make_adata(values)
    adata.var["ipfx"] = [True, False, True]
    robust_scale(adata, mask_var=mask)
    robust_scale(all_scaled)
    np.testing.assert_array_equal(adata.X[:, 1], values[:, 1])
    np.testing.assert_array_equal(adata.X[:, [0, 2]], all_scaled.X[:, [0, 2]])
    assert adata.var["robust_scale_std"].isna().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("mask", "error", "match"),
    [
        ("ipfx", KeyError, "no column 'ipfx' in .var .mask_var."),
        ("text", TypeError, "must be Boolean.*3 features"),
        ([0, 2], TypeError, r"must be Boolean.*shape \(2,\)"),
        ([True, False], TypeError, r"must be Boolean.*shape \(2,\)"),
        ([False] * 3, ValueError, "nothing to scale"),
    ],
)
def test_bad_masks_are_named(mask, error, match):
    adata = make_adata(np.random.default_rng(0).normal(size=(10, 3)))
    adata.var["text"] = ["yes", "no", "yes"]
    with pytest.raises(error, match=match):
        robust_scale(adata, mask_var=mask)


def test_features_without_spread_are_named():
    values = np.random.default_rng(0).normal(size=(200, 3))
    values[:, 0] = 0.1
    values[:, 2] = 0
    values[0, 2] = 5  # beyond the 99th percentile
    with pytest.raises(
        ValueError, match="2 features have no two different values.*percentile 1 to 99: 'x0', 'x2'"
    ):
        robust_scale(make_adata(values))
    adata = make_adata(values)
    robust_scale(adata, mask_var=np.array([False, True, False]))


def test_too_few_cells_for_percentiles_are_named():
    """Of two values, neither is within the 1st to the 99th percentile."""
    adata = make_adata(np.array([[1.0], [2.0]]))
    with pytest.raises(ValueError, match="in the 2 fitted cells, 1 features.*widen the percentiles"):
        robust_scale(adata)
    robust_scale(adata, percentiles=(0, 100))
    assert adata.X.ravel().tolist() == [-1, 1]


def test_features_without_value_are_named():
    values = np.random.default_rng(0).normal(size=(10, 2))
    values[:5, 1] = np.nan
    with pytest.raises(ValueError, match="in the 5 fitted cells: 'x1'. Drop them"):
        robust_scale(make_adata(values), cells=range(5))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"percentiles": (99, 1)}, "lower first"),
        ({"percentiles": (5,)}, "two numbers"),
        ({"percentiles": (0.01, 101)}, "from 0 to 100"),
        ({"max_value": 0}, "max_value=0 must be above 0"),
    ],
)
def test_bad_arguments_are_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        robust_scale(make_adata(np.random.default_rng(0).normal(size=(10, 2))), **arguments)


def test_applying_takes_the_options_of_the_fit():
    values = np.random.default_rng(0).normal(size=(100, 2))
    train = make_adata(values)
    robust_scale(train, max_value=2.0, percentiles=(5, 95))
    with pytest.raises(
        ValueError, match=r"with percentiles=\(5.0, 95.0\), this call has percentiles=\(1.0, 99.0\)"
    ):
        robust_scale(make_adata(values), fitted=train)
    with pytest.raises(ValueError, match=r"with max_value=2.0, this call has max_value=6.0"):
        robust_scale(make_adata(values), fitted=train, percentiles=(5, 95))
    test = make_adata(values)
    robust_scale(test, fitted=train, percentiles=[5, 95], max_value=2)
    np.testing.assert_array_equal(test.X, train.X)

    del train.uns["robust_scale"]
    with pytest.raises(ValueError, match="fitted has no .uns.'robust_scale'"):
        robust_scale(make_adata(values), fitted=train)


def test_no_clipping_survives_a_file(tmp_path):
    values = np.random.default_rng(0).normal(size=(100, 2))
    train, test = make_adata(values), make_adata(values)
    robust_scale(train, max_value=None)
    train.write_h5ad(tmp_path / "train.h5ad")
    robust_scale(test, max_value=None, fitted=anndata.read_h5ad(tmp_path / "train.h5ad"))
    pd.testing.assert_frame_equal(test.var, train.var)
