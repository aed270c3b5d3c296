"""Every block has a variance of its number of features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_modality
from scvi_cae.pp import scale_blocks


def make_adata(values: np.ndarray, blocks: object):
    adata = make_modality(values, np.array([f"c{i}" for i in range(len(values))]), "x")
    adata.X = values
    adata.var["block"] = blocks
    return adata


@st.composite
def blocked(draw: st.DrawFn):
    """Values of mixed units, with gaps, and a block for most features."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, p = draw(st.integers(3, 15)), draw(st.integers(1, 8))
    values = rng.normal(rng.normal(0, 100, p), 10.0 ** rng.integers(-3, 4, p), (n, p))
    values[rng.random((n, p)) < draw(st.sampled_from([0.0, 0.4]))] = np.nan
    values[:2] = rng.normal(size=(2, p))
    blocks = rng.choice(np.array(["a", "b", "c", None], dtype=object), p)
    blocks[0] = "a"
    return values, blocks


@given(blocked())
@settings(deadline=None, max_examples=60)
def test_variance_of_a_block_is_its_number_of_features(case):
    values, blocks = case
    adata = make_adata(values, blocks)
    scale_blocks(adata, "block")
    factors = adata.var["block_scale"].to_numpy()
    for name in set(blocks) - {None}:
        inside = blocks == name
        assert np.nanvar(adata.X[:, inside], axis=0).sum() == pytest.approx(inside.sum())
        assert len(set(factors[inside])) == 1
        np.testing.assert_allclose(adata.X[:, inside], values[:, inside] * factors[inside])
    outside = pd.isna(blocks)
    assert np.isnan(factors[outside]).all()
    np.testing.assert_array_equal(adata.X[:, outside], values[:, outside])


@given(blocked(), st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=30)
def test_the_unit_of_a_block_does_not_matter(case, unit):
    values, blocks = case
    one, other = (
        make_adata(values, blocks),
        make_adata(np.where(blocks == "a", values * unit, values), blocks),
    )
    for adata in (one, other):
        scale_blocks(adata, "block")
    np.testing.assert_allclose(one.X, other.X, rtol=1e-9)


def test_nothing_is_centred_and_proportions_stay():
    values = np.array([[10.0, 1.0], [14.0, 2.0], [18.0, 3.0]])
    adata = make_adata(values, "a")
    scale_blocks(adata, "block")
    np.testing.assert_allclose(adata.X, values * np.sqrt(2 / values.var(axis=0).sum()))


@pytest.mark.parametrize("blocks", [[3, 3, 7], pd.Categorical(["u", "u", "v"], categories=["z", "v", "u"])])
def test_blocks_may_be_numbers_or_categories(blocks):
    values = np.random.default_rng(0).normal(size=(9, 3))
    one, other = make_adata(values, blocks), make_adata(values, ["a", "a", "b"])
    for adata in (one, other):
        scale_blocks(adata, "block")
    np.testing.assert_array_equal(one.X, other.X)


def test_whole_numbers_become_float32():
    adata = make_adata(np.array([[1, 2], [3, 5], [4, 9]]), ["a", None])
    scale_blocks(adata, "block")
    assert adata.X.dtype == np.float32
    assert adata.X[:, 0].var() == pytest.approx(1, rel=1e-6)
    assert adata.X[:, 1].tolist() == [2, 5, 9]


def test_single_precision_does_not_lose_the_variance():
    values = (1e6 + np.random.default_rng(0).normal(size=(2000, 2))).astype(np.float32)
    adata = make_adata(values, "a")
    scale_blocks(adata, "block")
    assert adata.var["block_scale"].iloc[0] == pytest.approx(
        np.sqrt(2 / values.astype(float).var(axis=0).sum())
    )


def test_blocks_without_variance_are_named():
    values = np.random.default_rng(0).normal(size=(100, 4))
    values[:, :2] = 1.1  # of which the mean, and so the variance, has rounding errors
    with pytest.raises(ValueError, match="no feature varies in the 100 fitted cells: 'flat'"):
        scale_blocks(make_adata(values, ["flat", "flat", "good", "good"]), "block")
    adata = make_adata(values, ["flat", "good", "good", "good"])
    adata.var.loc["x0", "block"] = None
    scale_blocks(adata, "block")
    with pytest.raises(ValueError, match="no feature varies in the 1 fitted cells: 'good'"):
        scale_blocks(make_adata(values, "good"), "block", cells=[3])


def test_features_without_value_are_named():
    values = np.random.default_rng(0).normal(size=(10, 3))
    values[:5, 1:] = np.nan
    with pytest.raises(ValueError, match="in the 5 fitted cells: 'x1'. Drop them"):
        scale_blocks(make_adata(values, ["a", "a", None]), "block", cells=range(5))


def test_blocks_are_needed():
    values = np.random.default_rng(0).normal(size=(10, 3))
    with pytest.raises(ValueError, match=r"blocks=\.\.\."):
        scale_blocks(make_adata(values, "a"))
    with pytest.raises(KeyError, match="no column 'spc' in .var .blocks.; it has 'block'"):
        scale_blocks(make_adata(values, "a"), "spc")
    with pytest.raises(ValueError, match="no feature has a block in .var.'block'"):
        scale_blocks(make_adata(values, None), "block")
