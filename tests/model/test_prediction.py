from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest

import scvi_cae
from conftest import QUIET, fit, make_mdata
from scvi_cae import CoupledAE, Ensemble, fit_many, splits
from scvi_cae.model import _calibration, _prediction
from scvi_cae.model._calibration import calibration_cells

#: Enough validation cells for the quantiles of most tests.
HALF = {"train_size": 0.5, "validation_size": 0.4, "monitor": None}
WANTED = [0.1, 0.5, 0.9]


@pytest.fixture(scope="module")
def data():
    out = make_mdata(200, missing={"ephys": 0.05})
    CoupledAE.setup_mudata(out)
    return out


@pytest.fixture(scope="module")
def model(data):
    return fit(data, max_epochs=20, **HALF)


@pytest.fixture(scope="module")
def ensemble(data):
    folds = splits.within(splits.k_fold(data, 5)[0], 3)
    fits = fit_many(data, folds, [0, 1], [{"n_latent": 3}], max_epochs=15, monitor=None)
    return Ensemble.from_models([fit.model for fit in fits])


def level(table, quantile):
    return table.xs(quantile, axis=1, level="quantile")


def measured(mdata, modality):
    return mdata[modality].to_df().reindex(mdata.obs_names)


@pytest.mark.parametrize("source", ["rna", "ephys", ["rna", "ephys"]])
def test_quantiles_are_a_table_by_feature(data, model, ensemble, source):
    for predictor in (model, ensemble):
        plain = predictor.predict(source, "ephys", indices=[5, 3, 190])
        table = predictor.predict(source, "ephys", indices=[5, 3, 190], quantiles=WANTED)
        assert table.index.equals(plain.index)
        assert table.columns.names == ["feature", "quantile"]
        assert list(table.columns) == [(f, q) for f in plain.columns for q in WANTED]
        assert (table.dtypes == np.float32).all()
        for lower, upper in ((0.1, 0.5), (0.5, 0.9)):
            pair = level(table, lower).to_numpy(), level(table, upper).to_numpy()
            assert (np.isnan(pair[0]) == np.isnan(plain.to_numpy())).all()
            assert not (pair[0] > pair[1]).any()


@pytest.mark.parametrize("quantiles", [None, WANTED])
@pytest.mark.parametrize("kind", ["model", "ensemble"])
def test_a_tidy_table_is_read_back_as_it_was(model, ensemble, kind, quantiles, tmp_path):
    predictor = model if kind == "model" else ensemble
    table = predictor.predict("rna", "ephys", quantiles=quantiles)
    tidy = predictor.predict("rna", "ephys", quantiles=quantiles, tidy=True)
    assert list(tidy) == ["cell", "feature", *([] if quantiles is None else ["quantile"]), "value"]
    tidy.to_csv(tmp_path / "table.csv", index=False)
    found = pd.read_csv(tmp_path / "table.csv", dtype={"value": "float32"})
    pd.testing.assert_frame_equal(found, tidy, check_dtype=False, check_exact=True)
    again = tidy.pivot(index="cell", columns=list(tidy)[1:-1], values="value").loc[table.index, table.columns]
    np.testing.assert_array_equal(again, table)
    if quantiles is None:
        table.to_csv(tmp_path / "table.csv")
        found = pd.read_csv(tmp_path / "table.csv", index_col="cell").astype("float32")
        pd.testing.assert_frame_equal(found, table, check_exact=True)


@pytest.mark.parametrize("kind", ["model", "ensemble"])
def test_any_number_of_cells_at_once(data, model, ensemble, kind, monkeypatch):
    predictor = model if kind == "model" else ensemble
    expected = predictor.predict("rna", "ephys", quantiles=WANTED)
    monkeypatch.setattr(_prediction, "MAX_VALUES", 100)
    found = predictor.predict("rna", "ephys", quantiles=WANTED)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4)
    nobody = predictor.predict("rna", "ephys", indices=[], quantiles=WANTED)
    assert nobody.shape == (0, expected.shape[1])
    assert nobody.columns.equals(expected.columns)


