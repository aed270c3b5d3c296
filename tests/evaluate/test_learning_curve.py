from __future__ import annotations

import logging
import re
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import scvi
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from conftest import make_mdata
from scvi_cae import CoupledAE, Ensemble
from scvi_cae.data import obs_column
from scvi_cae.evaluate import KernelRidgeBaseline, RidgeBaseline, compare, learning_curve, pooled_r2
from scvi_cae.splits import Split, k_fold

COLUMNS = ["method", "source", "target", "n_pairs", "reference", "fold", "seed", "metric", "value", "n_cells"]
PAIRED = {"rna": 1.0, "ephys": 1.0}


class Mean:
    """Predicts the mean of the data that it is given, or the values themselves; remembers both."""

    def __init__(self, mdata, split, value=None):
        self.mdata, self.split, self.value, self.seed = mdata, split, value, scvi.settings.seed

    def predict(self, source, target, indices):
        table = self.mdata[target].to_df()
        value = table.mean() if self.value is None else self.value[target]
        return pd.DataFrame(np.tile(value, (len(indices), 1)), columns=table.columns)

    def names(self, cells, modality):
        return set(self.mdata.obs_names[cells]) & set(self.mdata[modality].obs_names)

    def trained(self, modality):
        return self.names(self.split.train, modality)


@pytest.fixture(scope="module")
def mdata():
    out = make_mdata(fraction=PAIRED, missing={})
    CoupledAE.setup_mudata(out)
    return out


def recorder():
    """A list, and a function that trains a model and adds it to the list."""
    models = []

    def train(mdata, split):
        models.append(Mean(mdata, split))
        return models[-1]

    return models, train


def values(mdata, name, cells):
    return mdata[name].to_df().loc[mdata.obs_names[cells]].to_numpy(float)


def moments(mdata, name, cells):
    x = values(mdata, name, cells)
    return np.nanmean(x, axis=0), np.nanstd(x, axis=0)


def test_rows_of_each_method_direction_size_reference_fold_and_seed(mdata):
    table = learning_curve(
        mdata, [40, 20], 3, [3, 5], reference=[None, "rna"], models={"mean": Mean}, baselines=["ridge"]
    )
    assert table.columns.tolist() == COLUMNS
    assert len(table) == 2 * 2 * 2 * 3 * (2 + 1)
    assert not table.duplicated(COLUMNS[:7]).any()
    assert set(table["reference"]) == {"none", "rna"}
    assert set(table.query("method == 'ridge'")["seed"]) == {3}
    assert set(table["n_cells"]) == {40}
    assert table["value"].notna().all()


def test_all_sizes_are_scored_on_the_scale_of_all_training_cells(mdata):
    fold = k_fold(mdata, 3)[0]
    mean = {name: moments(mdata, name, fold.train)[0] for name in mdata.mod}
    table = learning_curve(
        mdata,
        [10, 20, 40],
        [fold],
        reference=[None, "ephys"],
        models={"mean": lambda mdata, split: Mean(mdata, split, mean)},
        baselines=["ridge"],
    )
    # The mean of all training cells explains nothing, whatever the size.
    np.testing.assert_allclose(table.query("method == 'mean'")["value"], 0, atol=1e-6)
    order = np.random.RandomState(0).permutation(fold.train)
    ridge = table.query("method == 'ridge' and source == 'rna' and reference == 'none'").set_index("n_pairs")
    for n in (10, 20, 40):
        x, y = (values(mdata, name, order[:n]) for name in ("rna", "ephys"))
        predicted = RidgeBaseline().fit(x, y).predict(values(mdata, "rna", fold.test))
        expected = pooled_r2(
            values(mdata, "ephys", fold.test), predicted, *moments(mdata, "ephys", fold.train)
        )
        assert ridge.loc[n, "value"] == pytest.approx(expected, abs=1e-6)


def test_a_baseline_sees_the_source_of_the_reference(mdata):
    fold = k_fold(mdata, 3)[0]
    table = learning_curve(
        mdata, [20], [fold], reference="rna", models={}, baselines={"krr": KernelRidgeBaseline()}
    )
    order = np.random.RandomState(0).permutation(fold.train)
    y = values(mdata, "ephys", order).copy()
    y[20:] = np.nan
    predicted = KernelRidgeBaseline().fit(values(mdata, "rna", order), y)
    expected = pooled_r2(
        values(mdata, "ephys", fold.test),
        predicted.predict(values(mdata, "rna", fold.test)),
        *moments(mdata, "ephys", fold.train),
    )
    found = table.query("source == 'rna'")["value"].item()
    assert found == pytest.approx(expected, abs=1e-5)
    # No electrophysiology is left to the others, so that a regression from it has only the pairs.
    alone = learning_curve(mdata, [20], [fold], models={}, baselines={"krr": KernelRidgeBaseline()})
    for source, same in (("ephys", True), ("rna", False)):
        pair = [t.query(f"source == '{source}'")["value"].item() for t in (table, alone)]
        assert (pair[0] == pytest.approx(pair[1])) is same


