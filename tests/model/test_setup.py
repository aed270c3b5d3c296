from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
import scvi
import torch

from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE, fit_many
from scvi_cae.model._encoding import encode


def train(mdata, max_epochs=3, *, n_latent=3, **kwargs):
    scvi.settings.seed = 0
    model = CoupledAE(mdata, n_latent=n_latent, **kwargs)
    model.train(max_epochs=max_epochs, **QUIET)
    return model


def with_counts(seed=0):
    mdata = make_mdata(seed=seed)
    counts = np.random.default_rng(seed).poisson(np.exp(np.clip(mdata["rna"].X / 4, -2, 4)))
    mdata["rna"].layers["counts"] = counts.astype(np.float32)
    return mdata


# Labels


def test_labels_are_one_more_modality():
    mdata = make_mdata(missing={"ephys": 0.1})
    mdata.obs["kind"] = mdata.obs["kind"].astype(object)
    mdata.obs.loc[mdata.obs_names[::4], "kind"] = None
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    model = train(mdata, 40)
    assert model.modalities == ["rna", "ephys"]
    assert model.labels == ["kind"]
    table = model.predict(source="rna", target="kind")
    assert table.columns.tolist() == ["a", "b"]
    has = mdata.obs_names.isin(mdata["rna"].obs_names)
    np.testing.assert_allclose(table[has].sum(axis=1), 1, rtol=1e-5)
    assert table[~has].isna().all(axis=None)
    # from a label, too; unlabelled cells lack the modality
    ephys = model.predict(source="kind", target="ephys")
    assert (ephys.isna().all(axis=1) == mdata.obs["kind"].isna()).all()
    of_a = ephys[mdata.obs["kind"] == "a"]
    # One prediction, up to rounding, which depends on a cell's place in the batch (classes differ by more than 0.5).
    np.testing.assert_allclose(of_a, of_a.iloc[:1].to_numpy().repeat(len(of_a), axis=0), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_labels_can_be_learnt_from_half_of_the_cells():
    rng = np.random.default_rng(0)
    mdata = make_mdata(400)
    truth = mdata["rna"].to_df().reindex(mdata.obs_names).mean(axis=1)
    kind = pd.Series(np.where(truth > truth.median(), "high", "low"), index=mdata.obs_names, dtype=object)
    known = rng.random(mdata.n_obs) < 0.5
    mdata.obs["kind"] = kind.where(known & truth.notna())
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    model = train(mdata, 80, n_latent=4)  # as many dimensions as the data have
    found = model.predict(source="rna", target="kind")[truth.notna() & ~known].idxmax(axis=1)
    assert (found == kind[found.index]).mean() > 0.85


def test_labels_have_no_part_in_the_joint_latent_and_are_not_written():
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    model = train(mdata)
    joint = model.get_latent_representation()
    alone = [model.get_latent_representation(modality=name) for name in ("rna", "ephys")]
    np.testing.assert_allclose(joint, np.nanmean(alone, axis=0), rtol=1e-5)
    assert model.get_latent_representation(modality="kind").shape == joint.shape
    model.write_latent()
    assert set(mdata.obsm) >= {"X_cae", "X_cae_rna", "X_cae_ephys"}
    assert "X_cae_kind" not in mdata.obsm


def test_hierarchical_labels_are_two_modalities(tmp_path):
    mdata = make_mdata()
    mdata.obs["type"] = mdata.obs["kind"].astype(str) + np.where(np.arange(mdata.n_obs) % 2, "1", "2")
    CoupledAE.setup_mudata(mdata, labels_key=["kind", "type"])
    model = train(mdata)
    assert model.labels == ["kind", "type"]
    model.save(tmp_path / "model")
    loaded = CoupledAE.load(tmp_path / "model", adata=False)
    query = mudata.MuData({"ephys": mdata["ephys"].copy()})
    pd.testing.assert_frame_equal(
        loaded.predict("ephys", "type", query), model.predict("ephys", "type", query)
    )


def test_a_query_need_not_have_labels_and_may_have_others():
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    model = train(mdata)
    query = mudata.MuData({name: mdata[name].copy() for name in ("rna", "ephys")})
    assert model.predict("rna", "kind", query).shape == (query.n_obs, 2)
    with pytest.raises(ValueError, match="no modality 'kind'"):
        model.predict("kind", "ephys", query)
    query.obs["kind"] = "c"
    assert model.predict("kind", "ephys", query).isna().all(axis=None)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [("one", "same", "has 1 class"), ("rna", None, "has the name of a modality")],
)
def test_labels_that_cannot_be(column, values, message):
    mdata = make_mdata()
    mdata.obs[column] = values if values else mdata.obs["kind"].to_numpy()
    with pytest.raises(ValueError, match=message):
        CoupledAE.setup_mudata(mdata, labels_key=column)


