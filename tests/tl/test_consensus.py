"""Types on which many fits agree."""

from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

import scvi_cae
from conftest import make_modality
from scvi_cae.tl import agreement, consensus_types

CENTRES = 6 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
KEYS = [f"Z{i}" for i in range(5)]


def many_fits(n_cells=250, n_fits=5, noise=1.0, seed=0):
    """The same latents in several fits, each with a rotation and errors of its own; some cells lack a modality."""
    rng = np.random.default_rng(seed)
    names = np.array([f"cell{i}" for i in range(n_cells)])
    types = rng.choice(4, n_cells, p=[0.4, 0.3, 0.2, 0.1])
    has = {"rna": np.arange(n_cells) % 7 != 0, "ephys": np.arange(n_cells) % 5 != 1}
    has["rna"] |= ~has["ephys"]
    mdata = mudata.MuData({n: make_modality(np.ones((h.sum(), 2)), names[h], n) for n, h in has.items()})
    place = pd.Index(names).get_indexer(mdata.obs_names)
    mdata.obs["true"] = pd.Categorical(np.array(list("dcba"))[types[place]])
    for i in range(n_fits):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        for name, h in has.items():
            z = (CENTRES[types] + noise * rng.normal(size=(n_cells, 3))) @ turn
            mdata.obsm[f"Z{i}_{name}"] = np.where(h[:, None], z, np.nan)[place]
        mdata.obs[f"Z{i}_set"] = np.where(place % 4 == 0, "test", "training")
    return mdata


@pytest.fixture(scope="module")
def found():
    mdata = many_fits()
    consensus_types(mdata, KEYS, n_init=2, reference_key="true")
    return mdata


def test_types_are_recovered_in_every_modality(found):
    types = found.uns["consensus_type"]["types"]
    assert types["reference"].tolist() == list("abcd")
    for name in ("rna", "ephys"):
        has = found.obs_names.isin(found[name].obs_names)
        labels = found.obs[f"consensus_type_{name}"]
        np.testing.assert_array_equal(labels.notna(), has)
        np.testing.assert_array_equal(found.obs[f"consensus_type_{name}_stability"].notna(), has)
        assert adjusted_rand_score(found.obs["true"][has], labels[has]) > 0.98
    assert (
        agreement(found, "consensus_type_rna", "consensus_type_ephys", use_rep="consensus_type")["ami"] > 0.98
    )


def test_a_consensus_is_better_than_single_fits():
    mdata = many_fits(n_cells=400, noise=2)
    consensus_types(mdata, KEYS, n_types=4, n_init=2)
    has = mdata.obs["consensus_type_rna"].notna()
    score = adjusted_mutual_info_score(mdata.obs["true"][has], mdata.obs["consensus_type_rna"][has])
    singles = []
    for key in KEYS:
        scvi_cae.tl.consistent_types(mdata, key, n_types=4, key_added="single", n_init=2)
        singles.append(adjusted_mutual_info_score(mdata.obs["true"][has], mdata.obs["single_rna"][has]))
    assert score > max(singles)


def test_stability_tells_right_cells_from_wrong_ones():
    mdata = many_fits(n_cells=400, noise=2)
    consensus_types(mdata, KEYS, n_types=4, n_init=2, reference_key="true")
    names = mdata.uns["consensus_type"]["types"]["reference"].to_dict()
    for name in ("rna", "ephys"):
        labels = mdata.obs[f"consensus_type_{name}"].map(names).astype(object)
        stability = mdata.obs[f"consensus_type_{name}_stability"]
        right = (labels == mdata.obs["true"].astype(object)) & labels.notna()
        assert stability[right].mean() > stability[~right & labels.notna()].mean() + 0.1
    assert stability.dropna().between(0, 1).all()


def test_a_type_that_few_fits_find_is_unstable():
    """With one type too many, each fit splits a random type, and the consensus shows it."""
    mdata = many_fits()
    consensus_types(mdata, KEYS, n_types=5, n_init=2, reference_key="true")
    types = mdata.uns["consensus_type"]["types"]
    assert types["jaccard"].min() < 0.5
    assert (types["jaccard"].nlargest(3) > 0.75).all()
    other = types.index[types["jaccard"].argmin()]
    near = types.loc[other, "nearest"]
    assert types.loc[other, "nearest_coassignment"] > 0.2
    assert near != other


def test_stability_of_types_is_that_of_their_training_cells(found):
    training = (found.obs["consensus_type_set"] == "training").to_numpy()
    table = found.obs[training].groupby("consensus_type_rna", observed=False)["consensus_type_rna_stability"]
    types = found.uns["consensus_type"]["types"]
    np.testing.assert_allclose(table.mean(), types["stability"])
    np.testing.assert_array_equal(table.count(), types["n_training"])
    assert (types["stability"] > 0.9).all()


def test_coassignment_by_hand():
    """If all fits are certain: the fraction of fits and other cells with the same type."""
    mdata = many_fits(noise=0.01)
    swapped = np.flatnonzero(np.isfinite(mdata.obsm["Z0_rna"][:, 0]) & (mdata.obs["Z0_set"] == "test"))[0]
    other = np.flatnonzero(
        (mdata.obs["true"] != mdata.obs["true"].iloc[swapped]) & mdata.obsm["Z0_rna"][:, 0]
    )
    other = next(i for i in other if np.isfinite(mdata.obsm["Z0_rna"][i, 0]))
    mdata.obsm["Z0_rna"][swapped] = mdata.obsm["Z0_rna"][other]
    consensus_types(mdata, KEYS, n_types=4, n_init=2)
    stability = mdata.obs["consensus_type_rna_stability"]
    assert stability.iloc[swapped] == pytest.approx(4 / 5)
    np.testing.assert_allclose(stability.dropna().drop(mdata.obs_names[swapped]), 1, atol=1e-6)


