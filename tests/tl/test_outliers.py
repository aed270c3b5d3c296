"""Cells whose modalities disagree."""

from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scvi_cae
from conftest import make_modality
from scvi_cae.tl import outliers


def make(n=400, n_latent=3, noise=0.3, seed=0, fractions=(0.4, 0.3, 0.3)):
    """Latents that agree up to noise, more of it in held-out cells and in some directions."""
    rng = np.random.default_rng(seed)
    sets = rng.choice(["training", "validation", "test"], size=n, p=fractions)
    z = rng.normal(size=(n, n_latent))
    size = noise * np.where(sets == "training", 0.5, 1.0)[:, None] * np.linspace(0.5, 1.5, n_latent)
    cells = np.array([f"cell{i}" for i in range(n)])
    mdata = mudata.MuData({name: make_modality(z, cells, name) for name in ("one", "two")})
    mdata.obsm["X_cae_one"] = z
    mdata.obsm["X_cae_two"] = z + 0.1 + size * rng.standard_t(4, size=z.shape)  # with heavy tails
    mdata.obs["X_cae_set"] = pd.Categorical(sets)
    return mdata


def flagged(mdata):
    return mdata.obs["outlier"].dropna().astype(bool)


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_of_exchangeable_cells_the_level_is_flagged(level):
    fractions, ranks = [], []
    for seed in range(20):
        mdata = make(seed=seed)
        outliers(mdata, level=level)
        fractions.append(flagged(mdata).mean())
        ranks.append(mdata.obs["outlier_p_value"].dropna().mean())
    # 20 times 120 calibration and test cells: the standard error is about a twentieth of the level.
    assert abs(np.mean(fractions) - level) < 0.25 * level
    assert abs(np.mean(ranks) - 0.5) < 0.03


def test_training_cells_would_calibrate_badly():
    mdata = make(n=1000)
    outliers(mdata)
    training = (mdata.obs["X_cae_set"] == "training").to_numpy()
    score = mdata.obs["outlier_score"].to_numpy()
    test = (mdata.obs["X_cae_set"] == "test").to_numpy()
    assert np.mean(score[test] > np.quantile(score[training], 0.95)) > 0.15
    assert 0.02 < flagged(mdata).mean() < 0.1


def test_swapped_cells_are_flagged():
    mdata = make(seed=1)
    test = np.flatnonzero(mdata.obs["X_cae_set"] == "test")
    swapped = test[:20]
    two = mdata.obsm["X_cae_two"]
    two[swapped] = two[np.roll(swapped, 1)]
    outliers(mdata)
    flags = mdata.obs["outlier"].fillna(False).astype(bool).to_numpy()
    assert flags[swapped].mean() > 0.5
    assert flags[test[20:]].mean() < 0.1
    assert (mdata.obs["outlier_score"].to_numpy()[flags] > mdata.uns["outlier"]["cut"]).all()


def test_only_tested_cells_get_p_values():
    mdata = make()
    mdata.obsm["X_cae_one"][:30] = np.nan
    outliers(mdata, key_added="odd")
    test = (mdata.obs["X_cae_set"] == "test").to_numpy()
    both = np.arange(mdata.n_obs) >= 30
    np.testing.assert_array_equal(mdata.obs["odd_score"].notna(), both)
    np.testing.assert_array_equal(mdata.obs["odd_p_value"].notna(), both & test)
    np.testing.assert_array_equal(mdata.obs["odd"].notna(), both & test)
    p, flag, score = (mdata.obs[f"odd{k}"][both & test].to_numpy() for k in ("_p_value", "", "_score"))
    np.testing.assert_array_equal(flag.astype(bool), p <= 0.05)
    np.testing.assert_array_equal(flag.astype(bool), score > mdata.uns["odd"]["cut"])
    assert (np.diff(p[np.argsort(score)]) <= 0).all()
    outliers(mdata, cells="all")
    assert mdata.obs["outlier_p_value"].notna().sum() == both.sum()


def test_calibration_cells_are_compared_with_the_others():
    """Without test cells, the validation cells are held out, and their p-values are their ranks."""
    mdata = make(fractions=(0.5, 0.5, 0.0))
    outliers(mdata)
    p = np.sort(mdata.obs["outlier_p_value"].dropna())
    np.testing.assert_allclose(p, np.arange(1, len(p) + 1) / len(p))


