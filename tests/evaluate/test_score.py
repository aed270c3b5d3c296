"""Scores of a model beside the baselines, on held-out cells."""

from __future__ import annotations

import numpy as np
import pytest

import scvi_cae
from conftest import fit, make_mdata
from scvi_cae.evaluate import RidgeBaseline, foscttm, pooled_r2, score


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
    # the labels say nothing
    assert value(table, "type mean", "rna", "ephys") < 0.1


def test_values_are_those_of_the_public_pieces(model):
    mdata, test, train = model.adata, model.test_indices, model.train_indices

    def values(name, cells):
        frame = mdata[name].to_df().reindex(mdata.obs_names[cells])
        return frame.to_numpy()

    both = np.array([c for c in test if all(mdata.obs_names[c] in mdata[m].obs_names for m in mdata.mod)])
    mean, scale = np.nanmean(values("ephys", train), 0), np.nanstd(values("ephys", train), 0)
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


def test_baselines_do_not_see_held_out_cells(monkeypatch):
    """Whatever stands in the test cells, the baselines predict the same of the same source."""
    fits = []

    class Spy(RidgeBaseline):
        def fit(self, source, target):
            fits.append((np.array(source), np.array(target)))
            return super().fit(source, target)

    monkeypatch.setattr("scvi_cae.evaluate._score.RidgeBaseline", Spy)
    mdata = make_mdata(missing={"ephys": 0.05})
    model = split_fit(mdata, max_epochs=1)
    before = score(model)
    for adata in mdata.mod.values():
        held_out = adata.obs_names.isin(mdata.obs_names[np.r_[model.test_indices, model.validation_indices]])
        adata.X[held_out] += 1000
    after = score(model)
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
    # read from the layer, whose values the model's mean and scale fit
    assert value(table, "ridge", "ephys", "rna") > 0


def test_it_names_what_is_wrong(model, tmp_path):
    with pytest.raises(KeyError, match="nope"):
        score(model, labels_key="nope")
    with pytest.raises(ValueError, match="outside the"):
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
    # Depth alone would be most of the variance of raw counts, and cannot be known.
    assert table["CoupledAE", "rna", "rna", "r2"] > 0.4
    assert table["ridge", "ephys", "rna", "r2"] > 0.2