def test_one_matrix_and_labels_are_two_modalities():
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata, modalities="rna", labels_key="kind")
    assert train(mdata).predict("rna", "kind").shape == (mdata.n_obs, 2)


# Likelihoods


def test_counts_are_modelled_as_counts(tmp_path):
    mdata = with_counts()
    CoupledAE.setup_mudata(mdata, layers={"rna": "counts"}, likelihoods={"rna": "negative_binomial"})
    model = train(mdata, 30)
    predicted = model.predict("ephys", "rna").dropna()
    assert (predicted >= 0).all(axis=None)
    totals = (
        mdata["rna"]
        .layers["counts"][mdata["rna"].obs_names.isin(mdata.obs_names[model.train_indices])]
        .sum(axis=1)
    )
    np.testing.assert_allclose(predicted.sum(axis=1), totals.mean(), rtol=1e-3)
    model.save(tmp_path / "model")
    loaded = CoupledAE.load(tmp_path / "model", adata=mdata.copy())
    pd.testing.assert_frame_equal(loaded.predict("ephys", "rna").dropna(), predicted)


def test_what_are_not_counts_is_refused():
    mdata = make_mdata()
    with pytest.raises(ValueError, match="'rna'.*'negative_binomial' is for raw counts, but X has"):
        CoupledAE.setup_mudata(mdata, likelihoods={"rna": "negative_binomial"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"likelihoods": {"rna": "poisson"}}, r"likelihoods\['rna'\]='poisson' must be one of"),
        ({"likelihoods": {"rna": "categorical"}}, "labels_key"),
        ({"likelihoods": {"morph": "gaussian"}}, "likelihoods names 'morph'"),
        ({"batch_key": {"morph": "kind"}}, "batch_key names 'morph'"),
        ({"gene_length_key": "length"}, "gene_length_key is for modalities with a negative binomial"),
    ],
)
def test_choices_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        CoupledAE.setup_mudata(make_mdata(), **arguments)


def test_lengths_of_genes():
    mdata = with_counts()
    chosen = {
        "layers": {"rna": "counts"},
        "likelihoods": {"rna": "negative_binomial"},
        "gene_length_key": "length",
    }
    with pytest.raises(KeyError, match="No column 'length'"):
        CoupledAE.setup_mudata(mdata, **chosen)
    mdata["rna"].var["length"] = np.arange(mdata["rna"].n_vars)
    with pytest.raises(ValueError, match="they are not for 'rna_0'"):
        CoupledAE.setup_mudata(mdata, **chosen)
    mdata["rna"].var["length"] += 1
    CoupledAE.setup_mudata(mdata, **chosen)
    model = train(mdata)
    log_length = np.log(np.arange(1, 31))
    np.testing.assert_allclose(
        model.module.arm("rna").likelihood.log_length, log_length - log_length.mean(), rtol=1e-4, atol=1e-5
    )


def test_a_likelihood_is_not_a_setting_of_the_arm():
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata)
    with pytest.raises(ValueError, match="setup_mudata.*likelihoods"):
        CoupledAE(mdata, arms={"ephys": {"likelihood": "gaussian"}})


@pytest.mark.parametrize("likelihood", ["gaussian", "negative_binomial"])
def test_fits_together_are_those_one_by_one(likelihood):
    mdata = with_counts()
    layers = {"rna": "counts"} if likelihood == "negative_binomial" else {}
    CoupledAE.setup_mudata(
        mdata, layers=layers, likelihoods={"rna": likelihood}, labels_key="kind", batch_key={"ephys": "kind"}
    )
    split = (np.arange(0, 90), np.arange(90, 110))
    fits = fit_many(mdata, [split], seeds=[0, 1], settings=[{"n_latent": 3}], max_epochs=3)
    scvi.settings.seed = 1
    alone = CoupledAE(mdata, n_latent=3)
    alone.train(max_epochs=3, external_indexing=split, **QUIET)
    for name, x in alone.module.state_dict().items():
        torch.testing.assert_close(fits[1].model.module.state_dict()[name], x, rtol=1e-3, atol=1e-4, msg=name)


# Minibatches


def shifted(n_cells=400, seed=0):
    """Two batches of transcriptomes, the second of which is shifted."""
    mdata = make_mdata(n_cells, seed=seed)
    adata = mdata["rna"]
    adata.obs["lab"] = np.where(np.random.default_rng(seed).random(adata.n_obs) < 0.3, "x", "y")
    adata.X = adata.X + 8 * (adata.obs["lab"] == "x").to_numpy()[:, None].astype(np.float32)
    return mdata


