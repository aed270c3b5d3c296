"""Axes along which modalities agree."""

from __future__ import annotations

import mudata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import multivariate_normal

from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE
from scvi_cae.evaluate import foscttm
from scvi_cae.model._axes import agreement_axes
from scvi_cae.model._encoding import encode

PAIR = [("a", "b")]


def noisy_pair(noise, n=400, seed=0):
    """Latents of two modalities, mixed, that agree less and less from dimension to dimension."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, len(noise)))
    mixing = rng.normal(size=(len(noise), len(noise)))
    latents = {}
    for name in "ab":
        unit = (shared + noise * rng.normal(size=shared.shape)) / np.sqrt(1 + np.square(noise))
        latents[name] = unit @ mixing + 5
    return latents


def place(latents, found):
    origin, axes = found
    return {name: (z - origin) @ axes for name, z in latents.items()}


def test_axes_are_uncorrelated_and_ordered_by_agreement():
    noise = np.array([2.0, 0.1, 0.7])
    latents = noisy_pair(noise, n=5000)
    z = place(latents, agreement_axes(latents, PAIR))
    covariance = np.cov(np.concatenate([z["a"], z["b"]]).T)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-10)
    agreement = [np.corrcoef(z["a"][:, k], z["b"][:, k])[0, 1] for k in range(3)]
    np.testing.assert_allclose(agreement, 1 / (1 + np.sort(noise**2)), atol=0.03)
    odds = np.divide(agreement, 1 - np.square(agreement))
    np.testing.assert_allclose(np.diag(covariance), odds / odds[0], rtol=0.05)


def test_the_nearest_cells_are_the_likeliest_to_be_the_same():
    """Ranks by distance are those by the ratio of the joint Gaussian density to the product of the marginal ones."""
    latents = noisy_pair(np.array([0.4, 0.9, 1.5]), n=20_000, seed=3)
    z = place(latents, agreement_axes(latents, PAIR))
    a, b = z["a"][0], z["b"][:50]
    both = multivariate_normal(np.zeros(6), np.cov(np.hstack([z["a"], z["b"]]).T))
    one = multivariate_normal(np.zeros(3), np.cov(z["b"].T))
    ratio = both.logpdf(np.hstack([np.broadcast_to(a, b.shape), b])) - one.logpdf(b)
    # What is left are terms of either alone: what the ratio gives to b for lying far out.
    agreement = np.array([np.corrcoef(z["a"][:, k], z["b"][:, k])[0, 1] for k in range(3)])
    alone = np.sum(b**2 / z["b"].var(0) * agreement / (1 + agreement), axis=1) / 2
    scale = agreement[0] / (1 - agreement[0] ** 2) / z["a"].var(0)[0]
    distance = scale * np.square(a - b).sum(1) / 2
    np.testing.assert_allclose(ratio - alone - np.mean(ratio - alone), -distance + distance.mean(), atol=0.5)


@given(seed=st.integers(0, 1000), n=st.integers(2, 6))
@settings(deadline=None, max_examples=20)
def test_the_encoders_choice_of_coordinates_makes_no_difference(seed, n):
    rng = np.random.default_rng(seed)
    latents = noisy_pair(rng.uniform(0.1, 2, n), seed=seed)
    turn, shift = rng.normal(size=(n, n)) + 5 * np.eye(n), rng.normal(size=n)
    other = {name: z @ turn + shift for name, z in latents.items()}
    a, b = place(latents, agreement_axes(latents, PAIR)), place(other, agreement_axes(other, PAIR))
    for name in "ab":
        np.testing.assert_allclose(pdist(a[name][:50]), pdist(b[name][:50]), rtol=0.05, atol=5e-3)


def test_held_out_cells_match_better():
    noise = np.array([0.3, 0.4, 3, 3, 3, 3.0])
    latents = noisy_pair(noise)
    train, test = ({name: z[part] for name, z in latents.items()} for part in (slice(200), slice(200, None)))
    z = place(test, agreement_axes(train, PAIR))
    assert foscttm(z["a"], z["b"]) < 0.6 * foscttm(test["a"], test["b"])


def test_only_cells_with_both_and_coupled_pairs_count():
    latents = noisy_pair(np.array([0.2, 1.0]))
    gaps = {name: np.concatenate([z, np.full((5, 2), np.nan)]) for name, z in latents.items()}
    gaps["b"][-5:] = 100.0
    for x, y in zip(agreement_axes(latents, PAIR), agreement_axes(gaps, PAIR), strict=True):
        np.testing.assert_array_equal(x, y)
    assert agreement_axes(latents, []) is None
    assert agreement_axes({name: z[:2] for name, z in latents.items()}, PAIR) is None


def test_collapsed_latents():
    latents = noisy_pair(np.array([0.2, 1.0]))
    for z in latents.values():
        z[:, 1] = z[:, 0]
    assert all(np.isfinite(x).all() for x in agreement_axes(latents, PAIR))


@pytest.fixture(scope="module")
def mdata():
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata)
    return mdata


def test_a_model_gives_latents_in_them(mdata, tmp_path):
    fits = {}
    for axes in ("agreement", "network"):
        model = CoupledAE(mdata, n_latent=3, latent_axes=axes)
        model.train(max_epochs=3, train_size=1.0, **QUIET)
        fits[axes] = model
    model = fits["agreement"]
    origin, axes = model.fitted.axes
    assert fits["network"].fitted.axes is None
    raw = encode(model.module, model.align(), "rna", np.arange(mdata.n_obs)).numpy()
    given_ = model.get_latent_representation(modality="rna")
    np.testing.assert_allclose(given_, (raw - origin) @ axes, atol=1e-4)
    both = {name: model.get_latent_representation(modality=name) for name in ("rna", "ephys")}
    joint = np.nanmean(np.stack(list(both.values())), axis=0)
    np.testing.assert_allclose(model.get_latent_representation(), joint, atol=1e-5)
    model.save(tmp_path / "model")
    query = mudata.MuData({"rna": mdata["rna"].copy()})
    loaded = CoupledAE.load(tmp_path / "model", adata=False)
    np.testing.assert_allclose(
        loaded.get_latent_representation(query, "rna"),
        given_[mdata.obs_names.get_indexer(query.obs_names)],
        atol=1e-6,
    )


def test_an_adapted_model_stays_in_its_reference_s(mdata):
    model = CoupledAE(mdata, n_latent=3)
    model.train(max_epochs=2, **QUIET)
    other = make_mdata()
    query = CoupledAE.prepare_query_mudata(other, model)
    adapted = CoupledAE.load_query_data(query, model, arms=["ephys"])
    adapted.train(max_epochs=2, **QUIET)
    np.testing.assert_array_equal(adapted.fitted.axes.axes, model.fitted.axes.axes)
    np.testing.assert_array_equal(
        adapted.get_latent_representation(query, "rna"), model.get_latent_representation(query, "rna")
    )


def test_unknown_axes(mdata):
    with pytest.raises(ValueError, match="latent_axes='pca' must be one of"):
        CoupledAE(mdata, latent_axes="pca")