def test_cells_without_the_source_have_no_quantiles(data, model):
    table = model.predict("rna", "ephys", quantiles=WANTED)
    lacking = ~data.obs_names.isin(data["rna"].obs_names)
    np.testing.assert_array_equal(table.isna().all(axis=1), lacking)
    np.testing.assert_array_equal(table.isna().any(axis=1), lacking)


def test_intervals_hold_the_validation_cells_that_they_were_calibrated_on(data, model):
    """Each feature's share of them, exactly: quantiles of n ratios are ratios themselves."""
    cells = model.validation_indices
    table = model.predict("rna", "ephys", indices=cells, quantiles=[0.1, 0.9])
    truth = measured(data, "ephys").iloc[cells].to_numpy()
    low, high = (level(table, q).to_numpy() for q in (0.1, 0.9))
    known = ~np.isnan(truth) & ~np.isnan(low)
    tiny = 1e-4 * np.abs(truth)
    inside = known & (truth >= low - tiny) & (truth <= high + tiny)
    n = known.sum(0)
    expected = np.ceil(0.9 * (n + 1) - 1e-9) - np.floor(0.1 * (n + 1) + 1e-9) + 1
    np.testing.assert_array_equal(inside.sum(0), expected)


def test_only_validation_cells_calibrate(data, model):
    """Whatever stands in test cells; and each validation cell without a value is one residual less."""
    other = mudata.MuData({name: adata.copy() for name, adata in data.mod.items()})
    CoupledAE.setup_mudata(other)
    twin = CoupledAE(other, n_latent=3)
    twin.module.load_state_dict(model.module.state_dict())
    split = splits.Split(model.train_indices, model.validation_indices, model.test_indices)
    twin._record(twin._training_data(), split, {}, trained=True)
    expected = model.predict("rna", "ephys", quantiles=WANTED)
    pd.testing.assert_frame_equal(twin.predict("rna", "ephys", quantiles=WANTED), expected)
    tested = other["ephys"].obs_names.isin(other.obs_names[split.test])
    other["ephys"].X[tested] += 1000
    twin._record(twin._training_data(), split, {}, trained=True)
    pd.testing.assert_frame_equal(twin.predict("rna", "ephys", quantiles=WANTED), expected)
    validated = other["ephys"].obs_names.isin(other.obs_names[split.validation])
    values = other["ephys"].X.copy()
    values[np.flatnonzero(validated)[10:], 0] = np.nan
    other["ephys"].X = values
    twin._record(twin._training_data(), split, {}, trained=True)
    with pytest.raises(ValueError, match=r"\[0.01, 0.99\] need at least 99 validation cells.*'ephys_0'"):
        twin.predict("rna", "ephys", quantiles=[0.01, 0.99])
    changed = twin.predict("rna", "ephys", quantiles=[0.2, 0.8])
    same = model.predict("rna", "ephys", quantiles=[0.2, 0.8])
    assert changed.iloc[:, 2:].equals(same.iloc[:, 2:])
    assert not changed.iloc[:, :2].equals(same.iloc[:, :2])


@pytest.mark.parametrize("kind", ["model", "ensemble"])
def test_coverage_on_new_cells(kind):
    mdata = make_mdata(1200, {"rna": 20, "ephys": 6}, {"rna": 1.0, "ephys": 1.0})
    CoupledAE.setup_mudata(mdata)
    split = (np.arange(600), None, np.arange(600, 1200))
    if kind == "model":
        predictor = fit(
            mdata, max_epochs=10, monitor=None, external_indexing=(split[0][:300], split[0][300:], split[2])
        )
    else:
        fits = fit_many(
            mdata, splits.within(split, 5), settings=[{"n_latent": 3}], max_epochs=10, monitor=None
        )
        predictor = Ensemble.from_models([fit.model for fit in fits])
    table = predictor.predict("rna", "ephys", indices=split[2], quantiles=[0.05, 0.95])
    truth = measured(mdata, "ephys").iloc[split[2]]
    scores = scvi_cae.evaluate.interval_scores(truth, table, predictor_scale(predictor))
    assert abs(scores["coverage"].mean() - 0.9) < 0.03


