"""Cells of a query get a class, a set that holds theirs as often as stated, and words where neither is known."""

from __future__ import annotations

import warnings

import mudata
import numpy as np
import pandas as pd
import pytest
import scvi

from conftest import fit, make_modality
from scvi_cae import CoupledAE, Ensemble

KINDS = np.array(["a", "b", "c", "d"])


def make_cells(n_cells: int, seed: int, shift: float = 0.0) -> mudata.MuData:
    """Cells of four kinds that overlap; each cell has one modality or both."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(4, size=n_cells)
    centres = np.random.default_rng(0).normal(size=(4, 4))
    z = centres[kind] + 0.7 * rng.normal(size=(n_cells, 4))
    names = np.array([f"cell{seed}_{k}" for k in range(n_cells)])
    modalities = {}
    for number, (name, n) in enumerate({"rna": 20, "ephys": 8}.items()):
        maps = np.random.default_rng(number).normal(size=(4, n))
        values = z @ maps + rng.normal(size=(n_cells, n))
        if name == "ephys":
            values += shift * np.random.default_rng(5).normal(size=n) * 2
        has = np.arange(n_cells) % 4 != 2 * number + 1
        modalities[name] = make_modality(values[has], names[has], name)
    mdata = mudata.MuData(modalities)
    mdata.obs["kind"] = pd.Series(KINDS[kind], index=names).reindex(mdata.obs_names)
    return mdata


def train(mdata: mudata.MuData) -> Ensemble:
    Ensemble.setup_mudata(mdata, labels_key="kind")
    scvi.settings.seed = 0
    ensemble = Ensemble(mdata, n_models=3, n_latent=4)
    ensemble.train(max_epochs=25)
    return ensemble


@pytest.fixture(scope="module")
def ensemble():
    return train(make_cells(600, 1))


@pytest.fixture(scope="module")
def model():
    mdata = make_cells(600, 1)
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    return fit(mdata, n_latent=4, max_epochs=25, train_size=0.6, monitor=None)


def prepared(model, n_cells: int = 800, seed: int = 2, labelled: int = 0, **kwargs: float):
    """A query, some of whose cells keep their class, and the class of each."""
    cells = make_cells(n_cells, seed, **kwargs)
    truth = cells.obs["kind"].astype(object).copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that are unlike those of the training
        query = type(model).prepare_query_mudata(cells, model)
    keep = np.random.default_rng(0).permutation(n_cells) < labelled
    query.obs["kind"] = truth.where(keep, None)
    return query, truth, keep


def coverage_of(table: pd.DataFrame, truth: pd.Series, rows: np.ndarray) -> float:
    sets = table["kind_set"].astype(object)
    return float(
        np.mean([kind in text.split(" | ") for kind, text in zip(truth[rows], sets[rows], strict=True)])
    )


@pytest.mark.parametrize("predictor", ["model", "ensemble"])
def test_sets_hold_the_class_of_nine_cells_in_ten(request, predictor):
    predictor = request.getfixturevalue(predictor)
    query, truth, _ = prepared(predictor)
    table = predictor.map_query(query)
    assert 0.86 < coverage_of(table, truth, np.ones(800, dtype=bool)) < 0.94
    sizes = table["kind_set"].astype(str).str.count(r"\|") + 1
    assert sizes.mean() < 3
    assert table["kind_calibrated"].all()
    assert table["kind_probability"].between(0.25, 1).all()
    first = table["kind_set"].astype(str).str.split(" | ", regex=False).str[0]
    assert (first == table["kind"].astype(str)).all()
    assert (table["kind"].astype(str) == truth).mean() > 0.6


def test_classes_are_those_of_predict_from_what_a_cell_has(ensemble):
    query, _, _ = prepared(ensemble, 80)
    table = ensemble.map_query(query)
    expected = ensemble.predict(["rna", "ephys"], "kind", adata=query)
    np.testing.assert_allclose(table["kind_probability"], expected.max(axis=1), rtol=1e-5)
    assert (table["kind"].astype(str) == expected.idxmax(axis=1)).all()
    there = {name: query.obs_names.isin(query[name].obs_names) for name in ("rna", "ephys")}
    named = np.where(there["rna"] & there["ephys"], "rna | ephys", np.where(there["rna"], "rna", "ephys"))
    assert (table["sources"].astype(str) == named).all()
    for name, has in there.items():
        np.testing.assert_array_equal(table[f"novelty_p_{name}"].notna(), has)
        np.testing.assert_allclose(table[f"novelty_p_{name}"], ensemble.novelty(query, name)["p_value"])


def test_one_source(ensemble):
    query, _, _ = prepared(ensemble, 80)
    table = ensemble.map_query(query, labels="kind", source="ephys")
    lacking = ~query.obs_names.isin(query["ephys"].obs_names)
    for name in ("kind", "kind_probability", "kind_set", "sources"):
        np.testing.assert_array_equal(table[name].isna(), lacking)
    assert not table.loc[lacking, "kind_calibrated"].any()
    assert set(table["sources"].dropna()) == {"ephys"}


def test_the_query_has_the_columns_and_keeps_its_own(ensemble):
    query, _, keep = prepared(ensemble, 80, labelled=40)
    before = query.obs.copy()
    table = ensemble.map_query(query)
    pd.testing.assert_frame_equal(query.obs[before.columns], before)
    for name in table:
        pd.testing.assert_series_equal(query.obs[f"cae_{name}"], table[name], check_names=False)
    assert query.obs["kind"].notna().sum() == keep.sum()


def test_sets_are_recalibrated_on_labelled_cells_of_a_shifted_query(ensemble):
    found = {}
    for labelled in (0, 200):
        query, truth, keep = prepared(ensemble, labelled=labelled, shift=2.0)
        query.uns["scvi_cae_query"]["ephys"]["shifted"] = True
        table = ensemble.map_query(query, source="ephys")
        has = table["sources"].notna().to_numpy()
        assert (table.loc[has, "kind_calibrated"] == (labelled > 0)).all()
        found[labelled] = coverage_of(table, truth, has & ~keep)
    assert found[0] < 0.8
    assert 0.84 < found[200] < 0.96


def test_labelled_cells_correct_the_classes_of_the_others(ensemble):
    query, truth, keep = prepared(ensemble, shift=2.0, labelled=150)
    tables = [ensemble.map_query(query, source="ephys", adapt=adapt) for adapt in (False, True)]
    others = ~keep & tables[0]["sources"].notna().to_numpy()
    wrong, right = ((table["kind"].astype(str) == truth).to_numpy()[others].mean() for table in tables)
    assert right > wrong + 0.02
    assert 0.83 < coverage_of(tables[1], truth, others) < 0.97


def test_only_cells_with_a_shifted_modality_are_not_calibrated(ensemble):
    query, _, _ = prepared(ensemble, 80)
    query.uns["scvi_cae_query"]["ephys"]["shifted"] = True
    table = ensemble.map_query(query)
    np.testing.assert_array_equal(table["kind_calibrated"], ~query.obs_names.isin(query["ephys"].obs_names))


def test_cells_of_an_aligned_modality_are_not_calibrated(ensemble):
    query, _, _ = prepared(ensemble, shift=2.0)
    query.uns["scvi_cae_query"]["ephys"]["shifted"] = True
    aligned = ensemble.align_query(query, "moments", "ephys")
    assert not aligned.uns["scvi_cae_query"]["ephys"]["shifted"]
    table = ensemble.map_query(aligned)
    np.testing.assert_array_equal(
        table["kind_calibrated"], ~aligned.obs_names.isin(aligned["ephys"].obs_names)
    )


@pytest.mark.parametrize("labelled", [0, 200])
def test_cells_of_a_modality_that_lacks_features_are_calibrated_by_labelled_cells_alone(ensemble, labelled):
    cells = make_cells(800, 2)
    lacking = mudata.MuData({"ephys": cells["ephys"][:, :3].copy()})
    query = Ensemble.prepare_query_mudata(lacking, ensemble)
    truth = cells.obs["kind"].astype(object)[query.obs_names]
    query.obs["kind"] = truth.where(np.arange(query.n_obs) < labelled, None)
    table = ensemble.map_query(query)
    assert (table["kind_calibrated"] == (labelled > 0)).all()
    held = coverage_of(table, truth, np.arange(query.n_obs) >= labelled)
    assert 0.84 < held < 0.96 if labelled else held < 0.84


def test_too_few_labelled_cells_recalibrate_nothing(ensemble):
    query, _, _ = prepared(ensemble, 80, labelled=5)
    with pytest.warns(UserWarning, match="'kind': too few cells of the query have a class.*takes 9"):
        table = ensemble.map_query(query)
    query.obs["kind"] = None
    pd.testing.assert_frame_equal(ensemble.map_query(query), table)


def test_unknown_classes_are_named_and_not_used(ensemble):
    query, _, keep = prepared(ensemble, 800, labelled=200)
    expected = ensemble.map_query(query)
    query.obs.loc[~keep, "kind"] = "z"
    with pytest.warns(UserWarning, match="'kind': 600 cells of the query have classes.*'z'.*It knows 'a'"):
        table = ensemble.map_query(query)
    pd.testing.assert_frame_equal(table, expected)


def test_cells_that_adapted_a_model_do_not_calibrate_it(model):
    query, _, keep = prepared(model, 200, labelled=200, shift=1.0)
    query.uns["scvi_cae_query"]["ephys"]["shifted"] = True
    adapted = CoupledAE.load_query_data(query, model, arms=["ephys"])
    order = np.random.default_rng(0).permutation(200)
    adapted.train(max_epochs=2, external_indexing=[order[:100], order[100:]], enable_progress_bar=False)
    table = adapted.map_query(query)
    query.obs.loc[query.obs_names[order[:100]], "kind"] = None
    pd.testing.assert_frame_equal(adapted.map_query(query), table)
    # Nor are their sets.
    assert (table["kind_calibrated"].to_numpy() == np.isin(np.arange(200), order[100:])).all()


def test_a_loaded_model_maps_without_data(model, ensemble, tmp_path):
    for name, predictor in {"model": model, "ensemble": ensemble}.items():
        query, _, _ = prepared(predictor, 80)
        expected = predictor.map_query(query)
        predictor.save(tmp_path / name)
        loaded = type(predictor).load(tmp_path / name, adata=False)
        pd.testing.assert_frame_equal(loaded.map_query(query), expected, rtol=1e-4)


def test_without_validation_cells_sets_are_missing_with_a_word():
    mdata = make_cells(120, 1)
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    bare = fit(mdata, train_size=1.0)
    query, _, _ = prepared(bare, 80)
    with pytest.warns(
        UserWarning, match="'kind': too few validation cells have a class.*Sets are missing"
    ) as caught:
        table = bare.map_query(query)
    assert len(caught) == 1
    assert table["kind_set"].isna().all()
    assert not table["kind_calibrated"].any()
    assert table["kind"].notna().all()
    query, truth, keep = prepared(bare, 400, labelled=200)
    table = bare.map_query(query)
    assert table["kind_calibrated"].all()
    assert 0.8 < coverage_of(table, truth, ~keep) < 0.98


def test_models_of_several_seeds_count_as_one():
    mdata = make_cells(200, 1)
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    order = np.random.default_rng(0).permutation(200)
    split = [np.sort(order[:150]), np.sort(order[150:])]
    models = [fit(mdata, seed=seed, train_size=None, external_indexing=split) for seed in range(2)]
    ensemble = Ensemble.from_models(models)
    scores = ensemble._class_scores(["rna"], "kind")
    single = [model._class_scores(["rna"], "kind") for model in models]
    assert len(scores) == len(single[0]) == mdata[split[1]]["rna"].n_obs
    np.testing.assert_allclose(scores, ((single[0] + single[1]) / 2).sort_index(), rtol=1e-5)


def test_what_cannot_be_mapped(model):
    query, _, _ = prepared(model, 40)
    with pytest.raises(ValueError, match=r"coverage=90 must be a probability"):
        model.map_query(query, coverage=90)
    with pytest.raises(ValueError, match="labels='type': the model was set up with the labels 'kind'"):
        model.map_query(query, labels="type")
    with pytest.raises(ValueError, match="source='morph': the modalities.*'rna', 'ephys'"):
        model.map_query(query, source="morph")
    alone = mudata.MuData({"rna": query["rna"].copy()})
    with pytest.raises(
        ValueError, match="query has none of the modalities 'ephys' to map from; it has 'rna'"
    ):
        model.map_query(alone, source="ephys")
    with pytest.raises(ValueError, match="is a view"):
        model.map_query(query[:10])
    mdata = make_cells(60, 3)
    CoupledAE.setup_mudata(mdata)
    with pytest.raises(ValueError, match="no labels to map to.*labels_key="):
        fit(mdata).map_query(query)
