from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from conftest import make_mdata
from scvi_cae import CoupledAE
from scvi_cae.data import _suspicious


@pytest.mark.parametrize("size", [20, 100])
def test_values_far_outside_the_others_are_named(size):
    mdata = make_mdata(200)
    x = mdata["ephys"].X
    x[5, 2] = np.median(x[:, 2]) + size * x[:, 2].std()
    cell = mdata["ephys"].obs_names[5]
    with pytest.warns(
        UserWarning, match=f"'ephys': 1 values, in 1 features and 1 cells.*'ephys_2' of cell '{cell}'"
    ):
        CoupledAE.setup_mudata(mdata)


def test_a_giant_among_many_features_is_named(monkeypatch):
    monkeypatch.setattr(_suspicious, "NARROW", 10)
    mdata = make_mdata(100)
    mdata["rna"].X[3, 4] = 1e6
    cell = mdata["rna"].obs_names[3]
    with pytest.warns(UserWarning, match=f"'rna': 1 values.*'rna_4' of cell '{cell}' is 1e\\+06"):
        CoupledAE.setup_mudata(mdata)


def test_zero_inflated_features_are_not_reported():
    mdata = make_mdata(200)
    x = np.abs(mdata["rna"].X) + 5
    x[np.random.default_rng(0).random(x.shape) < 0.9] = 0
    x[:, 0] = 6 + 0.1 * np.random.default_rng(1).random(len(x))
    x[4, 0] = 0  # a dropout
    mdata["rna"].X = x
    CoupledAE.setup_mudata(mdata)


@pytest.mark.parametrize("as_sparse", [False, True])
def test_cells_with_the_same_values_are_named(as_sparse):
    mdata = make_mdata(100)
    x = mdata["ephys"].X.copy()
    x[[3, 8, 9]] = 0
    mdata["ephys"].X = sparse.csr_matrix(x) if as_sparse else x
    names = mdata["ephys"].obs_names[[3, 8, 9]]
    with pytest.warns(
        UserWarning, match=f"'ephys': 3 cells have exactly the same values.*'{names[0]}', '{names[1]}'"
    ):
        CoupledAE.setup_mudata(mdata)
