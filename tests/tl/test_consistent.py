"""Types that are the same for every modality."""

from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

import scvi_cae
from conftest import make_modality
from scvi_cae.tl import agreement, consistent_types

CENTRES = 6 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
SIZES = [0.4, 0.3, 0.2, 0.1]


def typed_mdata(n_cells=300, noise=0.5, seed=0, key="X_cae", d=3, modalities=("rna", "ephys")):
    """Cells of four types, with latents under ``key``; some lack a modality, and every fifth is a test cell."""
    rng = np.random.default_rng(seed)
    names = np.array([f"cell{i}" for i in range(n_cells)])
    types = np.random.default_rng(0).choice(4, n_cells, p=SIZES)
    has = {name: np.random.default_rng(i + 1).random(n_cells) < 0.85 for i, name in enumerate(modalities)}
    has[modalities[0]] |= ~np.any(list(has.values()), axis=0)
    mdata = mudata.MuData(
        {name: make_modality(np.ones((n, 2)), names[has[name]], name) for name, n in
         ((name, int(has[name].sum())) for name in modalities)}
    )  # fmt: skip
    place = pd.Index(names).get_indexer(mdata.obs_names)
    mdata.obs["true"] = pd.Categorical(np.array(list("dcba"))[types[place]])
    mdata.obs[f"{key}_set"] = pd.Categorical(np.where(place % 5 == 0, "test", "training"))
    widen = np.eye(3, d) if d <= 3 else np.linalg.qr(rng.normal(size=(d, 3)))[0].T
    for name in modalities:
        z = (CENTRES[types[place]] + noise * rng.normal(size=(n_cells, 3))) @ widen
        z[~has[name][place]] = np.nan
        mdata.obsm[f"{key}_{name}"] = z
    return mdata


def test_types_are_recovered_in_every_modality():
    mdata = typed_mdata()
    consistent_types(mdata)
    for name in ("rna", "ephys"):
        found = mdata.obs[f"consistent_type_{name}"]
        has = mdata.obs_names.isin(mdata[name].obs_names)
        np.testing.assert_array_equal(found.notna(), has)
        np.testing.assert_array_equal(mdata.obs[f"consistent_type_{name}_probability"].notna(), has)
        assert list(found.cat.categories) == ["1", "2", "3", "4"]
        assert adjusted_rand_score(mdata.obs["true"][has], found[has]) > 0.99
    assert agreement(mdata, "consistent_type_rna", "consistent_type_ephys")["consistency"] > 0.99


def test_types_are_numbered_by_size():
    mdata = typed_mdata()
    consistent_types(mdata)
    types = mdata.uns["consistent_type"]["types"]
    assert types["n_training"].is_monotonic_decreasing
    training = (mdata.obs["X_cae_set"] == "training") & mdata.obs["consistent_type_rna"].notna()
    assert (
        types["n_training"].to_dict() == mdata.obs["consistent_type_rna"][training].value_counts().to_dict()
    )
    np.testing.assert_allclose(types["weight"], SIZES, atol=0.07)
    np.testing.assert_allclose(mdata.uns["consistent_type"]["means"][[0, 3]], CENTRES[[0, 3]], atol=0.3)


def test_types_are_numbered_by_a_reference():
    mdata = typed_mdata()
    mdata.obs.loc[mdata.obs_names[:20], "true"] = None
    consistent_types(mdata, reference_key="true")
    types = mdata.uns["consistent_type"]["types"]
    assert types["reference"].tolist() == list("abcd")
    assert (types["reference_share"] > 0.9).all()
    known = mdata.obs["true"].notna() & mdata.obs["consistent_type_rna"].notna()
    named = mdata.obs["consistent_type_rna"][known].map(types["reference"].to_dict())
    assert np.mean(named.astype(str) == mdata.obs["true"][known].astype(str)) > 0.98


def test_types_without_a_reference_label_come_last():
    mdata = typed_mdata()
    mdata.obs["two"] = mdata.obs["true"].astype(str).where(mdata.obs["true"].isin(["a", "d"])).astype(object)
    consistent_types(mdata, reference_key="two")
    types = mdata.uns["consistent_type"]["types"]
    assert types["reference"].tolist() == ["a", "d", "", ""]
    np.testing.assert_array_equal(types["reference_share"].isna(), [False, False, True, True])
    assert types["n_training"].iloc[2] > types["n_training"].iloc[3]


