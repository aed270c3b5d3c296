"""Ensembles predict cells by what has not seen them, combine networks and regressions, and are never far below either."""

from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
import scvi
import torch

from conftest import make_mdata
from scvi_cae import Ensemble
from scvi_cae.evaluate import RidgeBaseline, pooled_r2
from scvi_cae.model import _companions
from scvi_cae.model._combination import subsets

N_MODELS = 3


def make_data(seed: int = 0) -> mudata.MuData:
    return make_mdata(
        150, {"rna": 30, "ephys": 8, "morph": 6}, fraction={"morph": 0.6}, missing={"ephys": 0.05}, seed=seed
    )


def fitted(mdata: mudata.MuData, split=None, **train) -> Ensemble:
    scvi.settings.seed = 0
    ensemble = Ensemble(mdata, n_models=N_MODELS, n_latent=3)
    ensemble.train(max_epochs=15, external_indexing=split, **train)
    return ensemble


@pytest.fixture(scope="module")
def mdata():
    mdata = make_data()
    mdata.obs["donor"] = [f"d{i % 10}" for i in range(mdata.n_obs)]
    Ensemble.setup_mudata(mdata, labels_key="kind")
    return mdata


@pytest.fixture(scope="module")
def split(mdata):
    order = np.random.default_rng(0).permutation(mdata.n_obs)
    return np.sort(order[30:]), None, np.sort(order[:30])


@pytest.fixture(scope="module")
def ensemble(mdata, split):
    return fitted(mdata, split)


def test_every_cell_is_left_out_of_one_model_with_all_that_it_has(ensemble, mdata, split):
    sets = np.stack([model.set_membership() for model in ensemble.models], axis=1)
    assert ((sets[split[0]] == "validation").sum(1) == 1).all()
    assert (sets[split[2]] == "test").all()
    for found, own in ((ensemble.set_membership(), "training"), (ensemble.prediction_sets(), "validation")):
        assert (found.iloc[split[0]] == own).all()
        assert (found.iloc[split[2]] == "test").all()


def test_what_predicts_a_cell_does_not_depend_on_it(mdata, ensemble, split):
    """Neither the network nor the regressions of the model that was not trained on it."""
    cell = int(split[0][0])
    k = next(k for k, m in enumerate(ensemble.models) if m.set_membership().iloc[cell] == "validation")
    other = make_data()
    other.obs["donor"] = mdata.obs["donor"].to_numpy()
    for adata in other.mod.values():
        adata.X[adata.obs_names == other.obs_names[cell]] *= 1.5
    Ensemble.setup_mudata(other, labels_key="kind")
    again = fitted(other, split)
    weights = again.models[k].module.state_dict()
    for name, value in ensemble.models[k].module.state_dict().items():
        assert torch.equal(value, weights[name]), name
    data = ensemble.align(mdata)
    before, after = (e._companions[k].predict(data, "rna", "ephys", split[0]) for e in (ensemble, again))
    assert len(before) == 2
    np.testing.assert_array_equal(before, after)
    # The model that was trained on it does depend on it.
    seen = next(i for i in range(N_MODELS) if i != k)
    before, after = (e._companions[seen].predict(data, "rna", "ephys", split[0]) for e in (ensemble, again))
    assert not np.array_equal(before, after, equal_nan=True)


def test_predictions_of_the_training_are_out_of_fold_unless_told(ensemble, mdata, split):
    measured = mdata["ephys"].to_df().reindex(mdata.obs_names).to_numpy(dtype=float)[split[0]]
    mean, scale = np.nanmean(measured, 0), np.nanstd(measured, 0)

    def r2(**kwargs):
        predicted = ensemble.predict("ephys", "ephys", indices=split[0], **kwargs).to_numpy(dtype=float)
        return pooled_r2(measured, predicted, mean, scale)

    assert r2() < r2(out_of_fold=False)
    k = 1
    cells = np.flatnonzero(ensemble.models[k].set_membership() == "validation")
    own = ensemble.models[k].predict("ephys", "ephys", indices=cells)
    pd.testing.assert_frame_equal(
        ensemble.predict("ephys", "ephys", indices=cells), own, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("source", "target"), [("rna", "ephys"), ("ephys", "rna")])
def test_it_is_not_below_the_regression_or_the_networks(ensemble, mdata, split, source, target):
    x, y = (mdata[m].to_df().reindex(mdata.obs_names).to_numpy(dtype=float) for m in (source, target))
    train, test = split[0], split[2]
    mean, scale = np.nanmean(y[train], 0), np.nanstd(y[train], 0)
    both = ~np.isnan(x[train]).all(1)
    ridge = RidgeBaseline().fit(x[train][both], y[train][both]).predict(x[test])
    networks = np.mean([m.predict(source, target, indices=test) for m in ensemble.models], axis=0)
    combined = ensemble.predict(source, target, indices=test).to_numpy(dtype=float)
    known = ~np.isnan(x[test]).all(1)
    scores = [pooled_r2(y[test][known], p[known], mean, scale) for p in (combined, ridge, networks)]
    assert scores[0] > max(scores[1:]) - 0.02