def test_fits_are_compared_in_pairs(found):
    table = found.uns["consensus_type"]["pairwise_ami"]
    assert table.groupby(["modality", "cells"]).size().eq(10).all()
    assert set(table["cells"]) == {"training", "held-out"}
    assert (table["ami"] > 0.8).all()
    assert len(found.uns["consensus_type"]["n_types_by_fit"]) == 5


def test_held_out_cells_fit_nothing(found):
    mdata = many_fits()
    test = (mdata.obs["Z0_set"] == "test").to_numpy()
    for key in KEYS:
        for name in ("rna", "ephys"):
            mdata.obsm[f"{key}_{name}"][test] *= -3
    mdata.obs["true"] = mdata.obs["true"].astype(object).where(~test, "new")
    consensus_types(mdata, KEYS, n_init=2, reference_key="true")
    pd.testing.assert_frame_equal(mdata.uns["consensus_type"]["types"], found.uns["consensus_type"]["types"])
    for column in ("consensus_type_rna", "consensus_type_ephys", "consensus_type_rna_stability"):
        pd.testing.assert_series_equal(mdata.obs[column][~test], found.obs[column][~test])


def test_another_modality_can_lead():
    mdata = many_fits()
    consensus_types(mdata, KEYS, "ephys", key_added="by_ephys", n_init=2)
    assert mdata.uns["by_ephys"]["params"]["modality"] == "ephys"
    assert agreement(mdata, "by_ephys_rna", "true", use_rep="by_ephys")["ami"] > 0.95


def test_one_type_is_next_to_none():
    mdata = many_fits()
    consensus_types(mdata, KEYS[:2], n_types=1, n_init=1)
    types = mdata.uns["consensus_type"]["types"]
    assert types["nearest"].tolist() == [""]


def test_cells_that_trained_any_fit_are_not_held_out():
    mdata = many_fits()
    cells = np.flatnonzero(mdata.obs["Z1_set"] == "test")
    mdata.obs.loc[mdata.obs_names[cells[:10]], "Z1_set"] = "training"
    consensus_types(mdata, KEYS, n_init=2)
    sets = mdata.obs["consensus_type_set"]
    assert (sets.iloc[cells[:10]] == "training").all()
    assert (sets.iloc[cells[10:]] == "test").all()
    trained = (mdata.obs["Z0_set"] == "training") & mdata.obs["consensus_type_rna"].notna()
    assert mdata.uns["consensus_type"]["types"]["n_training"].sum() == trained.sum()


def test_what_is_written_survives_a_file(found, tmp_path):
    found.write(tmp_path / "types.h5mu")
    again = mudata.read_h5mu(tmp_path / "types.h5mu")
    written, read = found.uns["consensus_type"], again.uns["consensus_type"]
    assert set(written) == set(read)
    assert read["types"]["nearest"].tolist() == written["types"]["nearest"].tolist()
    assert len(read["pairwise_ami"]) == len(written["pairwise_ami"])


def test_what_is_wrong_is_named():
    mdata = many_fits()
    with pytest.raises(ValueError, match="at least two fits"):
        consensus_types(mdata, KEYS[:1])
    with pytest.raises(ValueError, match="at least two fits"):
        consensus_types(mdata, "Z0")
    with pytest.raises(KeyError, match="Z9"):
        consensus_types(mdata, ["Z0", "Z9"])
    with pytest.raises(TypeError, match="not int"):
        consensus_types(mdata, [1, 2])
    with pytest.raises(ValueError, match="n_types=0"):
        consensus_types(mdata, KEYS, n_types=0)
    with pytest.raises(
        ValueError, match="cells with 'rna' are in the training sets of all fits, too few for 1000 types"
    ):
        consensus_types(mdata, KEYS, n_types=1000)
    with pytest.raises(KeyError, match="'morph'"):
        consensus_types(mdata, KEYS, "morph")
    with pytest.raises(KeyError, match="family"):
        consensus_types(mdata, KEYS, reference_key="family")
    trained = np.arange(mdata.n_obs) % 2 == 0
    mdata.obs["Z0_set"], mdata.obs["Z1_set"] = (np.where(t, "training", "test") for t in (trained, ~trained))
    with pytest.raises(
        ValueError, match=r"0 cells with 'rna' are in the training sets of all fits.*seeds=range"
    ):
        consensus_types(mdata, KEYS)
    del mdata.obsm["Z1_ephys"]
    with pytest.raises(ValueError, match="Fits 0 and 1 have latents of different modalities"):
        consensus_types(mdata, KEYS)


def test_simulated_types_are_found_by_many_models():
    mdata = scvi_cae.datasets.simulate_patchseq(
        n_cells=900, n_types=3, n_families=3, n_latent=3, missing_rate=0
    )
    scvi_cae.CoupledAE.setup_mudata(mdata)
    split = scvi_cae.splits.k_fold(mdata, 5)[0]
    fits = scvi_cae.fit_many(mdata, [split], range(3), settings=[{"n_latent": 3}], max_epochs=30)
    consensus_types(mdata, fits, n_types=3, n_init=2, reference_key="cell_type")
    for name in ("rna", "ephys"):
        assert agreement(mdata, f"consensus_type_{name}", "cell_type", use_rep="consensus_type")["ari"] > 0.6
    labels = mdata.obs["consensus_type_rna"].copy()
    consensus_types(
        mdata,
        scvi_cae.Ensemble.from_models([fit.model for fit in fits]),
        n_types=3,
        n_init=2,
        reference_key="cell_type",
    )
    pd.testing.assert_series_equal(mdata.obs["consensus_type_rna"], labels)