def predictor_scale(predictor):
    model = predictor.models[0] if isinstance(predictor, Ensemble) else predictor
    return model.feature_moments("ephys")[1]


def test_intervals_are_wider_where_cells_are_harder_to_predict():
    mdata = make_mdata(600, {"rna": 20, "ephys": 6}, {"rna": 1.0, "ephys": 1.0})
    rng = np.random.default_rng(0)
    noisy = rng.random(600) < 0.5
    for name, shift, noise in (("rna", 30, 0), ("ephys", 0, 20)):
        position = mdata.obs_names.get_indexer(mdata[name].obs_names)
        values = mdata[name].X + (shift + noise * rng.normal(size=mdata[name].shape)) * noisy[position, None]
        mdata[name].X = values.astype(np.float32)
    CoupledAE.setup_mudata(mdata)
    model = fit(mdata, max_epochs=30, **HALF)
    table = model.predict("rna", "ephys", quantiles=[0.1, 0.9])
    width = (level(table, 0.9) - level(table, 0.1)).mean(axis=1)
    assert width[noisy].median() > 2 * width[~noisy].median()


def test_models_of_the_same_validation_cells_are_one(data, ensemble):
    """The same model twice says what it says once, with as many residuals."""
    alone, twice = Ensemble.from_models(ensemble.models[:1]), Ensemble.from_models(ensemble.models[:1] * 2)
    pd.testing.assert_frame_equal(
        alone.predict("rna", "ephys", quantiles=WANTED), twice.predict("rna", "ephys", quantiles=WANTED)
    )
    pd.testing.assert_frame_equal(
        alone.predict("rna", "ephys", quantiles=WANTED),
        ensemble.models[0].predict("rna", "ephys", quantiles=WANTED),
    )
    # A third of the training cells validates each model, and all of them the ensemble.
    many = [0.02, 0.98]
    assert ensemble.predict("rna", "ephys", indices=[0], quantiles=many).notna().all(axis=None)
    with pytest.raises(ValueError, match=r"need at least 49 validation cells"):
        twice.predict("rna", "ephys", quantiles=many)


@pytest.mark.parametrize("kind", ["model", "ensemble"])
def test_saved_models_give_quantiles_without_their_data(data, model, ensemble, kind, tmp_path):
    predictor = model if kind == "model" else ensemble
    pairs = (("rna", "ephys"), ("ephys", "rna"), ("rna", "rna"), (["rna", "ephys"], "ephys"))
    query = mudata.MuData({name: adata.copy() for name, adata in data.mod.items()})
    loaded = []
    for number, one in enumerate(predictor.models):
        one.save(tmp_path / f"{number}")
        loaded.append(CoupledAE.load(tmp_path / f"{number}", adata=False))
    again = loaded[0] if kind == "model" else Ensemble.from_models(loaded)
    for pair in pairs:
        expected = predictor.predict(*pair, indices=range(20), quantiles=WANTED)
        found = again.predict(*pair, adata=query, indices=range(20), quantiles=WANTED)
        pd.testing.assert_frame_equal(found, expected)


def test_a_loaded_model_is_saved_and_loaded_again(data, model, tmp_path):
    model.save(tmp_path / "first")
    CoupledAE.load(tmp_path / "first", adata=False).save(tmp_path / "second")
    again = CoupledAE.load(tmp_path / "second", adata=False)
    pd.testing.assert_frame_equal(
        again.predict("rna", "ephys", adata=data, quantiles=WANTED),
        model.predict("rna", "ephys", quantiles=WANTED),
    )


