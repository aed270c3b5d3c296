"""Features that do not vary among the training cells, and labels without training cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import QUIET, fit, make_mdata
from scvi_cae import CoupledAE, fit_many
from scvi_cae.evaluate import score


def constant_in(cells, likelihood=None):
    """Data in which a feature of each modality is constant among some cells."""
    mdata = make_mdata(150)
    for name, adata in mdata.mod.items():
        x = adata.X
        if name == "rna" and likelihood == "negative_binomial":
            x = np.random.default_rng(0).poisson(5.0, x.shape).astype(np.float32)
        x[np.isin(adata.obs_names, mdata.obs_names[cells]), 2] = (
            0.0 if likelihood == "negative_binomial" else 3.25
        )
        adata.X = x
    CoupledAE.setup_mudata(mdata, likelihoods={"rna": likelihood} if likelihood else None)
    return mdata


@pytest.mark.parametrize("likelihood", [None, "gaussian", "negative_binomial"])
def test_it_is_predicted_as_its_constant_and_the_others_do_not_depend_on_it(likelihood):
    cells = np.arange(100)
    mdata = constant_in(cells, likelihood)
    model = fit(mdata, max_epochs=5, external_indexing=[cells[:80], cells[80:]])
    constant = 0.0 if likelihood == "negative_binomial" else 3.25
    for source, target in (("rna", "ephys"), ("ephys", "rna")):
        found = model.predict(source, target).dropna(how="all").to_numpy()
        assert (found[:, 2] == constant).all()
        assert (np.ptp(np.delete(found, 2, axis=1), axis=0) > 0).all()
    other = mdata.copy()
    for adata in other.mod.values():
        adata.X[:, 2] += 40
    np.testing.assert_array_equal(
        model.get_latent_representation(other, "ephys"), model.get_latent_representation(modality="ephys")
    )


def test_losses_are_those_without_it():
    cells = np.arange(100)
    mdata = constant_in(cells)
    model = fit(mdata, max_epochs=3, external_indexing=[cells[:80], cells[80:]])
    best = model.history["reconstruction_loss_validation"].iloc[:, 0].argmin()
    names = mdata.obs_names[cells[80:]]
    truth = mdata["ephys"].to_df().reindex(names)
    scale = model.module.arm("ephys").likelihood.standardiser.scale.numpy()
    errors = (((model.predict("ephys", "ephys").loc[names] - truth) / scale) ** 2).drop(columns="ephys_2")
    logged = model.history["ephys_from_ephys_validation"].iloc[best, 0]
    assert logged == pytest.approx(np.nanmean(errors.to_numpy()), rel=1e-4)


def test_models_trained_together_agree_with_one_alone():
    cells = np.arange(100)
    mdata = constant_in(cells)
    split = [cells[:80], cells[80:], np.arange(100, mdata.n_obs)]
    together = fit_many(mdata, [split], seeds=[0, 1], max_epochs=3)
    for found in together:
        assert (found.model.predict("rna", "ephys")["ephys_2"].dropna() == 3.25).all()


def test_it_does_not_spoil_a_score():
    cells = np.arange(100)
    mdata = constant_in(cells)
    model = fit(mdata, max_epochs=60, external_indexing=[cells, None, np.arange(100, mdata.n_obs)])
    with pytest.warns(UserWarning, match="No method is scored on features.*'ephys_2' of 'ephys'"):
        table = score(model)
    table = table.query("metric == 'r2' and source == 'rna' and target == 'ephys'").set_index("method")
    assert (table["value"] > 0.1).all()


def test_a_class_without_training_cells_is_a_missing_label():
    mdata = make_mdata(150)
    mdata.obs["type"] = np.where(np.arange(mdata.n_obs) % 2, "a", "b")
    mdata.obs.loc[mdata.obs_names[120:], "type"] = "c"
    CoupledAE.setup_mudata(mdata, labels_key="type")
    model = CoupledAE(mdata, n_latent=3)
    with pytest.warns(UserWarning, match="Labels 'type': 1 classes have no training cell: 'c'"):
        model.train(max_epochs=3, external_indexing=[np.arange(110), np.arange(110, 120)], **QUIET)
    assert (model.predict("rna", "type")["c"].dropna() == 0).all()
    both = model.predict(["rna", "type"], "ephys").loc[mdata.obs_names[120:]]
    pd.testing.assert_frame_equal(both, model.predict("rna", "ephys").loc[mdata.obs_names[120:]])


@pytest.mark.parametrize("text", ["nan", "None", "<NA>"])
def test_the_text_of_a_missing_label_is_one(text):
    mdata = make_mdata(100)
    number = np.arange(mdata.n_obs)
    mdata.obs["type"] = np.where(number % 5 == 0, text, np.where(number % 2, "a", "b"))
    with pytest.warns(
        UserWarning, match=f"20 cells have the text '{text}', which is taken for a missing value"
    ):
        CoupledAE.setup_mudata(mdata, labels_key="type")
    assert CoupledAE(mdata, n_latent=3).get_var_names()["type"] == ["a", "b"]


def test_columns_that_hold_no_categories():
    mdata = make_mdata(100)
    mdata.obs["age"] = np.linspace(20, 80, mdata.n_obs) + 0.5
    with pytest.raises(ValueError, match="'age' has 97 different values in 97 cells"):
        CoupledAE.setup_mudata(mdata, labels_key="age")
    mdata.obs["type"] = "a"
    mdata.obs = pd.concat([mdata.obs, mdata.obs[["type"]]], axis=1)
    with pytest.raises(ValueError, match="mdata.obs has 2 columns named 'type'"):
        CoupledAE.setup_mudata(mdata, labels_key="type")


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_a_feature_far_from_zero_keeps_its_digits(kind):
    """Features are centred before they are cast to single precision."""
    models = []
    for offset in (0.0, 2.0**30):
        mdata = make_mdata(120)
        x = mdata["ephys"].X.astype(np.float64)
        x[:, 1] += offset
        mdata["ephys"].X = kind(x)
        CoupledAE.setup_mudata(mdata)
        models.append(fit(mdata, max_epochs=3))
    plain, far = (model.predict("rna", "ephys").dropna() for model in models)
    far["ephys_1"] -= 2.0**30
    np.testing.assert_allclose(far, plain, rtol=1e-3, atol=1e-3)
    assert models[1].feature_moments("ephys")[0][1] == pytest.approx(2.0**30, rel=1e-6)


def test_outliers_of_a_few_cells_do_not_spoil_the_others():
    scores = []
    for size in (0, 100):
        mdata = make_mdata(300, seed=3)
        truth = mdata["ephys"].to_df()
        x = mdata["ephys"].X
        x[10:15, 3] += size * x[:, 3].std()
        with pytest.warns(UserWarning, match="5 values") if size else np.errstate():
            CoupledAE.setup_mudata(mdata)
        model = fit(mdata, max_epochs=60, external_indexing=[np.arange(200), None])
        test = mdata.obs_names[200:].intersection(truth.index).difference(truth.index[10:15])
        predicted = model.predict("rna", "ephys").loc[test].dropna()
        residuals = (truth.loc[predicted.index] - predicted) / truth.std()
        centred = (truth.loc[predicted.index] - truth.mean()) / truth.std()
        scores.append(1 - (residuals**2).to_numpy().sum() / (centred**2).to_numpy().sum())
    assert scores[1] > scores[0] - 0.03
