"""The maps of an aligned query are monotone, can be undone, and leave alone what they do not know."""

from __future__ import annotations

import mudata
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_mdata
from scvi_cae.data import QUERY_REPORT, Transformation

N_FEATURES = 3


@st.composite
def transformations(draw) -> Transformation:
    """Ascending knots, of very different units."""
    n = draw(st.integers(2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    units = 10.0 ** rng.integers(-6, 7, size=(2, 1, N_FEATURES))
    steps = rng.uniform(0.2, 2, size=(2, n, N_FEATURES))
    before, after = units * (rng.normal(size=(2, 1, N_FEATURES)) + steps.cumsum(axis=1))
    return Transformation(before, after)


def values_of(found: Transformation, seed: int, n: int = 40) -> np.ndarray:
    """Values between the knots and far beyond them, in ascending order."""
    low, high = found.before[0], found.before[-1]
    positions = np.sort(np.random.default_rng(seed).uniform(-2, 3, size=(n, N_FEATURES)), axis=0)
    return low + positions * (high - low)


@given(transformations(), st.integers(0, 100))
def test_it_is_undone_by_its_inverse(found, seed):
    x = values_of(found, seed)
    size = found.before[-1] - found.before[0]
    assert np.all(np.abs(found.inverse(found(x)) - x) < 1e-8 * size)
    np.testing.assert_allclose(found(found.before), found.after)


@given(transformations(), st.integers(0, 100))
def test_it_keeps_the_order(found, seed):
    x = values_of(found, seed)
    assert np.all(np.diff(found(x), axis=0)[np.diff(x, axis=0) > 0] > 0)


@given(transformations(), st.integers(0, 100), st.floats(0, 1))
def test_missing_values_stay_missing_and_others_do_not_depend_on_them(found, seed, share):
    x = values_of(found, seed)
    missing = np.random.default_rng(seed).random(x.shape) < share
    out = found(np.where(missing, np.nan, x))
    np.testing.assert_array_equal(np.isnan(out), missing)
    np.testing.assert_array_equal(out[~missing], found(x)[~missing])


@given(transformations())
def test_beyond_the_outermost_knots_the_slope_is_that_between_them(found):
    size = found.before[-1] - found.before[0]
    for end, step in ((0, -1.5), (-1, 2.0)):
        moved = found(found.before[end] + step * size) - found.after[end]
        np.testing.assert_allclose(moved, step * (found.after[-1] - found.after[0]), rtol=1e-6)


@given(transformations(), st.integers(0, 100))
def test_values_of_any_shape(found, seed):
    """As quantiles have: cells, quantiles, features."""
    x = values_of(found, seed).reshape(8, 5, N_FEATURES)
    np.testing.assert_array_equal(found(x).reshape(-1, N_FEATURES), found(x.reshape(-1, N_FEATURES)))


def test_a_linear_map():
    """Also of a feature whose values are all the same: by the slope that was asked for."""
    mean, spread, factor = np.array([1.0, -60.0, 5.0]), np.array([2.0, 1e-3, 0.0]), np.array([3.0, 0.5, 1.0])
    found = Transformation.linear(mean, spread, np.array([0.0, 10.0, 7.0]), factor)
    np.testing.assert_allclose(found.slopes, factor)
    x = np.array([[1.0, -60.0, 5.0], [4.0, -58.0, 6.0]])
    np.testing.assert_allclose(found(x), [[0, 10, 7], [9, 11, 8]])


def test_it_is_kept_with_the_data_in_files_too(tmp_path):
    mdata = make_mdata(20)
    assert Transformation.read(mdata, "ephys") is None
    knots = np.linspace(0, 1, 5)[:, None] * np.ones(8)
    found, report = Transformation(knots, 3 * knots - 1), {"n_cells": 20}
    found.write(report)
    mdata.uns[QUERY_REPORT] = {"ephys": report}
    mdata.write_h5mu(tmp_path / "query.h5mu")
    again = mudata.read_h5mu(tmp_path / "query.h5mu")
    read = Transformation.read(again, "ephys")
    np.testing.assert_array_equal(read.before, found.before)
    np.testing.assert_array_equal(read.after, found.after)
    assert Transformation.read(again, "rna") is None
