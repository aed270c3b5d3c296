"""What is dropped, why, and what is left of the object around it."""

from __future__ import annotations

import logging

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_mdata, make_modality
from scvi_cae.pp import drop_features

NAMES = ["tau", "latency", "tau_ramp", "mean_isi", "fi_slope", "Ramp"]


def make_ephys(n_cells: int = 20) -> anndata.AnnData:
    """Feature ``latency`` is missing in exactly 10 % of the cells, ``tau`` in 5 %."""
    values = np.random.default_rng(0).normal(size=(n_cells, len(NAMES)))
    values[:2, 1] = np.nan
    values[:1, 0] = np.nan
    ephys = make_modality(values, np.array([f"c{i}" for i in range(n_cells)]), "x")
    ephys.var_names = NAMES
    ephys.var["unit"] = ["ms", "ms", "ms", "s", "", ""]
    ephys.varm["loadings"] = np.arange(12.0).reshape(6, 2)
    ephys.layers["raw"] = values
    return ephys


def test_published_rules():
    ephys = make_ephys()
    drop_features(ephys, patterns=["ramp", "mean", "fi_"])
    assert ephys.var_names.tolist() == ["tau", "Ramp"]
    record = ephys.uns["dropped_features"]
    assert record["reason"].to_dict() == {
        "latency": "10.0 % missing",
        "tau_ramp": "name contains 'ramp'",
        "mean_isi": "name contains 'mean'",
        "fi_slope": "name contains 'fi_'",
    }
    assert record["fraction_missing"].tolist() == [0.1, 0, 0, 0]


def test_everything_of_the_others_stays():
    ephys, before = make_ephys(), make_ephys()
    drop_features(ephys, patterns=["mean"])
    kept = ["tau", "tau_ramp", "fi_slope", "Ramp"]
    np.testing.assert_array_equal(ephys.X, before[:, kept].X)
    np.testing.assert_array_equal(ephys.layers["raw"], before[:, kept].layers["raw"])
    np.testing.assert_array_equal(ephys.varm["loadings"], before[:, kept].varm["loadings"])
    pd.testing.assert_frame_equal(ephys.var, before.var.loc[kept])
    assert not ephys.is_view


@given(st.integers(0, 10**6), st.integers(1, 30), st.floats(0.01, 1))
@settings(deadline=None, max_examples=60)
def test_from_max_missing_on_features_are_dropped(seed, n_cells, max_missing):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_cells, 5))
    values[rng.random(values.shape) < rng.random(5)] = np.nan
    values[:, 0] = 1
    adata = make_modality(values, np.arange(n_cells), "x")
    drop_features(adata, max_missing=max_missing)
    expected = [f"x{j}" for j in range(5) if np.isnan(values[:, j]).sum() / n_cells < max_missing]
    assert adata.var_names.tolist() == expected


def test_only_the_given_cells_count():
    ephys = make_ephys()
    drop_features(ephys, cells=np.arange(20) >= 2)
    assert ephys.var_names.tolist() == NAMES
    drop_features(ephys, cells=[0, 1, 2])
    assert ephys.var_names.tolist() == NAMES[2:]


def test_a_further_call_adds_to_the_record():
    ephys, at_once = make_ephys(), make_ephys()
    drop_features(at_once, patterns=["mean"])
    drop_features(ephys, max_missing=1)  # drops none
    assert ephys.uns["dropped_features"].empty
    drop_features(ephys)
    drop_features(ephys, patterns=["mean"])
    pd.testing.assert_frame_equal(ephys.uns["dropped_features"], at_once.uns["dropped_features"])


def test_both_reasons_are_given():
    ephys = make_ephys()
    drop_features(ephys, patterns=["at", "lat"])
    assert ephys.uns["dropped_features"].loc["latency", "reason"] == (
        "10.0 % missing, name contains 'at', name contains 'lat'"
    )


def test_what_is_dropped_is_logged(caplog):
    with caplog.at_level(logging.INFO, logger="scvi_cae.pp"):
        drop_features(make_ephys(), patterns=["fi_"])
    assert "dropped 2 of 6 features. latency: 10.0 % missing; fi_slope: name contains 'fi_'" in caplog.text