@pytest.mark.slow
def test_what_a_batch_does_is_not_in_the_latent():
    spread = {}
    for batch_key in (None, {"rna": "lab"}):
        mdata = shifted()
        CoupledAE.setup_mudata(mdata, batch_key=batch_key)
        # Encoders that learn to predict the other modality would ignore the batch by themselves.
        model = train(mdata, 60, arms={"ephys": {"cross_gradient": 0.0}}, latent_axes="network")
        z = model.get_latent_representation(modality="rna")
        lab = mdata["rna"].obs["lab"].reindex(mdata.obs_names)
        gap = z[(lab == "x").to_numpy()].mean(0) - z[(lab == "y").to_numpy()].mean(0)
        spread[batch_key is None] = np.linalg.norm(gap)
    assert spread[False] < 0.6 * spread[True]


def test_predictions_are_of_the_batch_asked_for():
    mdata = shifted()
    CoupledAE.setup_mudata(mdata, batch_key={"rna": "lab"})
    model = train(mdata, 50)
    assert model.batches("rna") == ["x", "y"]
    assert model.batches("ephys") == []
    of = {
        batch: model.predict("ephys", "rna", transform_batch=batch).mean(axis=None)
        for batch in ("x", "y", None)
    }
    assert of["x"] - of["y"] == pytest.approx(8, abs=1.5)
    assert of["y"] < of[None] < of["x"]
    with pytest.raises(
        ValueError, match="transform_batch='z' is not a batch of modality 'rna'; its batches are 'x', 'y'"
    ):
        model.predict("ephys", "rna", transform_batch="z")
    with pytest.raises(ValueError, match="it has none"):
        model.predict("rna", "ephys", transform_batch="x")


def test_a_query_of_an_unknown_batch_counts_as_one_of_all():
    mdata = shifted()
    CoupledAE.setup_mudata(mdata, batch_key={"rna": "lab"})
    model = train(mdata)
    query = mudata.MuData({"rna": mdata["rna"].copy()})
    del query["rna"].obs["lab"]
    without = model.get_latent_representation(query, "rna")
    query["rna"].obs["lab"] = "elsewhere"
    with pytest.warns(UserWarning, match="'rna': 1 technical batches are unknown.*'elsewhere'.*'x', 'y'"):
        found = model.get_latent_representation(query, "rna")
    np.testing.assert_array_equal(found, without)
    shares = (
        mdata["rna"].obs["lab"].reindex(mdata.obs_names[model.train_indices]).value_counts(normalize=True)
    )
    np.testing.assert_allclose(model.module.arm("rna").batch_shares, shares[["x", "y"]], rtol=1e-4)


def test_one_batch_key_is_for_all_modalities(tmp_path):
    mdata = shifted()
    mdata.obs["lab"] = mdata["rna"].obs["lab"].reindex(mdata.obs_names)
    CoupledAE.setup_mudata(mdata, batch_key="lab")
    model = train(mdata)
    assert model.batches("ephys") == ["x", "y"]
    model.save(tmp_path / "model")
    loaded = CoupledAE.load(tmp_path / "model", adata=mdata.copy())
    pd.testing.assert_frame_equal(
        loaded.predict("rna", "ephys", transform_batch="x"),
        model.predict("rna", "ephys", transform_batch="x"),
    )


# Several sources


def test_several_sources_predict_from_the_mean_of_their_latents():
    mdata = make_mdata(n_features={"rna": 20, "ephys": 8, "morph": 6}, fraction={"morph": 0.5})
    CoupledAE.setup_mudata(mdata)
    model = train(mdata)
    both = model.predict(source=["rna", "morph"], target="ephys")
    cells = np.flatnonzero(both.notna().all(axis=1))
    with torch.inference_mode():
        latents = [
            model.module.map_latent(encode(model.module, model.align(), name, cells), name, "ephys")
            for name in ("rna", "morph")
        ]
        expected = model.module.arm("ephys").decode(torch.nanmean(torch.stack(latents), dim=0))
    np.testing.assert_allclose(both.iloc[cells], expected, rtol=1e-4, atol=1e-4)
    only = ~mdata.obs_names.isin(mdata["morph"].obs_names) & mdata.obs_names.isin(mdata["rna"].obs_names)
    pd.testing.assert_frame_equal(both[only], model.predict("rna", "ephys")[only])
    for source in ([], ["rna", "rna"]):
        with pytest.raises(ValueError, match="must name one modality, or several that differ"):
            model.predict(source, "ephys")


