"""Which cells are which: by their names and their values."""

from __future__ import annotations

import mudata
import numpy as np
import pytest

from conftest import fit, make_mdata, make_modality
from scvi_cae import CoupledAE
from scvi_cae.evaluate import score


@pytest.fixture(scope="module")
def model():
    mdata = make_mdata(150)
    CoupledAE.setup_mudata(mdata)
    return fit(mdata, max_epochs=3, train_size=0.7, validation_size=0.2)


def sets(model, data):
    return model.set_membership(data).astype(object)


def test_sets_follow_cells_in_another_order(model):
    order = np.random.default_rng(0).permutation(model.adata.n_obs)
    other = model.adata[order].copy()
    own = sets(model, None)
    assert sets(model, other).reindex(own.index).equals(own)


def test_other_cells_of_the_same_names_are_unknown_and_those_of_a_query_tested(model):
    other = make_mdata(150, seed=7)
    known = other.obs_names.isin(model.adata.obs_names[model.train_indices])
    with pytest.warns(
        UserWarning, match="cells are named like cells that trained the model, but have other values"
    ):
        found = sets(model, other)
    assert found[known].isna().all()
    with pytest.warns(UserWarning, match="not distributed as the training cells"):
        query = CoupledAE.prepare_query_mudata(other, model)
    assert (sets(model, query) == "test").all()


def test_one_modality_in_the_units_of_the_training_identifies_a_cell(model):
    own, other = sets(model, None), model.adata.copy()
    other["ephys"].X = other["ephys"].X * 2
    both = np.isin(other.obs_names, other["rna"].obs_names)
    with pytest.warns(UserWarning, match="have other values"):  # cells with electrophysiology only
        found = sets(model, other)
    assert found[both].equals(own[both])
    recast = model.adata.copy()
    for adata in recast.mod.values():
        adata.X = adata.X.astype(np.float64)
    assert sets(model, recast).equals(own)


def test_a_model_given_other_data_of_the_same_names_scores_none_of_them(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = CoupledAE.load(tmp_path / "model", adata=make_mdata(150, seed=7))
    with pytest.warns(UserWarning, match="have other values"):
        assert not len(loaded.train_indices)
    with (
        pytest.warns(UserWarning, match="have other values"),
        pytest.raises(ValueError, match="not trained on these"),
    ):
        score(loaded)


def test_cells_of_a_modality_that_is_left_out_are_in_no_set():
    mdata = make_mdata(100)
    cells = np.array([f"other{i}" for i in range(20)])
    extra = make_modality(np.random.default_rng(3).normal(size=(20, 5)), cells, "atac_")
    wide = mudata.MuData({**mdata.mod, "atac": extra})
    CoupledAE.setup_mudata(wide, modalities=["rna", "ephys"])
    model = fit(wide, max_epochs=2)
    with pytest.warns(UserWarning, match="20 cells have none of the model's modalities.*Leave them out"):
        model.write_latent(wide)
    lacking = wide.obs_names.str.startswith("other")
    assert wide.obs["X_cae_set"][lacking].isna().all()
    assert not wide.obs["X_cae_set"][~lacking].isna().any()
    assert not np.isin(np.flatnonzero(lacking), model.train_indices).any()
    kept = wide[np.isfinite(wide.obsm["X_cae"]).all(1)]
    assert kept.n_obs == mdata.n_obs


def test_a_cell_that_has_a_label_only_is_itself(recwarn):
    mdata = make_mdata(150)
    both = mdata.obs_names[np.all([mdata.obs_names.isin(m.obs_names) for m in mdata.mod.values()], axis=0)]
    for adata in mdata.mod.values():
        adata.X[adata.obs_names.isin(both[:2])] = np.nan
    mdata.obs["type"] = np.where(np.arange(mdata.n_obs) % 2, "a", "b")
    with pytest.warns(UserWarning, match="have no value"):
        CoupledAE.setup_mudata(mdata, labels_key="type")
    model = fit(mdata, max_epochs=2)
    assert set(sets(model, None)[both[:2]]) <= {"training", "validation", "test"}
    assert not [w for w in recwarn if "have other values" in str(w.message)]