def test_the_record_survives_a_file(tmp_path):
    ephys = make_ephys()
    drop_features(ephys)
    ephys.write_h5ad(tmp_path / "ephys.h5ad")
    read = anndata.read_h5ad(tmp_path / "ephys.h5ad")
    drop_features(read, patterns=["mean"])
    assert read.uns["dropped_features"].index.tolist() == ["latency", "mean_isi"]
    read.write_h5ad(tmp_path / "ephys.h5ad")

    nothing = make_ephys()
    drop_features(nothing, max_missing=1)
    nothing.write_h5ad(tmp_path / "nothing.h5ad")
    assert anndata.read_h5ad(tmp_path / "nothing.h5ad").uns["dropped_features"].empty


def test_a_mudata_stays_whole():
    mdata = make_mdata(n_cells=60, n_features={"rna": 6, "ephys": 5})
    mdata.var["length"] = np.arange(11)
    mdata.varm["loadings"] = np.arange(22.0).reshape(11, 2)
    mdata.mod["ephys"].X[:30, 1] = np.nan
    mdata.mod["ephys"].var["of_ephys"] = 1
    obs, kept = mdata.obs.copy(), [i for i in range(11) if i not in (7, 9)]
    drop_features(mdata, modality="ephys", patterns=["_3"])
    assert mdata["ephys"].var_names.tolist() == ["ephys_0", "ephys_2", "ephys_4"]
    assert mdata.var_names.tolist() == [*mdata["rna"].var_names, *mdata["ephys"].var_names]
    assert mdata.shape == (len(obs), 9)
    assert mdata.var["length"].tolist() == kept
    assert "of_ephys" not in mdata.var
    np.testing.assert_array_equal(mdata.varm["loadings"], np.arange(22.0).reshape(11, 2)[kept])
    pd.testing.assert_frame_equal(mdata.obs, obs)
    assert mdata[:, ["rna_1", "ephys_4"]].shape[1] == 2
    assert mdata.copy().shape == mdata.shape


@pytest.mark.filterwarnings(
    "ignore:.*var_names are not unique", "ignore:Cannot join columns with the same name"
)
def test_a_mudata_whose_modalities_share_names():
    mdata = mudata.MuData({"one": make_ephys(), "two": make_ephys()})
    drop_features(mdata, modality="two", patterns=["mean"])
    assert mdata["one"].var_names.tolist() == NAMES
    assert mdata.var_names.tolist() == [*NAMES, *mdata["two"].var_names]


def test_a_mudata_survives_a_file(tmp_path):
    mdata = make_mdata(n_cells=60, n_features={"rna": 6, "ephys": 5})
    drop_features(mdata, modality="ephys", patterns=["_3"])
    mdata.write_h5mu(tmp_path / "m.h5mu")
    read = mudata.read_h5mu(tmp_path / "m.h5mu")
    assert read.var_names.tolist() == mdata.var_names.tolist()
    assert read["ephys"].uns["dropped_features"].index.tolist() == ["ephys_3"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"max_missing": 0}, "max_missing=0 must be above 0"),
        ({"max_missing": 10}, "max_missing=10 must be above 0 and at most 1"),
        ({"patterns": "ramp"}, "must be a list of non-empty strings"),
        ({"patterns": [""]}, "non-empty"),
        ({"patterns": [3]}, "must be a list of non-empty strings"),
        ({"patterns": ["a", "i"]}, "none of the 6 features would remain"),
    ],
)
def test_bad_arguments_are_named(arguments, match):
    ephys = make_ephys()
    with pytest.raises(ValueError, match=match):
        drop_features(ephys, **arguments)
    assert ephys.n_vars == 6
    assert not ephys.uns


def test_another_record_is_not_overwritten():
    ephys = make_ephys()
    ephys.uns["dropped_features"] = ["by hand"]
    with pytest.raises(ValueError, match="not a record of this function.*Rename it"):
        drop_features(ephys)
    assert ephys.n_vars == 6