def test_at_most_so_many_cells_calibrate_and_are_stored(data, model, monkeypatch):
    kept = model.fitted.calibration["ephys"].validation
    assert (kept.limits == kept.limits.max()).all()
    monkeypatch.setattr(_calibration, "MAX_CELLS", 15)
    monkeypatch.setattr(model, "_calibrations", {})  # those of earlier calls
    assert len(kept.chosen(["rna"])) == 15
    with pytest.raises(ValueError, match="at least 19 validation cells.* have as few as 1"):
        model.predict("rna", "ephys", quantiles=[0.05, 0.95])
    cells = np.arange(data.n_obs)
    some = calibration_cells(model.module, model.align(), cells, "ephys")
    paired = np.isfinite(some.latents["rna"][:, 0])
    assert [int(paired.sum()), int((~paired).sum())] == [15, 15]
    monkeypatch.setattr(_calibration, "MAX_VALUES", 5 * data["ephys"].n_vars)
    fewer = calibration_cells(model.module, model.align(), cells, "ephys")
    assert len(fewer.names) == 10


def test_stored_cells_are_a_uniform_sample_of_any_patterns(data, model, monkeypatch):
    """Half of the cells of a frequent pattern are stored: of a rare one only half may be used together with it."""
    monkeypatch.setattr(_calibration, "MAX_CELLS", 20)
    present = {name: x.present for name, x in ((m, model.align()[m]) for m in model.modalities)}
    both = np.flatnonzero(present["rna"] & present["ephys"])[:40]
    only = np.flatnonzero(present["ephys"] & ~present["rna"])[:10]
    kept = calibration_cells(model.module, model.align(), np.concatenate([both, only]), "ephys")
    assert len(kept.chosen(["rna"])) == 20
    alone = ~np.isfinite(kept.latents["rna"][:, 0])
    assert alone.sum() == 10
    monkeypatch.setattr(_calibration, "MAX_CELLS", 1000)
    chosen = kept.chosen(["ephys"])
    assert kept.ranks[chosen].max() <= kept.limits[~alone].min()
    # The sample is every cell of either pattern up to that rank.
    assert len(chosen) == (kept.ranks <= kept.limits[~alone].min()).sum()


def test_training_replaces_the_calibration(data):
    model = fit(data, **HALF)
    before = model.fitted.calibration["ephys"].validation
    model.train(max_epochs=1, monitor=None, **QUIET)
    after = model.fitted.calibration["ephys"].validation
    np.testing.assert_array_equal(before.names, after.names)
    assert not np.allclose(before.latents["rna"], after.latents["rna"], equal_nan=True)


def test_a_learnt_spread_where_nothing_validates():
    mdata = make_mdata(150)
    CoupledAE.setup_mudata(mdata, likelihoods={"ephys": "gaussian"})
    models = [fit(mdata, max_epochs=20, train_size=1.0, seed=seed) for seed in (0, 1)]
    plain = models[0].predict("rna", "ephys").to_numpy()
    table = models[0].predict("rna", "ephys", quantiles=[0.1, 0.5, 0.8413447])
    spread = models[0].module.arm("ephys").likelihood.learnt_scale(1).numpy()
    np.testing.assert_allclose(level(table, 0.5), plain, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        level(table, 0.8413447) - plain, np.where(np.isnan(plain), np.nan, spread), rtol=1e-3
    )
    assert (table.dtypes == np.float32).all()
    own = models[0].predict("ephys", "ephys", quantiles=[0.1, 0.9])
    assert (level(own, 0.9) - level(own, 0.1)).notna().any(axis=None)
    several = models[0].predict(["rna", "ephys"], "ephys", quantiles=[0.1, 0.9])
    assert several.notna().any(axis=None)
    ensemble = Ensemble.from_models(models)
    both = ensemble.predict("rna", "ephys", quantiles=[0.1, 0.5, 0.9])
    np.testing.assert_allclose(level(both, 0.5), ensemble.predict("rna", "ephys"), rtol=1e-4, atol=1e-4)
    wide = level(both, 0.9) - level(both, 0.1)
    spreads = [m.module.arm("ephys").likelihood.learnt_scale(1).numpy() for m in models]
    least = 2 * 1.28155 * np.sqrt(np.mean(np.square(spreads), axis=0))
    assert (wide.dropna() >= 0.999 * least).all(axis=None)
    with pytest.raises(ValueError, match="no validation cells to calibrate quantiles on"):
        models[0].predict("ephys", "rna", quantiles=[0.1, 0.9])


