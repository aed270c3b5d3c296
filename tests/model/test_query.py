"""Other data are made ready for a trained model, and predictions are those of the same values given directly."""

from __future__ import annotations

import logging

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from conftest import fit, make_mdata, make_modality
from scvi_cae import CoupledAE

prepare = CoupledAE.prepare_query_mudata


def part(mdata: mudata.MuData, n: int = 20, modality: str = "rna") -> anndata.AnnData:
    return mdata[modality][:n].copy()


def latent(model, adata: anndata.AnnData, modality: str = "rna") -> np.ndarray:
    return model.get_latent_representation(mudata.MuData({modality: adata}), modality=modality)


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 5), st.sampled_from([np.asarray, sparse.csr_matrix]))
def test_order_and_unknown_features_change_nothing(trained, trained_mdata, random, n_unknown, kind):
    rna = part(trained_mdata)
    expected = trained.predict("rna", "ephys", mudata.MuData({"rna": rna}))
    unknown = make_modality(np.full((20, n_unknown), 7.0), rna.obs_names.to_numpy(), "unknown_")
    mixed = anndata.concat([rna, unknown], axis=1)
    mixed = mixed[:, random.sample(range(mixed.n_vars), mixed.n_vars)].copy()
    mixed.X = kind(mixed.X)
    query = prepare(mudata.MuData({"rna": mixed}), trained)
    pd.testing.assert_frame_equal(trained.predict("rna", "ephys", query), expected, atol=1e-5)
    report = query.uns["scvi_cae_query"]["rna"]
    assert report["n_dropped"] == n_unknown
    assert sorted(report["dropped"]) == sorted(unknown.var_names)


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(0, 29), min_size=1, max_size=20), st.sampled_from([np.asarray, sparse.csr_matrix]))
def test_features_that_the_data_lack_are_missing_values(trained, trained_mdata, lacking, kind):
    rna = part(trained_mdata)
    missing = rna.copy()
    missing.X[:, sorted(lacking)] = np.nan
    expected = trained.predict("rna", "ephys", mudata.MuData({"rna": missing}))
    fewer = rna[:, [i for i in range(30) if i not in lacking]].copy()
    fewer.X = kind(fewer.X)
    query = prepare(mudata.MuData({"rna": fewer}), trained)
    prediction = trained.predict("rna", "ephys", query)
    assert np.isfinite(prediction).all(axis=None)
    pd.testing.assert_frame_equal(prediction, expected, atol=1e-5)
    assert query.uns["scvi_cae_query"]["rna"]["n_missing"] == len(lacking)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(8)))
def test_renamed_and_back(trained, trained_mdata, order):
    """Under other names, in another order and in other units."""
    ephys = part(trained_mdata, 50, "ephys")
    expected = latent(trained, ephys, "ephys")
    other = ephys[:, list(order)].copy()
    table = pd.DataFrame({"theirs": [f"E{i}" for i in order], "ours": other.var_names, "factor": 1000.0})
    other.var_names = table["theirs"].tolist()
    names = dict(zip(table["theirs"], table["ours"], strict=True))
    for rename in (names, names.get, table.assign(factor=1)):
        query = prepare(mudata.MuData({"ephys": other}), trained, {"ephys": rename})
        np.testing.assert_allclose(trained.get_latent_representation(query), expected, atol=1e-5)
    other.X = other.X / 1000
    query = prepare(mudata.MuData({"ephys": other}), trained, {"ephys": table})
    np.testing.assert_allclose(trained.get_latent_representation(query), expected, atol=1e-4)
    assert query.uns["scvi_cae_query"]["ephys"]["n_renamed"] == 8


def test_data_without_features_of_the_model_are_refused(trained, trained_mdata):
    rna = part(trained_mdata)
    rna.var_names = rna.var_names.str.upper()
    with pytest.raises(ValueError, match=r"'rna': the data have 0 of the 30 features.*rename=\{'rna'"):
        prepare(mudata.MuData({"rna": rna}), trained)
    assert prepare(mudata.MuData({"rna": rna}), trained, {"rna": str.lower})["rna"].n_vars == 30
    few = mudata.MuData({"rna": part(trained_mdata)[:, :5].copy()})
    with pytest.raises(ValueError, match="have 5 of the 30 features"):
        prepare(few, trained)
    assert np.isfinite(trained.predict("rna", "ephys", prepare(few, trained, min_features=0.1))).all(
        axis=None
    )