def test_calibration_cells_may_be_given():
    mdata = make(fractions=(0.6, 0.0, 0.4))
    with pytest.raises(ValueError, match="no validation cells.*calibration_cells="):
        outliers(mdata)
    test = np.flatnonzero(mdata.obs["X_cae_set"] == "test")
    outliers(mdata, calibration_cells=test[::2], cells=test[1::2])
    assert mdata.uns["outlier"]["n_calibration"] == len(test[::2])
    assert mdata.obs["outlier"].notna().sum() == len(test[1::2])


@settings(max_examples=20)
@given(scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_units_of_the_latents_do_not_matter(scale, shift):
    mdata, other = make(n=100), make(n=100)
    for name in ("one", "two"):
        other.obsm[f"X_cae_{name}"] = scale * other.obsm[f"X_cae_{name}"] + shift
    outliers(mdata, level=0.2)
    outliers(other, level=0.2)
    np.testing.assert_allclose(mdata.obs["outlier_score"], other.obs["outlier_score"], rtol=1e-4)


def test_it_survives_a_file(tmp_path):
    mdata = make(n=100)
    outliers(mdata, level=0.1)
    mdata.write(tmp_path / "cells.h5mu")
    back = mudata.read_h5mu(tmp_path / "cells.h5mu")
    assert back.obs["outlier"].dtype == "boolean"
    pd.testing.assert_series_equal(back.obs["outlier"], mdata.obs["outlier"])
    assert list(back.uns["outlier"]["modalities"]) == ["one", "two"]
    assert back.uns["outlier"]["cut"] == mdata.uns["outlier"]["cut"]


def test_of_three_modalities_two_are_named():
    mdata = make(n=100)
    one, two = mdata.obsm["X_cae_one"], mdata.obsm["X_cae_two"]
    sets = mdata.obs["X_cae_set"]
    mdata = mudata.MuData(
        {name: make_modality(one, mdata.obs_names.to_numpy(), name) for name in ("one", "two", "three")}
    )
    mdata.obsm.update({"X_cae_one": one, "X_cae_two": two, "X_cae_three": two})
    mdata.obs["X_cae_set"] = sets
    with pytest.raises(ValueError, match="two modalities, not by.*'three'"):
        outliers(mdata)
    outliers(mdata, modalities=("three", "one"), level=0.1)
    assert mdata.uns["outlier"]["modalities"] == ["three", "one"]


def test_it_names_what_is_wrong():
    mdata = make(n=100)
    for level in (0, 1, 5):
        with pytest.raises(ValueError, match="between 0 and 1"):
            outliers(mdata, level=level)
    with pytest.raises(ValueError, match="it takes 999 for level=0.001"):
        outliers(mdata, level=0.001)
    with pytest.raises(ValueError, match="calibration cells are training cells"):
        outliers(mdata, calibration_cells="all")
    with pytest.raises(ValueError, match="Only 3 training cells have both"):
        outliers(mdata, train_cells=[0, 1, 2])
    with pytest.raises(KeyError, match="'morph'"):
        outliers(mdata, modalities=("one", "morph"))
    mdata.obsm["X_cae_two"] = mdata.obsm["X_cae_two"][:, :2]
    with pytest.raises(ValueError, match="3 and 2 dimensions"):
        outliers(mdata)
    del mdata.obs["X_cae_set"]
    mdata.obsm["X_cae_two"] = mdata.obsm["X_cae_one"]
    with pytest.raises(KeyError, match="X_cae_set"):
        outliers(mdata)


def test_of_a_model():
    mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    scvi_cae.CoupledAE.setup_mudata(mdata)
    model = scvi_cae.CoupledAE(mdata, n_latent=3)
    model.train(max_epochs=5, train_size=0.6, validation_size=0.2, enable_progress_bar=False)
    model.write_latent(mdata)
    outliers(mdata, level=0.1)
    sets = mdata.obs["X_cae_set"]
    assert (sets[mdata.obs["outlier"].notna()] == "test").all()