@pytest.mark.parametrize("modality", ["rna", "ephys"])
def test_only_training_cells_with_the_modality_fit_anything(modality):
    mdata, other = typed_mdata(), typed_mdata()
    test = (other.obs["X_cae_set"] == "test").to_numpy()
    for name in ("rna", "ephys"):
        z = other.obsm[f"X_cae_{name}"]
        z[test if name == modality else np.ones(len(z), dtype=bool)] += 100
        other.obsm[f"X_cae_{name}"] = z
    other.obs["true"] = other.obs["true"].astype(object).where(~test, "new")
    for each in (mdata, other):
        consistent_types(each, modality=modality, reference_key="true", n_init=2)
    ours, theirs = mdata.uns["consistent_type"], other.uns["consistent_type"]
    np.testing.assert_array_equal(ours["means"], theirs["means"])
    assert len(ours["means"]) == 4
    np.testing.assert_array_equal(ours["covariances"], theirs["covariances"])
    pd.testing.assert_frame_equal(ours["types"], theirs["types"])
    pd.testing.assert_frame_equal(ours["bic"], theirs["bic"])
    column = f"consistent_type_{modality}"
    pd.testing.assert_series_equal(mdata.obs[column][~test], other.obs[column][~test])


def test_training_cells_can_be_named():
    mdata = typed_mdata()
    del mdata.obs["X_cae_set"]
    with pytest.raises(KeyError, match="The set of each cell.*X_cae_set"):
        consistent_types(mdata)
    consistent_types(mdata, train_cells=np.arange(150))
    assert mdata.uns["consistent_type"]["types"]["n_training"].sum() <= 150


def test_latents_of_an_ensemble_are_reduced():
    mdata = typed_mdata(d=50)
    consistent_types(mdata, n_dimensions=3, reference_key="true")
    found = mdata.uns["consistent_type"]
    assert found["components"].shape == (3, 50)
    assert found["centre"].shape == (50,)
    assert agreement(mdata, "consistent_type_ephys", "true")["ari"] > 0.95


def test_any_modalities_will_do():
    mdata = typed_mdata(modalities=("methylation", "accessibility", "shape"))
    consistent_types(mdata, modality="shape", key_added="kind", n_init=2)
    assert mdata.uns["kind"]["params"]["modality"] == "shape"
    assert agreement(mdata, "kind_methylation", "kind_accessibility")["consistency"] > 0.98


@pytest.mark.parametrize("reference_key", [None, "true"])
def test_what_is_written_survives_a_file(tmp_path, reference_key):
    mdata = typed_mdata(d=12)
    consistent_types(mdata, reference_key=reference_key, n_init=1, n_types=4)
    mdata.write(tmp_path / "types.h5mu")
    again = mudata.read_h5mu(tmp_path / "types.h5mu")
    written, read = mdata.uns["consistent_type"], again.uns["consistent_type"]
    assert set(written) == set(read)
    assert list(read["types"].index) == ["1", "2", "3", "4"]
    np.testing.assert_allclose(read["bic"]["bic"], written["bic"]["bic"])
    assert again.obs["consistent_type_rna"].astype(str).equals(mdata.obs["consistent_type_rna"].astype(str))


def test_what_is_wrong_is_named():
    mdata = typed_mdata()
    with pytest.raises(
        KeyError, match="No latents of modality 'morph'. Modalities with latents: 'rna', 'ephys'"
    ):
        consistent_types(mdata, modality="morph")
    with pytest.raises(KeyError, match="family"):
        consistent_types(mdata, reference_key="family")
    with pytest.raises(ValueError, match="slash"):
        consistent_types(mdata, key_added="a/b")
    with pytest.raises(ValueError, match="1 of the cells to fit to have latents of 'rna'"):
        consistent_types(mdata, train_cells=np.flatnonzero(np.isfinite(mdata.obsm["X_cae_rna"][:, 0]))[:1])
    mdata.obs["nothing"] = pd.Series([None] * mdata.n_obs, index=mdata.obs_names, dtype=object)
    with pytest.raises(ValueError, match="No training cell has a label in the reference 'nothing'"):
        consistent_types(mdata, reference_key="nothing", n_types=2)
    with pytest.raises(ValueError, match="view"):
        consistent_types(mdata[:100])


def test_simulated_types_are_found_by_a_trained_model():
    mdata = scvi_cae.datasets.simulate_patchseq(
        n_cells=900, n_types=3, n_families=3, n_latent=3, missing_rate=0
    )
    scvi_cae.CoupledAE.setup_mudata(mdata)
    split = scvi_cae.splits.k_fold(mdata, 5)[0]
    model = scvi_cae.fit_many(mdata, [split], settings=[{"n_latent": 3}], max_epochs=30)[0].model
    model.write_latent(mdata)
    consistent_types(mdata, n_types=3, reference_key="cell_type")
    for name in ("rna", "ephys"):
        assert agreement(mdata, f"consistent_type_{name}", "cell_type")["ari"] > 0.6
    found = agreement(mdata, "consistent_type_rna", "consistent_type_ephys")
    assert found["consistency"] > 0.8
    assert found["reliable (1)"] == 1
