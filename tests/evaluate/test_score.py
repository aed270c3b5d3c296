"""Scores of a model and of baselines on held-out cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scvi_cae
from conftest import fit, make_mdata
from scvi_cae.evaluate import (
    METRICS,
    CCABaseline,
    KernelRidgeBaseline,
    RidgeBaseline,
    TypeMeanBaseline,
    feature_correlation,
    feature_r2,
    foscttm,
    interval_scores,
    label_accuracy,
    pooled_r2,
    r2_beyond,
    score,
    top_k_accuracy,
    transfer_labels,
)


def split_fit(mdata, labels_key=None, **kwargs):
    scvi_cae.CoupledAE.setup_mudata(mdata, labels_key=labels_key)
    return fit(mdata, **{"max_epochs": 40, "train_size": 0.7, "validation_size": 0.1, **kwargs})


@pytest.fixture(scope="module")
def model():
    return split_fit(make_mdata(missing={"ephys": 0.05}))


def value(table, method, source, target, metric="r2"):
    key = ["method", "source", "target", "metric"]
    return table.set_index(key).loc[(method, source, target, metric), "value"]


def test_table_has_one_row_for_each_question(model):
    table = score(model, labels_key="kind")
    assert table.columns.tolist() == ["method", "source", "target", "metric", "value", "n_cells"]
    rows = set(table[["method", "source", "target", "metric"]].itertuples(index=False, name=None))
    assert rows == {
        *(("CoupledAE", m, m, "r2") for m in ("rna", "ephys")),
        *((method, s, t, "r2") for method in ("CoupledAE", "ridge", "type mean") for s, t in (("rna", "ephys"), ("ephys", "rna"))),
        ("CoupledAE", "rna", "ephys", "foscttm"),
    }  # fmt: skip
    assert len(table) == len(rows)
    assert "type mean" not in set(score(model)["method"])


def test_model_and_ridge_learn_a_linear_relation(model):
    table = score(model, labels_key="kind")
    assert value(table, "ridge", "rna", "ephys") > 0.8
    assert value(table, "CoupledAE", "rna", "ephys") > 0.4
    assert value(table, "CoupledAE", "rna", "ephys", "foscttm") < 0.2
    # the labels carry no information
    assert value(table, "type mean", "rna", "ephys") < 0.1


def test_values_are_those_of_the_public_pieces(model):
    mdata, test, train = model.adata, model.test_indices, model.train_indices

    def values(name, cells):
        frame = mdata[name].to_df().reindex(mdata.obs_names[cells])
        return frame.to_numpy()

    both = np.array([c for c in test if all(mdata.obs_names[c] in mdata[m].obs_names for m in mdata.mod)])
    outer = values("ephys", np.r_[train, model.validation_indices])
    mean, scale = np.nanmean(outer, 0), np.nanstd(outer, 0)
    table = score(model)
    expected = pooled_r2(values("ephys", both), model.predict("rna", "ephys", indices=both), mean, scale)
    assert value(table, "CoupledAE", "rna", "ephys") == pytest.approx(expected, abs=1e-5)
    ridge = RidgeBaseline().fit(values("rna", train), values("ephys", train)).predict(values("rna", both))
    expected = pooled_r2(values("ephys", both), ridge, mean, scale)
    assert value(table, "ridge", "rna", "ephys") == pytest.approx(expected, abs=1e-5)
    z = [model.get_latent_representation(modality=m, indices=both) for m in ("rna", "ephys")]
    assert value(table, "CoupledAE", "rna", "ephys", "foscttm") == pytest.approx(foscttm(*z))
    n_cells = table.set_index(["method", "source", "target", "metric"])["n_cells"]
    assert n_cells[("ridge", "rna", "ephys", "r2")] == len(both) < len(test)


def test_baselines_do_not_see_held_out_cells():
    """Fits of the baselines do not depend on the values of test cells."""
    fits = []

    class Spy(RidgeBaseline):
        def fit(self, source, target):
            fits.append((np.array(source), np.array(target)))
            return super().fit(source, target)

    spy = Spy()
    mdata = make_mdata(missing={"ephys": 0.05})
    model = split_fit(mdata, max_epochs=1)
    before = score(model, baselines={"ridge": spy})
    tested = mdata.obs_names[model.test_indices]
    for adata in mdata.mod.values():
        adata.X[adata.obs_names.isin(tested)] += 1000
    after = score(model, baselines={"ridge": spy})
    assert not np.allclose(before["value"], after["value"])
    half = len(fits) // 2
    for first, second in zip(fits[:half], fits[half:], strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])


def test_default_cells_are_test_then_validation(model):
    assert score(model).equals(score(model, indices=model.test_indices))
    validated = split_fit(make_mdata(), max_epochs=1, train_size=0.8, validation_size=None)
    assert score(validated).equals(score(validated, indices=validated.validation_indices))


def test_boolean_indices(model):
    mask = np.isin(np.arange(model.adata.n_obs), model.test_indices)
    assert score(model, indices=mask).equals(score(model))


def test_without_held_out_cells_it_asks_for_some():
    model = split_fit(make_mdata(), max_epochs=1, train_size=1.0, validation_size=None)
    with pytest.raises(ValueError, match="No held-out cells"):
        score(model)
    assert len(score(model, indices=model.train_indices))


def test_what_cannot_be_scored_is_nan():
    mdata = make_mdata(fraction={"rna": 1.0, "ephys": 0.5})
    model = split_fit(mdata, max_epochs=1)
    lacking = np.flatnonzero(~mdata.obs_names.isin(mdata["ephys"].obs_names))[:4]
    table = score(model, indices=lacking)
    assert not np.isnan(value(table, "CoupledAE", "rna", "rna"))
    assert np.isnan(value(table, "ridge", "rna", "ephys"))
    assert np.isnan(value(table, "CoupledAE", "rna", "ephys", "foscttm"))


def test_layers_and_uncoupled_modalities():
    mdata = make_mdata(n_features={"rna": 12, "ephys": 6, "morph": 5})
    mdata["rna"].layers["scaled"] = mdata["rna"].X * 7
    scvi_cae.CoupledAE.setup_mudata(mdata, layers={"rna": "scaled"})
    with pytest.warns(UserWarning, match="coupled to no other"):
        model = scvi_cae.CoupledAE(mdata, n_latent=3, coupling={("rna", "ephys"): 1.0})
    model.train(max_epochs=2, train_size=0.7, enable_progress_bar=False, logger=None)
    table = score(model)
    assert set(zip(table["source"], table["target"], strict=True)) == {
        ("rna", "rna"), ("ephys", "ephys"), ("morph", "morph"), ("rna", "ephys"), ("ephys", "rna"),
    }  # fmt: skip
    # values are read from the layer that the model's mean and scale are of
    assert value(table, "ridge", "ephys", "rna") > 0


def test_it_names_what_is_wrong(model, tmp_path):
    with pytest.raises(KeyError, match="nope"):
        score(model, labels_key="nope")
    with pytest.raises(ValueError, match="outside 0 to"):
        score(model, indices=[10_000])
    mdata = make_mdata()
    scvi_cae.CoupledAE.setup_mudata(mdata)
    with pytest.raises(RuntimeError, match="not trained"):
        score(scvi_cae.CoupledAE(mdata, n_latent=3))
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="has no data"):
        score(scvi_cae.CoupledAE.load(tmp_path / "model", adata=False))


def test_labels_are_scored_by_how_many_are_right():
    mdata = make_mdata(200)
    scvi_cae.CoupledAE.setup_mudata(mdata, labels_key="kind")
    model = fit(mdata, max_epochs=5, train_size=0.7, validation_size=0.1)
    table = score(model, labels_key="kind").set_index(["method", "source", "target", "metric"])["value"]
    found = model.predict("rna", "kind", indices=model.test_indices).dropna().idxmax(axis=1)
    right = (found == mdata.obs["kind"][found.index].astype(str)).mean()
    assert table["CoupledAE", "rna", "kind", "accuracy"] == pytest.approx(right)
    assert 0 <= table["ridge", "rna", "kind", "accuracy"] <= 1
    conditioned = model.predict(["rna", "kind"], "ephys", indices=model.test_indices).to_numpy()
    ephys = mdata["ephys"].to_df().reindex(mdata.obs_names).to_numpy()
    truth, train = ephys[model.test_indices], ephys[np.r_[model.train_indices, model.validation_indices]]
    mean, scale = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    both = mdata.obs_names[model.test_indices].isin(mdata["rna"].obs_names) & ~np.isnan(truth).any(axis=1)
    errors = (np.square((truth - x) / scale)[both].sum() for x in (conditioned, mean))
    error = next(errors) / next(errors)
    assert table["CoupledAE", "rna + kind", "ephys", "r2"] == pytest.approx(1 - error, rel=1e-4)
    assert ("CoupledAE", "rna + kind", "rna", "r2") not in table.index
    assert "kind" not in table.xs("foscttm", level="metric").reset_index()["target"].to_numpy()


def test_counts_are_scored_at_equal_library_size():
    mdata = make_mdata(200)
    rng = np.random.default_rng(0)
    rates = np.exp(np.clip(mdata["rna"].X / 5, -1, 3))
    depth = rng.uniform(1, 100, size=(len(rates), 1))
    mdata["rna"].X = rng.poisson(depth * rates).astype(np.float32)
    scvi_cae.CoupledAE.setup_mudata(mdata, likelihoods={"rna": "negative_binomial"})
    model = fit(mdata, max_epochs=150, train_size=0.7, validation_size=0.1)
    table = score(model).set_index(["method", "source", "target", "metric"])["value"]
    # Depth is most of the variance of raw counts, and cannot be predicted.
    assert table["CoupledAE", "rna", "rna", "r2"] > 0.4
    assert table["ridge", "ephys", "rna", "r2"] > 0.2


@pytest.fixture(scope="module")
def typed():
    """A model of data whose latent space depends on families and types."""
    mdata = scvi_cae.datasets.simulate_patchseq(n_cells=300, seed=1)
    scvi_cae.CoupledAE.setup_mudata(mdata)
    return fit(mdata, n_latent=4, max_epochs=60, train_size=0.7, validation_size=0.1)


LABELS = {"labels_key": "cell_type", "family_key": "family"}


def parts(model, modality):
    """Values and latents of a modality for training and test cells, NaN for cells without it."""
    train, test = model.train_indices, model.test_indices
    cells = {"train": train, "outer": np.r_[train, model.validation_indices], "test": test}
    values = {k: model.measured_values(modality, indices=c) for k, c in cells.items()}
    latents = {k: model.get_latent_representation(modality=modality, indices=c) for k, c in cells.items()}
    return values, latents


def test_every_metric_is_its_function(typed):
    table = score(typed, baselines=False, metrics=METRICS, **LABELS)
    (x, zx), (y, zy) = parts(typed, "rna"), parts(typed, "ephys")
    both = ~np.isnan(x["test"]).all(1) & ~np.isnan(y["test"]).all(1)
    truth = y["test"][both]
    prediction = typed.predict("rna", "ephys", indices=typed.test_indices).to_numpy()[both]
    mean, scale = np.nanmean(y["outer"], 0), np.nanstd(y["outer"], 0)
    obs = typed.adata.obs
    train, test = obs.iloc[typed.train_indices], obs.iloc[typed.test_indices]
    outer = obs.iloc[np.r_[typed.train_indices, typed.validation_indices]]
    family = TypeMeanBaseline().fit(outer["family"], y["outer"]).predict(test["family"])[both]
    kinds = TypeMeanBaseline(3).fit(outer["cell_type"], y["outer"], outer["family"])
    kind = kinds.predict(test["cell_type"], test["family"])[both]
    expected = {
        "r2": pooled_r2(truth, prediction, mean, scale),
        "mean r2": np.nanmean(feature_r2(truth, prediction, mean)),
        "correlation": np.nanmean(feature_correlation(truth, prediction)),
        "r2 beyond family": r2_beyond(truth, prediction, family, scale),
        "r2 beyond type": r2_beyond(truth, prediction, kind, scale),
        "foscttm": foscttm(zx["test"][both], zy["test"][both]),
        "top-1": top_k_accuracy(zx["test"][both], zy["test"][both], 1),
        "top-10": top_k_accuracy(zx["test"][both], zy["test"][both], 10),
    }
    has = ~np.isnan(x["test"]).all(1)
    for level, key in (("family", "family"), ("type", "cell_type")):
        given = transfer_labels(zy["train"], train[key], zx["test"][has])
        expected[f"{level} knn"] = label_accuracy(test[key][has], given)
    rows = table.query("source == 'rna' and target == 'ephys'").set_index("metric")
    assert set(rows.index) == set(expected)
    for metric, wanted in expected.items():
        assert rows.loc[metric, "value"] == pytest.approx(wanted, abs=1e-4), metric
    assert rows.loc["family knn", "n_cells"] == has.sum() > both.sum()
    # reconstructions have no match to find, and are not compared with labels
    within = table.query("source == target")
    assert set(within["metric"]) == {"r2", "mean r2", "correlation"}
    # one value for a pair, or one for each direction
    assert table["metric"].value_counts()[["foscttm", "top-1", "type knn"]].tolist() == [1, 2, 2]


def test_a_baseline_that_is_the_reference_is_nothing_beyond_it(typed):
    table = score(
        typed,
        np.r_[typed.validation_indices, typed.test_indices],
        baselines=["family mean", "shrunk type mean"],
        metrics=["r2 beyond family", "r2 beyond type"],
        **LABELS,
    )
    assert value(table, "family mean", "rna", "ephys", "r2 beyond family") == pytest.approx(0)
    assert value(table, "shrunk type mean", "rna", "ephys", "r2 beyond type") == pytest.approx(0)
    assert value(table, "shrunk type mean", "rna", "ephys", "r2 beyond family") > 0.05


def test_latents_of_baselines_are_scored(typed):
    table = score(typed, baselines=["cca"], metrics=METRICS, **LABELS)
    (x, _), (y, _) = parts(typed, "rna"), parts(typed, "ephys")
    cca = CCABaseline(4).fit(x["train"], y["train"])
    both = ~np.isnan(x["test"]).all(1) & ~np.isnan(y["test"]).all(1)
    z = cca.transform_source(x["test"][both]), cca.transform_target(y["test"][both])
    assert value(table, "cca", "rna", "ephys", "foscttm") == pytest.approx(foscttm(*z))
    assert value(table, "cca", "ephys", "rna", "top-10") == pytest.approx(top_k_accuracy(z[1], z[0], 10))
    assert table.query("method == 'cca'")["metric"].value_counts()["foscttm"] == 1
    assert value(table, "cca", "rna", "ephys", "family knn") > 0.5


def test_baselines_by_name_and_as_objects(typed):
    own = KernelRidgeBaseline(gamma=0.02)
    table = score(typed, baselines={"pca": "pca", "wide": own, "typed": "ridge + type mean"}, **LABELS)
    assert not hasattr(own, "_fits")
    found = set(
        table[table["method"] != "CoupledAE"][["method", "source", "target"]].itertuples(
            index=False, name=None
        )
    )
    assert found == {
        *(("pca", m, m) for m in ("rna", "ephys")),
        *((method, s, t) for method in ("wide", "typed") for s, t in (("rna", "ephys"), ("ephys", "rna"))),
    }
    assert value(table, "typed", "rna", "ephys") > 0.2
    assert table["method"].unique().tolist() == ["CoupledAE", "pca", "wide", "typed"]


def test_features_one_by_one(typed):
    table = score(typed, baselines=["ridge"], per_feature=True)
    assert table.columns[-1] == "feature"
    rows = table.query("method == 'ridge' and target == 'ephys' and metric == 'feature r2'")
    assert rows["feature"].tolist() == typed.adata["ephys"].var_names.tolist()
    assert (table.query("metric == 'r2'")["feature"] == "").all()
    mean = score(typed, baselines=["ridge"], metrics=["mean r2"])
    assert rows["value"].mean() == pytest.approx(value(mean, "ridge", "rna", "ephys", "mean r2"))


def test_intervals(typed):
    table = score(typed, baselines=False, metrics=["coverage", "crps"])
    assert 0.7 < value(table, "CoupledAE", "rna", "ephys", "coverage") <= 1
    _, (y, _) = parts(typed, "rna"), parts(typed, "ephys")
    x, _ = parts(typed, "rna")
    both = ~np.isnan(x["test"]).all(1) & ~np.isnan(y["test"]).all(1)
    intervals = typed.predict(
        "rna", "ephys", indices=typed.test_indices[both], quantiles=np.linspace(0.05, 0.95, 19).round(2)
    )
    expected = interval_scores(y["test"][both], intervals, np.nanstd(y["outer"], 0)).mean()
    assert value(table, "CoupledAE", "rna", "ephys", "coverage") == pytest.approx(
        expected["coverage"], abs=1e-3
    )
    assert value(table, "CoupledAE", "rna", "ephys", "crps") == pytest.approx(
        2 * expected["pinball"], rel=1e-3
    )


def test_ensembles(typed):
    mdata = typed.adata
    split = scvi_cae.splits.k_fold(mdata, 5)[0]
    fits = scvi_cae.fit_many(mdata, [split], seeds=[0, 1, 2], settings=[{"n_latent": 4}], max_epochs=30)
    ensemble = scvi_cae.Ensemble.from_models([fit.model for fit in fits])
    table = score(ensemble, metrics=METRICS, **LABELS)
    assert table["method"].unique().tolist() == ["Ensemble", "ridge", "type mean"]
    single = score(fits[0].model, metrics=METRICS, **LABELS)
    baselines = [t[t["method"] == "ridge"].reset_index(drop=True) for t in (table, single)]
    pd.testing.assert_frame_equal(*baselines)
    alone = [value(score(fit.model, baselines=False), "CoupledAE", "rna", "ephys") for fit in fits]
    assert value(table, "Ensemble", "rna", "ephys") > np.mean(alone)
    z = [ensemble.get_latent_representation(modality=m, indices=split.test) for m in ("rna", "ephys")]
    both = np.isfinite(z[0]).all(1) & np.isfinite(z[1]).all(1)
    assert value(table, "Ensemble", "rna", "ephys", "foscttm") == pytest.approx(
        foscttm(z[0][both], z[1][both])
    )


def test_cells_that_any_model_of_an_ensemble_trained_on_are_not_held_out(typed):
    mdata = typed.adata
    folds = scvi_cae.splits.k_fold(mdata, 3)
    models = [
        fit.model for fit in scvi_cae.fit_many(mdata, folds[:2], settings=[{"n_latent": 2}], max_epochs=1)
    ]
    with pytest.raises(ValueError, match="No held-out cells"):
        score(scvi_cae.Ensemble.from_models(models))


def test_it_names_metrics_and_labels(typed):
    with pytest.raises(ValueError, match="metrics=.'r3'. must be a sequence of some of 'r2'"):
        score(typed, metrics=["r3"])
    with pytest.raises(ValueError, match="must be a sequence"):
        score(typed, metrics="r2")
    with pytest.raises(ValueError, match="give labels_key"):
        score(typed, baselines=["type mean"])
    with pytest.raises(KeyError, match="nope"):
        score(typed, family_key="nope")


def with_ephys(values, seed=0):
    """A model of 120 cells with both modalities, cells 0 to 59 for training, 60 to 79 for validation.

    ``values`` changes the electrophysiology ``(n_cells, 8)`` before training.
    """
    mdata = make_mdata(fraction={"rna": 1.0, "ephys": 1.0}, seed=seed)
    cells = mdata["ephys"].obs_names.get_indexer(mdata.obs_names)
    x = mdata["ephys"].X[cells]
    values(x)
    mdata["ephys"].X[cells] = x
    scvi_cae.CoupledAE.setup_mudata(mdata)
    split = scvi_cae.splits.Split(np.arange(60), np.arange(60, 80), np.arange(80, 120))
    return fit(mdata, max_epochs=30, external_indexing=split), cells


ALL = ["ridge", "kernel ridge", "bagged kernel ridge", "srrr", "cca", "weighted cca", "family mean"]


def test_a_feature_that_is_constant_in_training_is_not_scored():
    def constant(x):
        x[:80, 3] = 7.0

    model, _ = with_ephys(constant)
    call = {"baselines": ALL, "family_key": "kind", "metrics": METRICS, "per_feature": True}
    with pytest.warns(UserWarning, match="scored on features.*: 'ephys_3' of 'ephys'. ") as said:
        table = score(model, **call)
    assert len(said) == 1
    alone = table.query("feature == 'ephys_3' and target == 'ephys'")
    assert set(alone["method"]) >= {"CoupledAE", *ALL}
    assert alone["value"].isna().all()
    assert (alone["n_cells"] == 0).all()
    # The other features are scored as if there were no such feature.
    r2 = table.query("feature == '' and source == 'rna' and target == 'ephys' and metric == 'r2'")
    r2 = r2.set_index("method")["value"]
    assert r2["ridge"] > 0.8
    x, y = (model.adata[m].to_df().reindex(model.adata.obs_names).to_numpy() for m in ("rna", "ephys"))
    kept = np.delete(np.arange(8), 3)
    ridge = RidgeBaseline().fit(x[:60], y[:60][:, kept]).predict(x[80:])
    moments = y[:80].mean(0)[kept], y[:80].std(0)[kept]
    assert r2["ridge"] == pytest.approx(pooled_r2(y[80:][:, kept], ridge, *moments), abs=1e-4)


def test_a_feature_that_varies_only_in_the_validation_cells_is_scored_as_its_constant():
    def constant(x):
        x[:60, 3] = 7.0

    model, cells = with_ephys(constant)
    table = score(model, baselines=ALL, family_key="kind", per_feature=True, metrics=["r2"])
    y = model.adata["ephys"].X[cells]
    mean = y[:80, 3].mean()
    expected = 1 - np.sum((y[80:, 3] - 7) ** 2) / np.sum((y[80:, 3] - mean) ** 2)
    found = table.query("feature == 'ephys_3' and metric == 'feature r2' and method in @ALL")
    assert set(found["method"]) == set(ALL)
    np.testing.assert_allclose(found["value"], expected, rtol=1e-4)


def test_scale_is_that_of_all_cells_outside_the_test_set():
    """Models that were given fewer training cells are measured by the same mean, scale and features."""
    model, cells = with_ephys(lambda x: None)
    y = model.adata["ephys"].X[cells]
    fewer = fit(
        model.adata, max_epochs=3, external_indexing=(np.arange(30), np.arange(30, 80), np.arange(80, 120))
    )
    call = {"baselines": {"zero": Zero()}, "metrics": ["r2"]}
    found = [value(score(m, **call), "zero", "rna", "ephys") for m in (model, fewer)]
    expected = pooled_r2(y[80:], np.zeros_like(y[80:]), y[:80].mean(0), y[:80].std(0))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


class Zero:
    """Predicts 0."""

    def fit(self, source, target):
        self.n = target.shape[1]

    def predict(self, source):
        return np.zeros((len(source), self.n))


def test_a_feature_without_training_value_is_left_out_for_all_methods():
    def unmeasured(x):
        x[:60, 2] = np.nan  # only validation and test cells have it

    with pytest.warns(UserWarning, match="ephys_2"):
        model, _ = with_ephys(unmeasured)
    with pytest.warns(UserWarning, match="'ephys_2' of 'ephys'"):
        table = score(model, baselines=ALL, family_key="kind", per_feature=True, metrics=METRICS)
    assert table.query("feature == 'ephys_2'")["value"].isna().all()
    pooled = table.query("feature == '' and target == 'ephys' and metric == 'r2'")
    assert set(pooled["method"]) == {"CoupledAE", *ALL}
    assert np.isfinite(pooled["value"]).all()


def test_cells_of_a_class_that_no_training_cell_has():
    """Nothing is predicted from their class, and as a prediction it counts as wrong."""
    mdata = make_mdata(150)
    mdata.obs["type"] = np.where(np.arange(mdata.n_obs) % 2, "a", "b")
    mdata.obs.loc[mdata.obs_names[120:], "type"] = "c"
    scvi_cae.CoupledAE.setup_mudata(mdata, labels_key="type")
    with pytest.warns(UserWarning, match="1 classes have no training cell: 'c'"):
        model = fit(mdata, max_epochs=3, external_indexing=[np.arange(100), None, np.arange(100, 145)])
    table = score(model, baselines=False).set_index(["source", "target", "metric"])
    tested = mdata.obs_names[100:145]
    known = tested[(mdata.obs.loc[tested, "type"] != "c").to_numpy()]
    assert table.loc[("type", "ephys", "r2"), "n_cells"] == known.isin(mdata["ephys"].obs_names).sum()
    has = tested.isin(mdata["rna"].obs_names)
    assert table.loc[("rna", "type", "accuracy"), "n_cells"] == has.sum()
    assert (
        table.loc[("rna", "type", "accuracy"), "value"]
        <= known.isin(mdata["rna"].obs_names).sum() / has.sum()
    )