def test_a_few_labels_are_enough_but_some_must_train():
    mdata = make_mdata()
    kind = pd.Series(None, index=mdata.obs_names, dtype=object)
    kind.iloc[:4] = ["a", "b", "a", "b"]
    mdata.obs["kind"] = kind
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    model = CoupledAE(mdata, n_latent=6)
    cells = np.arange(mdata.n_obs)
    model.train(max_epochs=2, external_indexing=(cells[:90], cells[90:]), **QUIET)
    assert model.predict("rna", "kind").notna().any(axis=None)
    with pytest.raises(ValueError, match="None of the 80 training cells have modality 'kind'"):
        CoupledAE(mdata).train(max_epochs=2, external_indexing=(cells[20:100], cells[:20]), **QUIET)


# Names of classes and batches


def test_each_modality_has_its_own_batches_under_the_same_name():
    mdata = make_mdata()
    for name, batches in (("rna", ["s1", "s2"]), ("ephys", ["r1", "r2"])):
        mdata[name].obs["lane"] = np.resize(batches, mdata[name].n_obs)
    CoupledAE.setup_mudata(mdata, batch_key="lane")
    model = train(mdata)
    assert model.batches("rna") == ["s1", "s2"]
    assert model.batches("ephys") == ["r1", "r2"]
    for name, first in (("rna", "s1"), ("ephys", "r1")):
        own = mdata[name].obs["lane"].reindex(mdata.obs_names) == first
        np.testing.assert_array_equal(model.align()[name].batch_indicators(np.arange(mdata.n_obs))[:, 0], own)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pd.to_datetime(["2020-01-01", "2020-03-04"]), ["2020-01-01 00:00:00", "2020-03-04 00:00:00"]),
        (np.array([0.1, 0.2], dtype=np.float32), ["0.10000000149011612", "0.20000000298023224"]),
        ([1, 3], ["1", "3"]),
        ([True, False], ["False", "True"]),
        (pd.Categorical(["x", "y"]), ["x", "y"]),
    ],
)
@pytest.mark.parametrize("gaps", [False, True])
def test_batches_and_labels_of_any_type_are_found_again(values, names, gaps):
    mdata = make_mdata()
    column = pd.Series(values).iloc[np.arange(mdata.n_obs) % 2].set_axis(mdata.obs_names)
    if gaps:
        column = column.where(np.arange(mdata.n_obs) % 5 > 0)
    mdata.obs["lane"] = column
    mdata.obs["label"] = column
    CoupledAE.setup_mudata(mdata, batch_key="lane", labels_key="label")
    model = train(mdata, 1)
    known = column.notna().to_numpy()
    assert model.batches("rna") == names
    np.testing.assert_array_equal(model.align()["rna"].batch_indicators(np.arange(mdata.n_obs)).sum(1), known)
    np.testing.assert_array_equal(model.align()["label"].present, known)
    assert model.predict("rna", "label").columns.tolist() == names


def test_blank_labels_are_missing():
    mdata = make_mdata()
    mdata.obs["kind"] = mdata.obs["kind"].astype(str)
    mdata.obs.loc[mdata.obs_names[:30], "kind"] = ""
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    assert CoupledAE(mdata, n_latent=2).get_var_names()["kind"] == ["a", "b"]


def test_classes_that_the_model_does_not_know_are_named(tmp_path):
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    train(mdata).save(tmp_path / "model")
    other = make_mdata()
    other.obs["kind"] = other.obs["kind"].astype(str).replace({"b": "B"})
    with pytest.warns(
        UserWarning, match="'kind' has 1 values that the model does not know.*'B'. It knows 'a', 'b'"
    ):
        CoupledAE.load(tmp_path / "model", adata=other)


# Counts with gaps


def test_counts_of_a_cell_with_missing_genes_are_on_the_same_scale():
    rng = np.random.default_rng(0)
    mdata = make_mdata(300)
    rates = np.exp(rng.normal(2, 1.5, size=30))
    counts = rng.poisson(rates, size=mdata["rna"].shape).astype(np.float32)
    top = np.argsort(rates)[-5:]
    gaps = np.arange(len(counts)) % 2 == 0
    counts[np.ix_(gaps, top)] = np.nan
    mdata["rna"].X = counts
    CoupledAE.setup_mudata(mdata, likelihoods={"rna": "negative_binomial"})
    model = train(mdata)
    cells = mdata.obs_names.get_indexer(mdata["rna"].obs_names)
    values = np.delete(model.measured_values("rna", indices=cells), top, axis=1)
    assert values[gaps].mean() == pytest.approx(values[~gaps].mean(), rel=0.05)
    inputs = model.module.arm("rna").likelihood.inputs(
        model.module.arm("rna").observe(torch.from_numpy(counts))
    )
    inputs = np.delete(inputs.numpy(), top, axis=1)
    assert inputs[gaps].mean() == pytest.approx(inputs[~gaps].mean(), abs=0.1)
