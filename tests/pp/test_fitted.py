"""Parameters are applied by name, and only where they are all there."""

from __future__ import annotations

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest

from conftest import make_modality
from scvi_cae import pp

CALLS = {
    "scale_blocks": lambda data, **kwargs: pp.scale_blocks(data, "block", **kwargs),
    "robust_scale": lambda data, **kwargs: pp.robust_scale(data, mask_var="mask", **kwargs),
}
APPLY = {"scale_blocks": pp.scale_blocks, "robust_scale": pp.robust_scale}
KEYS = {"scale_blocks": ["block_scale"], "robust_scale": ["robust_scale_mean", "robust_scale_std"]}


@pytest.fixture(params=CALLS)
def name(request):
    return request.param


def make_adata(seed: int = 0) -> anndata.AnnData:
    rng = np.random.default_rng(seed)
    adata = make_modality(rng.normal(3, 2, (30, 5)), np.array([f"c{seed}_{i}" for i in range(30)]), "x")
    adata.var["block"] = ["p", "p", None, "q", "q"]
    adata.var["mask"] = [True, True, False, True, True]
    return adata


def test_fitting_on_some_cells_and_applying_is_fitting_on_them_alone(name):
    """Whether the other cells are in the same object or in another one."""
    train, test = make_adata(0), make_adata(1)
    together = anndata.concat([train, test], merge="same")
    CALLS[name](train)
    APPLY[name](test, fitted=train)
    CALLS[name](together, cells=np.arange(60) < 30)
    np.testing.assert_array_equal(together.X, np.concatenate([train.X, test.X]))
    for key in KEYS[name]:
        np.testing.assert_array_equal(test.var[key], train.var[key])
        np.testing.assert_array_equal(together.var[key], train.var[key])


def test_features_are_matched_by_name(name):
    train, test = make_adata(0), make_adata(1)
    expected = make_adata(1)
    CALLS[name](train)
    APPLY[name](expected, fitted=train)
    test = test[:, ["x4", "x2", "x0"]].copy()
    APPLY[name](test, fitted=train)
    np.testing.assert_array_equal(test.X, expected[:, ["x4", "x2", "x0"]].X)


def test_what_was_applied_can_be_applied_again(name):
    train, second, third = make_adata(0), make_adata(1), make_adata(1)
    CALLS[name](train)
    APPLY[name](second, fitted=train)
    APPLY[name](third, fitted=second)
    np.testing.assert_array_equal(second.X, third.X)


def test_parameters_survive_a_file_and_selection(name, tmp_path):
    train, test, expected = make_adata(0), make_adata(1), make_adata(1)
    CALLS[name](train)
    train.write_h5ad(tmp_path / "train.h5ad")
    APPLY[name](expected, fitted=train)
    APPLY[name](test, fitted=anndata.read_h5ad(tmp_path / "train.h5ad")[:0])
    np.testing.assert_array_equal(test.X, expected.X)


def test_no_cells_are_no_problem(name):
    train, test = make_adata(0), make_adata(1)[:0].copy()
    CALLS[name](train)
    APPLY[name](test, fitted=train)
    assert test.shape == (0, 5)


def test_a_modality_to_a_modality(name):
    train, test = (mudata.MuData({"ephys": make_adata(seed)}) for seed in (0, 1))
    expected = make_adata(1)
    CALLS[name](train, modality="ephys")
    APPLY[name](test, modality="ephys", fitted=train["ephys"])
    APPLY[name](expected, fitted=train["ephys"])
    np.testing.assert_array_equal(test["ephys"].X, expected.X)
    with pytest.raises(TypeError, match=r"not a MuData.*mdata\['ephys'\]"):
        APPLY[name](make_adata(1), fitted=train)


def test_features_without_parameters_are_named(name):
    train, test = make_adata(0), make_adata(1)
    CALLS[name](train)
    with pytest.raises(ValueError, match=r"2 of 5 features: 'x1', 'x3'.*adata\[:, fitted.var_names\]"):
        APPLY[name](test, fitted=train[:, ["x0", "x2", "x4"]])
    pd.testing.assert_frame_equal(test.var, make_adata(1).var)


def test_what_was_never_fitted_is_refused(name):
    with pytest.raises(ValueError, match=f"fitted has no .var.'{KEYS[name][0]}'.*key_added"):
        APPLY[name](make_adata(1), fitted=make_adata(0))
    train = make_adata(0)
    CALLS[name](train)
    with pytest.raises(ValueError, match="fitted has no .var.'other.*key_added"):
        APPLY[name](make_adata(1), fitted=train, key_added="other")


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_ambiguous_parameters_are_refused(name):
    train = make_adata(0)
    CALLS[name](train)
    train.var_names = ["x0", "x1", "x1", "x3", "x4"]
    with pytest.raises(ValueError, match="fitted has duplicate feature names: 'x1'"):
        APPLY[name](make_adata(1), fitted=train)


def test_either_fit_or_apply(name):
    train = make_adata(0)
    CALLS[name](train)
    with pytest.raises(ValueError, match="nothing is fitted, and cells would have no effect"):
        APPLY[name](make_adata(1), fitted=train, cells=[0, 1])
    with pytest.raises(ValueError, match="nothing is fitted, and (blocks|mask_var) would have no effect"):
        CALLS[name](make_adata(1), fitted=train)


def test_nothing_is_scaled_twice(name):
    adata = make_adata()
    CALLS[name](adata)
    once = adata.X.copy()
    with pytest.raises(ValueError, match=f"already has .var.'{KEYS[name][0]}'.*Start from unscaled values"):
        CALLS[name](adata)
    np.testing.assert_array_equal(adata.X, once)
    with pytest.raises(ValueError, match="already has"):
        APPLY[name](adata, fitted=adata)
    CALLS[name](adata, key_added="again")
    assert any(key.startswith("again") for key in adata.var)