def test_the_query_is_new_and_the_data_are_not_changed(trained, trained_mdata):
    mdata = mudata.MuData({name: part(trained_mdata, 15, name) for name in ("rna", "ephys")})
    before = mdata.copy()
    query = prepare(mdata[:10], trained)
    query["rna"].X[:] = 0
    assert not mdata.uns
    for name in mdata.mod:
        pd.testing.assert_frame_equal(mdata[name].to_df(), before[name].to_df())


def test_a_query_trains_and_is_written_like_any_data(trained, trained_mdata, tmp_path):
    mdata = mudata.MuData({name: part(trained_mdata, 60, name) for name in ("ephys", "rna")})
    mdata = mudata.MuData({"ephys": mdata["ephys"], "rna": mdata["rna"][:, 4:].copy()})
    query = prepare(mdata, trained)
    query.write(tmp_path / "query.h5mu")
    again = mudata.read_h5mu(tmp_path / "query.h5mu")
    report, expected = again.uns["scvi_cae_query"], query.uns["scvi_cae_query"]
    assert {
        name: {key: np.asarray(x).tolist() for key, x in row.items()} for name, row in report.items()
    } == {name: {key: np.asarray(x).tolist() for key, x in row.items()} for name, row in expected.items()}
    assert report["rna"]["missing"].tolist() == ["rna_0", "rna_1", "rna_2", "rna_3"]
    np.testing.assert_allclose(
        trained.get_latent_representation(again), trained.get_latent_representation(query), atol=1e-6
    )
    trained.write_latent(query)
    assert query.obsm["X_cae"].shape == (query.n_obs, 3)


def test_a_saved_model(trained, trained_mdata, tmp_path):
    query = mudata.MuData({"rna": part(trained_mdata)[:, ::-1].copy()})
    trained.save(tmp_path / "model")
    for path in (tmp_path / "model", str(tmp_path / "model")):
        pd.testing.assert_frame_equal(
            prepare(query, path)["rna"].to_df(), prepare(query, trained)["rna"].to_df()
        )
    with pytest.raises(ValueError, match="No saved model at"):
        prepare(query, tmp_path / "other")


def test_values_unlike_those_of_the_training_warn(trained, trained_mdata, tmp_path):
    """Also those of a model that was saved."""
    trained.save(tmp_path / "model")
    ephys = part(trained_mdata, 40, "ephys")
    query = mudata.MuData({"rna": part(trained_mdata, 40), "ephys": ephys})
    assert not len(prepare(query, trained).uns["scvi_cae_query"]["ephys"]["unlike_training"])
    ephys.X[:, 2] *= 1000
    for model in (trained, tmp_path / "model"):
        with pytest.warns(
            UserWarning,
            match="'ephys': 1 feature is unlike.*'ephys_2' seems 1000 times too large: multiply by 0.001",
        ):
            out = prepare(query, model)
        assert out.uns["scvi_cae_query"]["ephys"]["unlike_training"].tolist() == ["ephys_2"]


def test_the_layer_that_the_model_reads(tmp_path):
    mdata = make_mdata(80)
    mdata["ephys"].layers["scaled"] = mdata["ephys"].X * 100
    CoupledAE.setup_mudata(mdata, layers={"ephys": "scaled"})
    model = fit(mdata)
    query = mudata.MuData({"ephys": part(mdata, 30, "ephys")[:, ::-1].copy()})
    out = prepare(query, model)
    np.testing.assert_allclose(
        model.get_latent_representation(out),
        latent(model, part(mdata, 30, "ephys"), "ephys"),
        atol=1e-5,
    )
    del query["ephys"].layers["scaled"]
    with pytest.raises(ValueError, match="'ephys' has no layer 'scaled'"):
        prepare(query, model)


def test_other_modalities_and_annotations(trained, trained_mdata):
    mdata = mudata.MuData(
        {"atac": make_modality(np.ones((9, 2)), np.arange(9), "peak_"), "rna": part(trained_mdata)}
    )
    mdata.obs["kind"] = "a"
    mdata["rna"].obs["batch"] = "b"
    query = prepare(mdata, trained)
    assert list(query.mod) == ["rna"]
    assert (query.obs["kind"] == "a").all()
    assert (query["rna"].obs["batch"] == "b").all()


def test_report_is_logged(trained, trained_mdata, caplog):
    with caplog.at_level(logging.INFO, logger="scvi_cae"):
        prepare(mudata.MuData({"rna": part(trained_mdata)[:, 3:].copy()}), trained)
    (message,) = [record.getMessage() for record in caplog.records if record.name == "scvi_cae"]
    assert message.startswith(
        "Modality 'rna': 20 cells; 27 of 30 features found, 0 of them renamed, 3 missing; 0 "
    )
