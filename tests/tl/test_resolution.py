"""Accuracy of classifiers from few classes to many."""

from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest

from conftest import make_modality
from scvi_cae.tl import Taxonomy, classify_by_resolution

#: Four types, two in each of two families; "b3" has few cells.
TREE = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "b3": "b"}


def make(n=60, spread=0.2, n_latent=2, seed=0):
    """Latents that determine the type in the first modality, and only the family in the second."""
    rng = np.random.default_rng(seed)
    types = np.array(list(TREE))[np.r_[rng.integers(0, 4, 4 * n), np.full(5, 4)]]
    position = {"a1": (-9, -1), "a2": (-9, 1), "b1": (9, -1), "b2": (9, 1), "b3": (9, 9)}
    z = np.zeros((len(types), n_latent))
    z[:, :2] = np.array([position[t] for t in types])
    z = z + spread * rng.normal(size=z.shape)
    blurred = z.copy()
    blurred[:, 1:] = rng.normal(size=(len(types), n_latent - 1))
    cells = np.array([f"cell{i}" for i in range(len(types))])
    mdata = mudata.MuData({name: make_modality(z, cells, name) for name in ("one", "two")})
    mdata.obsm["X_cae_one"], mdata.obsm["X_cae_two"] = z, blurred
    mdata.obs["type"] = types
    mdata.obs["X_cae_set"] = pd.Categorical(np.where(np.arange(len(types)) % 4, "training", "test"))
    return mdata


@pytest.fixture
def tree():
    return Taxonomy.from_pairs(TREE)


def test_fine_types_are_in_one_modality_and_families_in_both(tree):
    table = classify_by_resolution(make(), "type", tree, [2, 5])
    assert table.columns.tolist() == [
        "modality",
        "n_asked",
        "n_classes",
        "n_fitted",
        "accuracy",
        "dummy_accuracy",
        "n_cells",
        "n_left_out",
        "n_training",
    ]
    accuracy = table.pivot(index="n_classes", columns="modality", values="accuracy")
    assert accuracy.loc[2].tolist() == [1, 1]
    assert accuracy.loc[5, "one"] == 1
    assert 0.3 < accuracy.loc[5, "two"] < 0.75
    assert (table["dummy_accuracy"] < 0.6).all()


def test_rare_classes_are_left_out_and_counted(tree):
    mdata = make()
    test = (mdata.obs["X_cae_set"] == "test").to_numpy()
    rare = (mdata.obs["type"] == "b3").to_numpy()
    table = classify_by_resolution(mdata, "type", tree, [5, 2], modalities=["one"])
    fine, coarse = table.to_dict("records")
    assert (fine["n_classes"], fine["n_fitted"]) == (5, 4)
    assert fine["n_left_out"] == (test & rare).sum() > 0
    assert fine["n_cells"] == (test & ~rare).sum()
    assert fine["n_training"] == (~test & ~rare).sum()
    assert (coarse["n_cells"], coarse["n_left_out"]) == (test.sum(), 0)


def test_all_resolutions_by_default(tree):
    table = classify_by_resolution(make(), "type", tree)
    assert table["n_classes"].unique().tolist() == [2, 5]
    assert table["n_asked"].equals(table["n_classes"])


def test_impossible_numbers_of_classes_are_rounded(tree):
    mdata = make()
    for rounding, achieved in (("up", 5), ("down", 2)):
        table = classify_by_resolution(mdata, "type", tree, [3], rounding=rounding)
        assert table["n_classes"].unique().tolist() == [achieved]


def test_held_out_cells_have_no_influence(tree):
    """Neither their labels on classes and dummy, nor their latents on the classifier."""
    mdata = make()
    test = (mdata.obs["X_cae_set"] == "test").to_numpy()
    first = classify_by_resolution(mdata, "type", tree, cells="training")
    for name in ("one", "two"):
        mdata.obsm[f"X_cae_{name}"][test] = 100.0
    mdata.obs.loc[test, "type"] = "b3"
    pd.testing.assert_frame_equal(classify_by_resolution(mdata, "type", tree, cells="training"), first)
    none = classify_by_resolution(mdata, "type", tree, [5])
    assert none["accuracy"].isna().all()
    assert (none["n_left_out"] == test.sum()).all()


def test_cells_without_label_or_modality_are_no_cells(tree):
    mdata = make()
    test = np.flatnonzero(mdata.obs["X_cae_set"] == "test")
    mdata.obs["type"] = mdata.obs["type"].astype(object)
    mdata.obs.iloc[test[:10], mdata.obs.columns.get_loc("type")] = None
    mdata.obsm["X_cae_two"][test[10:25]] = np.nan
    table = classify_by_resolution(mdata, "type", tree, [2]).set_index("modality")
    assert table["n_cells"].to_dict() == {"one": len(test) - 10, "two": len(test) - 25}


def test_more_dimensions_take_more_cells(tree):
    mdata = make(n=20, n_latent=12)
    mdata = mdata[np.r_[:80]].copy()
    small = classify_by_resolution(mdata, "type", tree, [4], modalities=["one"], n_dimensions=2).iloc[0]
    assert small["n_fitted"] == 4
    assert small["accuracy"] == 1
    # In 12 dimensions, a class needs 13 cells.
    sizes = mdata.obs.loc[mdata.obs["X_cae_set"] == "training", "type"].value_counts()
    full = classify_by_resolution(mdata, "type", tree, [4], modalities=["one"]).iloc[0]
    assert full["n_fitted"] == (sizes >= 13).sum()


def test_a_single_class_is_always_right(tree):
    row = classify_by_resolution(make(), "type", tree, [1], modalities=["one"]).iloc[0]
    assert (row["n_fitted"], row["accuracy"], row["dummy_accuracy"]) == (1, 1, 1)


def test_it_names_what_is_missing(tree):
    mdata = make()
    with pytest.raises(KeyError, match="'b3' is not in the taxonomy"):
        classify_by_resolution(
            mdata, "type", Taxonomy.from_pairs({"a1": "a", "a2": "a", "b1": "b", "b2": "b"})
        )
    with pytest.raises(KeyError, match="'cluster'"):
        classify_by_resolution(mdata, "cluster", tree)
    with pytest.raises(KeyError, match="'X_pca'"):
        classify_by_resolution(mdata, "type", tree, use_rep="X_pca")
    mdata.obs["type"] = None
    with pytest.raises(ValueError, match="No training cell has a label 'type'"):
        classify_by_resolution(mdata, "type", tree)
