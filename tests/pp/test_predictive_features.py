"""Panels of features that predict another modality."""

from __future__ import annotations

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_cae.pp import predictive_features

DRIVERS = [3, 11, 17]


def make(n=300, n_genes=40, seed=0):
    """Three genes drive five features; gene 20 is a copy of gene 3 with noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_genes)).astype(np.float32)
    x[:, 20] = x[:, 3] + rng.normal(size=n)
    y = x[:, DRIVERS] @ rng.normal(size=(3, 5)) + 0.3 * rng.normal(size=(n, 5))
    names = [f"cell{i}" for i in range(n)]
    parts = {
        "rna": anndata.AnnData(
            x, pd.DataFrame(index=names), pd.DataFrame(index=[f"g{i}" for i in range(n_genes)])
        ),
        "ephys": anndata.AnnData(
            np.float32(100 * y + 7),
            pd.DataFrame(index=names),
            pd.DataFrame(index=[f"e{i}" for i in range(5)]),
        )[::-1].copy(),
    }
    return mudata.MuData(parts)


def selected(mdata, key="predictive"):
    var = mdata["rna"].var
    return list(np.flatnonzero(var[f"{key}_selected"]))


@pytest.mark.parametrize("scale", [1, 1000])
def test_the_drivers_are_found_in_any_unit_and_order(scale):
    mdata = make()
    mdata["rna"].X = mdata["rna"].X * np.where(np.arange(40) == 3, scale, 1).astype(np.float32)
    predictive_features(mdata, "rna", "ephys", n_top=3)
    assert selected(mdata) == DRIVERS
    norms = mdata["rna"].var["predictive"].to_numpy()
    assert (norms[DRIVERS] > 0).all()
    assert norms.argmax() in DRIVERS


def test_sparse_and_dense_missing_and_unpaired():
    dense = make()
    dense["ephys"].X[5, 2] = np.nan
    other = dense.copy()
    other.mod["rna"].X = sparse.csr_matrix(dense["rna"].X)
    for mdata in (dense, other):
        predictive_features(mdata, "rna", "ephys", n_top=3)
    pd.testing.assert_frame_equal(dense["rna"].var, other["rna"].var)
    empty = make()
    empty["ephys"].X[:100] = np.nan
    dropped = mudata.MuData({"rna": make()["rna"], "ephys": empty["ephys"][100:].copy()})
    for mdata in (empty, dropped):
        predictive_features(mdata, "rna", "ephys", n_top=3)
    pd.testing.assert_series_equal(empty["rna"].var["predictive"], dropped["rna"].var["predictive"])
    fewer = mudata.MuData({"rna": make()["rna"], "ephys": dense["ephys"][:200].copy()})
    predictive_features(fewer, "rna", "ephys", n_top=3)
    assert selected(fewer) == DRIVERS


def test_only_the_cells_given_count():
    mdata = make()
    train = np.arange(200)
    predictive_features(mdata, "rna", "ephys", n_top=3, cells=train, key_added="before")
    mdata["rna"].X[200:] = 0
    position = mdata["ephys"].obs_names.get_indexer(mdata.obs_names[200:])
    mdata["ephys"].X[position] = 1e6
    predictive_features(mdata, "rna", "ephys", n_top=3, cells=np.arange(300) < 200, key_added="after")
    np.testing.assert_array_equal(mdata["rna"].var["before"], mdata["rna"].var["after"])


def test_a_copy_leaves_the_data_alone():
    mdata = make()
    changed = predictive_features(mdata, "rna", "ephys", n_top=4, copy=True)
    assert "predictive" not in mdata["rna"].var
    assert len(selected(changed)) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "rna"}, "is also the target"),
        ({"target": "morph"}, "No modality 'morph'"),
        ({"n_top": 0}, "n_top=0 must be a whole number from 1 to 40"),
        ({"n_top": 41}, "from 1 to 40"),
        ({"cells": [3]}, "Only 1 of the cells have both"),
    ],
)
def test_what_cannot_be_selected(arguments, message):
    with pytest.raises(ValueError, match=message):
        predictive_features(make(), **{"modality": "rna", "target": "ephys", "n_top": 3, **arguments})


def test_missing_values_constant_targets_and_what_is_there():
    mdata = make()
    with pytest.raises(TypeError, match="Expected a MuData"):
        predictive_features(mdata["rna"], "rna", "ephys")
    predictive_features(mdata, "rna", "ephys", n_top=3)
    with pytest.raises(ValueError, match="already has .*predictive.*Delete these"):
        predictive_features(mdata, "rna", "ephys", n_top=3)
    mdata["ephys"].X[:] = 1
    with pytest.raises(ValueError, match=r"Only 0 features of 'rna' predict 'ephys'.*Lower n_top=3"):
        predictive_features(mdata, "rna", "ephys", n_top=3, key_added="other")
    mdata["rna"].X[0, 7] = np.nan
    with pytest.raises(ValueError, match=r"1 features have missing values \(NaN\): 'g7'"):
        predictive_features(mdata, "rna", "ephys", n_top=3, key_added="other")