def test_validation_cells_calibrate_a_gaussian_likelihood_too():
    mdata = make_mdata(150)
    CoupledAE.setup_mudata(mdata, likelihoods={"ephys": "gaussian"})
    model = fit(mdata, **HALF)
    expected = model.predict("rna", "ephys", quantiles=[0.2, 0.8])
    for parameter in model.module.arm("ephys").likelihood.parameters():
        parameter.data += 3
    pd.testing.assert_frame_equal(model.predict("rna", "ephys", quantiles=[0.2, 0.8]), expected)


def test_counts():
    mdata = make_mdata(200, {"rna": 12, "ephys": 6})
    rng = np.random.default_rng(0)
    rates = np.exp(mdata["rna"].X / 5) * rng.uniform(5, 20, size=(mdata["rna"].n_obs, 1))
    mdata["rna"].X = rng.poisson(rates).astype(np.float32)
    CoupledAE.setup_mudata(mdata, likelihoods={"rna": "negative_binomial"})
    model = fit(mdata, max_epochs=20, **HALF)
    table = model.predict("ephys", "rna", quantiles=[0.1, 0.9])
    assert (table.dropna() >= 0).all(axis=None)
    counts = measured(mdata, "rna")
    depth = counts.sum(axis=1)
    library = model.predict("ephys", "rna").sum(axis=1).mean()
    truth = counts.div(depth, axis=0) * library
    known = truth.notna() & level(table, 0.1).notna()
    inside = (truth >= level(table, 0.1)) & (truth <= level(table, 0.9))
    assert 0.7 < inside.to_numpy()[known.to_numpy()].mean() < 0.9


def test_labels_have_no_quantiles():
    mdata = make_mdata(150)
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    model = fit(mdata, **HALF)
    for predictor in (model, Ensemble.from_models([model])):
        with pytest.raises(ValueError, match="'kind' are labels.*Leave out quantiles"):
            predictor.predict("rna", "kind", quantiles=[0.1, 0.9])
        assert predictor.predict("kind", "ephys", quantiles=[0.1, 0.9]).notna().all(axis=None)
    assert set(model.fitted.calibration) == {"rna", "ephys", "kind"}
    # Sets of classes need no training cells.
    assert [len(cells.names) > 0 for cells in model.fitted.calibration["kind"]] == [False, True]


def test_what_cannot_be_calibrated(data, model):
    bare = fit(data, train_size=1.0)
    for predictor in (bare, Ensemble.from_models([bare])):
        with pytest.raises(ValueError, match="no validation cells to calibrate quantiles on"):
            predictor.predict("rna", "ephys", quantiles=[0.1, 0.9])
    assert bare.fitted.calibration == {}
    with pytest.raises(ValueError, match="above 0 and below 1"):
        model.predict("rna", "ephys", quantiles=[5, 95])
    with pytest.raises(RuntimeError, match="not trained"):
        CoupledAE(data).predict("rna", "ephys", quantiles=[0.1, 0.9])


def test_some_models_without_validation_cells():
    mdata = make_mdata(150)
    CoupledAE.setup_mudata(mdata, likelihoods={"ephys": "gaussian"})
    mixed = Ensemble.from_models([fit(mdata, **HALF), fit(mdata, train_size=1.0)])
    with pytest.raises(ValueError, match="1 of 2 models have no validation cells"):
        mixed.predict("rna", "ephys", quantiles=[0.2, 0.8])


def test_no_quantiles_of_a_batch():
    mdata = make_mdata(150)
    mdata.obs["rig"] = np.where(np.arange(mdata.n_obs) % 2, "a", "b")
    CoupledAE.setup_mudata(mdata, batch_key={"ephys": "rig"})
    model = fit(mdata, **HALF)
    assert model.predict("rna", "ephys", quantiles=[0.2, 0.8]).notna().any(axis=None)
    with pytest.raises(ValueError, match="leave out transform_batch, or quantiles"):
        model.predict("rna", "ephys", transform_batch="a", quantiles=[0.2, 0.8])
