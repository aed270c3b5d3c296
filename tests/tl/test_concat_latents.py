"""Latents of several data sets in one table."""

from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest

from conftest import make_mdata
from scvi_cae import CoupledAE, Ensemble, tl


@pytest.fixture
def query(trained):
    with pytest.warns(UserWarning, match="not distributed as the training cells"):
        query = CoupledAE.prepare_query_mudata(make_mdata(60), trained)
    query.obs["kind"] = "c"
    return query


def test_joint_latents_of_reference_and_query(trained, trained_mdata, query):
    """Cells of both have the same names, and other values."""
    latents = tl.concat_latents(trained, {"reference": trained_mdata, "query": query})
    assert latents.X.dtype == np.float32
    assert latents.obs_names.is_unique
    for name, mdata in {"reference": trained_mdata, "query": query}.items():
        rows = latents[latents.obs["dataset"] == name]
        np.testing.assert_array_equal(rows.X, trained.get_latent_representation(mdata))
        assert rows.obs["cell"].tolist() == mdata.obs_names.tolist()
        assert rows.obs_names.tolist() == [f"{name}:{cell}" for cell in mdata.obs_names]
        assert (rows.obs["set"].to_numpy() == trained.set_membership(mdata).to_numpy()).all()
        assert (rows.obs["kind"].astype(str).to_numpy() == mdata.obs["kind"].astype(str).to_numpy()).all()
    assert (latents.obs.loc[latents.obs["dataset"] == "query", "set"] == "test").all()
    assert (latents.obs["modality"] == "joint").all()


def test_latents_of_each_modality(trained, trained_mdata, query):
    alone = mudata.MuData({"ephys": query["ephys"].copy()}, uns=query.uns)
    data = {"reference": trained_mdata, "query": alone}
    latents = tl.concat_latents(trained, data, modalities=["rna", "ephys"])
    counts = latents.obs.groupby(["dataset", "modality"], observed=True).size().to_dict()
    assert counts == {
        ("reference", "rna"): trained_mdata["rna"].n_obs,
        ("reference", "ephys"): trained_mdata["ephys"].n_obs,
        ("query", "ephys"): query["ephys"].n_obs,
    }
    cell = query["ephys"].obs_names[0]
    expected = trained.get_latent_representation(alone, "ephys")[alone.obs_names.get_loc(cell)]
    np.testing.assert_array_equal(latents[f"query:{cell}:ephys"].X[0], expected)
    assert np.isfinite(latents.X).all()
    assert "kind" not in latents.obs  # the query lacks it


def test_latents_of_an_ensemble_are_those_of_its_models_side_by_side(trained, trained_mdata):
    ensemble = Ensemble.from_models([trained, trained])
    latents = tl.concat_latents(ensemble, {"reference": trained_mdata})
    np.testing.assert_array_equal(latents.X, ensemble.get_latent_representation(trained_mdata))


def test_columns_that_the_result_has_itself_are_left_out_with_a_word(trained, query):
    query.obs["dataset"] = "mine"
    with pytest.warns(UserWarning, match="Columns 'dataset' of the data are left out"):
        latents = tl.concat_latents(trained, {"query": query})
    assert (latents.obs["dataset"] == "query").all()


def test_columns_of_different_types_are_written(trained, trained_mdata, query, tmp_path):
    query.obs["depth"] = np.nan
    other = trained_mdata.copy()
    other.obs["depth"] = np.arange(other.n_obs)
    query.obs["kind"] = None
    latents = tl.concat_latents(trained, {"reference": other, "query": query})
    assert pd.api.types.is_float_dtype(latents.obs["depth"])
    latents.write_h5ad(tmp_path / "latents.h5ad")


@pytest.mark.parametrize(
    ("data", "modalities", "message"),
    [
        ({}, None, "Give at least one data set"),
        ({"a": None}, ["morph"], r"\['morph'\] must be 'joint' or modalities of the model: 'rna', 'ephys'"),
    ],
)
def test_wrong_requests(trained, data, modalities, message):
    with pytest.raises(ValueError, match=message):
        tl.concat_latents(trained, data, modalities)


def test_a_modality_that_no_data_set_has(trained, query):
    alone = mudata.MuData({"rna": query["rna"].copy()})
    with pytest.raises(ValueError, match="No data set has the modality 'ephys'"):
        tl.concat_latents(trained, {"query": alone}, ["rna", "ephys"])