def test_weights_say_how_much_comes_from_where(ensemble, mdata):
    table = ensemble.weights("rna", "ephys")
    assert list(table.columns) == ["network", "ridge", "kernel ridge"]
    assert list(table.index) == list(mdata["ephys"].var_names)
    assert (table >= 0).all(axis=None)
    several = ensemble.weights(["morph", "rna"], "ephys")
    assert list(several.columns) == ["network", "from rna", "from morph"]
    with pytest.raises(KeyError, match="mean of the networks"):
        ensemble.weights("rna", "rna")


def test_cells_that_lack_a_source_are_predicted_from_the_others(ensemble, mdata):
    both = ensemble.predict(["rna", "morph"], "ephys")
    has = {m: mdata.obs_names.isin(mdata[m].obs_names) for m in ("rna", "morph")}
    for present, lacking in (("rna", "morph"), ("morph", "rna")):
        alone = has[present] & ~has[lacking]
        assert alone.any()
        expected = ensemble.predict(present, "ephys")
        pd.testing.assert_frame_equal(both[alone], expected[alone], rtol=1e-4, atol=1e-4)
    nothing = ~has["rna"] & ~has["morph"]
    assert both[nothing].isna().all(axis=None)
    assert both[~nothing].notna().all(axis=None)


def test_a_query_of_new_cells_is_predicted_as_the_same_cells_in_the_data(ensemble, mdata, split, tmp_path):
    cells = mdata.obs_names[split[2]]
    query = mudata.MuData({m: a[a.obs_names.isin(cells)].copy() for m, a in mdata.mod.items()})
    ensemble.save(tmp_path / "ensemble")
    query = Ensemble.prepare_query_mudata(query, tmp_path / "ensemble")
    for source, target in (("rna", "ephys"), ("ephys", "kind")):
        expected = ensemble.predict(source, target, indices=split[2])
        found = ensemble.predict(source, target, query).reindex(expected.index)
        pd.testing.assert_frame_equal(found, expected, rtol=1e-3, atol=1e-4)
    assert ensemble.novelty(query, "rna")["p_value"].between(0, 1).sum() == query["rna"].n_obs


def test_labels_are_probabilities(ensemble, mdata, split):
    table = ensemble.predict("rna", "kind", indices=split[2]).dropna()
    assert list(table.columns) == ["a", "b"]
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-5)
    assert (table >= 0).all(axis=None)


def test_intervals_cover_new_cells_and_those_of_the_training(ensemble, mdata, split):
    values = mdata["ephys"].to_df().reindex(mdata.obs_names).to_numpy(dtype=float)
    for cells in (split[0], split[2]):
        table = ensemble.predict("rna", "ephys", indices=cells, quantiles=[0.05, 0.95])
        low, high = (table.xs(q, axis=1, level="quantile").to_numpy() for q in (0.05, 0.95))
        known = np.isfinite(low) & np.isfinite(values[cells])
        inside = (values[cells] >= low) & (values[cells] <= high)
        assert 0.8 < inside[known].mean() <= 1
        assert list(table.index) == list(mdata.obs_names[cells])


@pytest.mark.parametrize("quantiles", [None, [0.1, 0.9]])
def test_new_cells_are_encoded_once_by_each_model_and_regressed_once_by_all(
    ensemble, mdata, quantiles, monkeypatch
):
    new = mudata.MuData({"rna": mdata["rna"].copy()})
    new["rna"].obs_names = "new " + new["rna"].obs_names
    new.update()
    ensemble.predict("rna", "ephys", new, quantiles=quantiles)  # calibrates
    calls = {"encoded": 0, "regressed": 0}

    def count(owner, name, what):
        function = getattr(owner, name)

        def counted(*args, **kwargs):
            calls[what] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    for model in ensemble.models:
        count(model.module.arm("rna"), "encode", "encoded")
    count(_companions.Companions, "predict", "regressed")
    monkeypatch.setattr(scvi.settings, "batch_size", 1000)
    ensemble.predict("rna", "ephys", new, quantiles=quantiles)
    assert calls == {"encoded": N_MODELS, "regressed": 1}


def test_groups_are_not_divided(mdata):
    ensemble = fitted(mdata, group_by="donor")
    for model in ensemble.models:
        held_out = mdata.obs["donor"][(model.set_membership() == "validation").to_numpy()]
        trained = mdata.obs["donor"][(model.set_membership() == "training").to_numpy()]
        assert not set(held_out) & set(trained)