def test_objects_that_know_no_missing_values_are_fitted_to_pairs_alone(mdata):
    table = learning_curve(mdata, [20], 2, models={}, baselines=[Ridge()])
    assert table["value"].notna().all()


@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(2, 30), min_size=1, max_size=3, unique=True),
    reference=st.sampled_from([None, "rna", "ephys"]),
    shuffle=st.booleans(),
    seed=st.integers(0, 5),
)
def test_pairs_are_nested_and_held_out_cells_never_train(sizes, reference, shuffle, seed):
    mdata = make_mdata(90, {"rna": 4, "ephys": 3}, {"rna": 0.8, "ephys": 0.7}, {}, seed)
    CoupledAE.setup_mudata(mdata)
    has = {name: set(mdata[name].obs_names) for name in mdata.mod}
    names = mdata.obs_names
    paired = np.flatnonzero(names.isin(has["rna"] & has["ephys"]))
    rng = np.random.default_rng(seed)
    test = rng.permutation(mdata.n_obs)[:10]
    train = rng.permutation(np.setdiff1d(np.arange(mdata.n_obs), test))
    enough = np.intersect1d(paired, train)
    sizes = [min(n, len(enough)) for n in sizes]
    models, fit = recorder()
    learning_curve(
        mdata,
        sorted(set(sizes)),
        [Split(train, None, test)],
        reference=reference,
        models={"mean": fit},
        baselines=[],
        shuffle=shuffle,
    )
    order = np.random.RandomState(0).permutation(train) if shuffle else train
    order = [names[cell] for cell in order if cell in enough]
    for n, model in zip(sorted(set(sizes)), models, strict=True):
        pairs = model.trained("rna") & model.trained("ephys")
        assert pairs == set(order[:n])
        for name in ("rna", "ephys"):
            kept = set(names[train]) & has[name] if name == reference else pairs
            assert model.trained(name) == kept
            assert model.names(model.split.test, name) == set(names[test]) & has[name]
        assert not set(model.split.train) & set(model.split.test)
        assert set(model.mdata.obs_names[model.split.train]) <= set(names[train])


def test_a_feature_constant_in_the_pairs_is_scored_as_its_constant():
    mdata = make_mdata(fraction=PAIRED, missing={})
    split = Split(np.arange(80), None, np.arange(80, 120))
    rows = mdata["rna"].obs_names.get_indexer(mdata.obs_names[:20])
    mdata["rna"].X[rows, 0] = 7
    CoupledAE.setup_mudata(mdata)
    table = learning_curve(mdata, [20], [split], models={}, baselines=["ridge"], shuffle=False)
    predicted = RidgeBaseline().fit(
        values(mdata, "ephys", split.train[:20]), values(mdata, "rna", split.train[:20])
    )
    predicted = predicted.predict(values(mdata, "ephys", split.test))
    assert np.ptp(predicted[:, 0]) == 0
    expected = pooled_r2(values(mdata, "rna", split.test), predicted, *moments(mdata, "rna", split.train))
    assert table.query("target == 'rna'")["value"].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("n_values", "scored"), [(0, False), (9, False), (10, True)])
def test_a_feature_with_few_values_in_the_fewest_pairs_is_left_out_for_all_sizes(n_values, scored):
    mdata = make_mdata(fraction=PAIRED, missing={})
    split = Split(np.arange(80), None, np.arange(80, 120))
    rows = mdata["ephys"].obs_names.get_indexer(mdata.obs_names[n_values:20])
    mdata["ephys"].X[rows, 0] = np.nan
    CoupledAE.setup_mudata(mdata)
    whole = {name: moments(mdata, name, split.train)[0] for name in mdata.mod}
    whole["ephys"][0] += 100
    message = re.escape("'ephys_0' of 'ephys' in fold 0. To score them")
    with nullcontext() if scored else pytest.warns(UserWarning, match=message):
        table = learning_curve(
            mdata,
            [20, 40],
            [split],
            models={"mean": lambda mdata, split: Mean(mdata, split, whole)},
            baselines=["ridge"],
            shuffle=False,
        )
    found = table.query("method == 'mean' and target == 'ephys'")["value"]
    assert (found.abs() > 1).all() if scored else np.allclose(found, 0, atol=1e-6)


def test_subsets_are_set_up_as_the_data_are():
    mdata = make_mdata(fraction=PAIRED, missing={})
    for name in mdata.mod:
        mdata[name].layers["scaled"] = mdata[name].X / 2
    kind = pd.Series(np.where(np.arange(120) % 2, "a", "b"), index=mdata.obs_names)
    mdata["ephys"].obs["side"] = kind.reindex(mdata["ephys"].obs_names)
    mdata["ephys"].obs["run"] = kind.reindex(mdata["ephys"].obs_names)
    CoupledAE.setup_mudata(
        mdata,
        layers={"rna": "scaled"},
        labels_key="side",
        batch_key={"rna": "run"},
        likelihoods={"ephys": "gaussian"},
    )
    models, fit = recorder()
    learning_curve(mdata, [20], 2, reference="rna", models={"mean": fit}, baselines=["ridge"])
    expected, found = CoupledAE(mdata).setup, CoupledAE(models[0].mdata).setup
    assert expected == found
    for key in ("side", "run"):  # also of the cells that keep no electrophysiology
        column = obs_column(models[0].mdata, key, "rna")
        assert column.astype(str).equals(kind.loc[column.index].astype(str))


def test_seeds_are_set_for_each_training_and_then_what_they_were(mdata, monkeypatch):
    monkeypatch.setattr(scvi.settings, "_seed", 11)
    models, fit = recorder()
    learning_curve(mdata, [20], k_fold(mdata, 2)[:1], [4, 6], models={"mean": fit}, baselines=[])
    assert [model.seed for model in models] == [4, 6]
    assert scvi.settings.seed == 11


def test_models_with_names_are_trained_by_default(mdata, monkeypatch, caplog):
    train_one = CoupledAE.train
    monkeypatch.setattr(CoupledAE, "train", lambda self, **kwargs: train_one(self, 2, **kwargs))
    train = Ensemble.train
    monkeypatch.setattr(Ensemble, "train", lambda self, **kwargs: train(self, 2, **kwargs))
    with caplog.at_level(logging.INFO, "scvi_cae"):
        table = learning_curve(mdata, [30], 2, reference="rna")
    assert table["method"].unique().tolist() == ["Ensemble", "CoupledAE", "ridge", "tuned kernel ridge"]
    assert table["value"].notna().all()
    assert "Fitted 'CoupledAE': 30 pairs, reference rna, fold 1, seed 0." in caplog.messages
    assert compare(table, "Ensemble", "ridge", test_fraction=0.5)["n_folds"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": []}, "sizes is empty"),
        ({"sizes": [1]}, "each of sizes"),
        ({"sizes": [20.5]}, "each of sizes"),
        (
            {"sizes": [20, 70]},
            "sizes has 70, but split 0 has 60 training cells with all of 'rna', 'ephys'. Give sizes up to 60: "
            "sizes=[20, 60].",
        ),
        ({"reference": "RNA"}, "reference names 'RNA', which is not among the modalities 'rna', 'ephys'"),
        ({"models": ["ensemble"]}, "There is no model 'ensemble'. Give some of 'Ensemble', 'CoupledAE'"),
        ({"baselines": ["type mean"]}, "Baseline 'type mean' needs each cell's type"),
        ({"baselines": ["pca"]}, "Baseline 'pca' reconstructs a modality from itself"),
        ({"baselines": ["rigde"]}, "There is no baseline 'rigde'"),
        (
            {"splits": [Split(np.arange(60), None, np.arange(50, 70))]},
            "Split 0 tests cells that it trains on",
        ),
        ({"models": ["CoupledAE"], "sizes": [5]}, "Only 5 of the 5 training cells have both"),
    ],
)
def test_errors(mdata, changes, message):
    arguments = {"sizes": [20], "splits": 2, "models": {}, "baselines": []} | changes
    with pytest.raises(ValueError, match=re.escape(message)):
        learning_curve(mdata, **arguments)


def test_counts_are_refused(mdata):
    counts = make_mdata(fraction=PAIRED, missing={})
    counts["rna"].X = np.round(np.abs(counts["rna"].X))
    CoupledAE.setup_mudata(counts, likelihoods={"rna": "negative_binomial"})
    with pytest.raises(ValueError, match="Modality 'rna' holds counts"):
        learning_curve(counts, [20], 2)