def test_latents_name_the_model_that_they_are_of(ensemble, mdata, split):
    copy = mdata.copy()
    ensemble.write_latent(copy)
    assert copy.obsm["X_cae"].shape[1] == 3 * N_MODELS
    assert copy.uns["X_cae_member"] == "all, in sample"
    assert (copy.obs["X_cae_set"].iloc[split[0]] == "training").all()
    ensemble.write_latent(copy, member=1)
    assert copy.uns["X_cae_member"] == "1"
    np.testing.assert_array_equal(copy.obsm["X_cae"], ensemble.models[1].get_latent_representation(copy))
    assert set(copy.obs["X_cae_set"].iloc[split[0]]) == {"training", "validation"}
    ensemble.models[0].write_latent(copy)
    assert "X_cae_member" not in copy.uns
    with pytest.raises(ValueError, match="member=3 must be a whole number from 0 to 2"):
        ensemble.get_latent_representation(member=3)


def test_what_cannot_be_done_is_said(mdata, ensemble):
    with pytest.raises(ValueError, match="n_models=1 must be a whole number of at least 2"):
        Ensemble(mdata, n_models=1)
    untrained = Ensemble(mdata, n_models=2, n_latent=3)
    assert not untrained.is_trained
    assert repr(untrained) == "Ensemble of 2 models of rna, ephys, morph, not trained."
    with pytest.raises(RuntimeError, match=r"Call ensemble\.train\(\) first"):
        untrained.predict("rna", "ephys")
    with pytest.raises(RuntimeError, match="trained already"):
        ensemble.train()
    with pytest.raises(ValueError, match="not set up"):
        Ensemble(make_data())


def test_every_combination_of_few_sources_has_weights():
    assert len(subsets("abcd")) == 15
    assert subsets("abcdef") == [*((name,) for name in "abcdef"), tuple("abcdef")]


def test_a_class_that_one_part_has_alone(mdata):
    """Models that know one class only have no regressions to it, and then none does."""
    mdata = make_data()
    rare = np.zeros(mdata.n_obs, dtype=bool)
    rare[np.flatnonzero(mdata.obs_names.isin(mdata["rna"].obs_names))[:1]] = True
    mdata.obs["rare"] = np.where(rare, "x", "y")
    Ensemble.setup_mudata(mdata, labels_key="rare")
    with pytest.warns(UserWarning, match="1 classes have no training cell in some of the 3 models.*: 'x'"):
        ensemble = fitted(mdata)
    table = ensemble.predict("rna", "rare").dropna()
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-5)
    assert list(ensemble.weights("rna", "rare").columns) == ["network"]
    assert ensemble._whole.names("rna", "rare") == []


def test_a_class_that_no_training_cell_has_says_nothing():
    mdata = make_mdata(80)
    mdata.obs["kind"] = np.where(np.arange(mdata.n_obs) < 3, "rare", mdata.obs["kind"].astype(str))
    Ensemble.setup_mudata(mdata, labels_key="kind")
    ensemble = Ensemble(mdata, n_models=2, n_latent=2)
    with pytest.warns(UserWarning, match="'rare'"):
        ensemble.train(max_epochs=3, external_indexing=[np.arange(3, 70)])
    by_both = ensemble.predict(["rna", "kind"], "ephys", indices=range(6))
    by_rna = ensemble.predict("rna", "ephys", indices=range(6))
    assert (by_both.isna().all(axis=1) == by_rna.isna().all(axis=1)).all()
    np.testing.assert_allclose(by_both[:3], by_rna[:3], rtol=1e-5)
    alone = ensemble.predict("kind", "ephys", indices=range(6)).isna().all(axis=1)
    assert alone.tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize("others", [["a", "b"], [None]])
def test_classes_of_one_cell_make_no_nan_and_one_warning(others):
    mdata = make_data()
    names = np.resize(np.array(others, dtype=object), mdata.n_obs)
    paired = mdata.obs_names.isin(mdata["rna"].obs_names) & mdata.obs_names.isin(mdata["ephys"].obs_names)
    names[np.flatnonzero(paired)[:4]] = ["s0", "s1", "s2", "s3"]
    mdata.obs["rare"] = names
    Ensemble.setup_mudata(mdata, labels_key="rare")
    with pytest.warns(UserWarning, match="have no training cell") as caught:
        ensemble = fitted(mdata)
    own = [str(warning.message) for warning in caught if warning.category is UserWarning]
    assert len(own) == 1
    assert "Labels 'rare': 4 classes have no training cell in some of the 3 models" in own[0]
    for source in ("rna", "ephys", ["rna", "ephys"]):
        table = ensemble.predict(source, "rare", out_of_fold=False)
        first = [source] if isinstance(source, str) else source
        has = np.any([mdata.obs_names.isin(mdata[name].obs_names) for name in first], axis=0)
        np.testing.assert_allclose(table[has].sum(axis=1), 1, rtol=1e-5)
        assert np.isfinite(ensemble.weights(source, "rare")).all(axis=None)
