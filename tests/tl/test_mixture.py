"""Mixtures, and the number of their components."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from scvi_cae.tl._mixture import fit_mixture

SETTINGS = {"n_init": 3, "n_dimensions": 10, "tol": 1e-3, "random_state": 0}


def blobs(n_types=4, n=60, d=3, seed=0):
    """Separate normal distributions, each stretched in its own direction."""
    rng = np.random.default_rng(seed)
    centres = 10 * np.eye(d + 1, d)[:n_types]
    labels = np.repeat(np.arange(n_types), n)
    spread = rng.normal(size=(n_types, d, d)) * 0.7
    return centres[labels] + np.einsum(
        "nd,nde->ne", rng.normal(size=(len(labels), d)), spread[labels]
    ), labels


@pytest.mark.parametrize("n_types", [1, 2, 4])
def test_the_number_of_types_is_found(n_types):
    z, labels = blobs(n_types)
    mixture = fit_mixture(z, None, **SETTINGS)
    assert mixture.n_types == n_types
    p = mixture.probabilities(z)
    np.testing.assert_allclose(p.sum(1), 1)
    assert adjusted_rand_score(labels, p.argmax(1)) > 0.95


def test_the_search_ends_after_five_numbers_that_are_no_better():
    z, _ = blobs(2)
    table = fit_mixture(z, None, **SETTINGS).bic
    assert table["n_types"].max() == 7
    assert len(table) == 7 * SETTINGS["n_init"]


def test_the_search_leaves_enough_cells_for_each_type():
    z, _ = blobs(4, n=6)
    assert fit_mixture(z, None, **SETTINGS).bic["n_types"].max() == 24 // 8


def test_the_median_of_the_best_numbers_is_chosen():
    z = np.random.default_rng(0).normal(size=(60, 2)) ** 3
    mixture = fit_mixture(z, range(1, 8), **(SETTINGS | {"n_init": 5}))
    table = mixture.bic.pivot(index="n_types", columns="init", values="bic")
    assert mixture.n_types == np.median(table.idxmin())
    assert mixture.gaussians.bic(z) == pytest.approx(table.loc[mixture.n_types].min())


def test_a_given_number_is_taken():
    z, _ = blobs(4)
    mixture = fit_mixture(z, 2, **SETTINGS)
    assert mixture.n_types == 2
    assert set(mixture.bic["n_types"]) == {2}
    assert fit_mixture(z, np.array([2, 3]), **SETTINGS).n_types == 3


def test_cells_without_latents_have_no_probabilities():
    z, _ = blobs(2)
    mixture = fit_mixture(z, 2, **SETTINGS)
    with_gap = z.copy()
    with_gap[3, 1] = np.nan
    p = mixture.probabilities(with_gap)
    assert np.isnan(p[3]).all()
    np.testing.assert_array_equal(np.delete(p, 3, 0), np.delete(mixture.probabilities(z), 3, 0))
    assert np.isnan(mixture.probabilities(np.full((2, 3), np.nan))).all()


def test_many_dimensions_are_reduced_to_components():
    z, labels = blobs(3)
    wide = z @ np.random.default_rng(1).normal(size=(3, 50))
    mixture = fit_mixture(wide, None, **(SETTINGS | {"n_dimensions": 3}))
    assert mixture.gaussians.means_.shape == (3, 3)
    assert adjusted_rand_score(labels, mixture.probabilities(wide).argmax(1)) > 0.95


def test_the_same_seed_gives_the_same_mixture():
    z, _ = blobs(4)
    first, second = (fit_mixture(z, 6, **SETTINGS) for _ in range(2))
    np.testing.assert_array_equal(first.gaussians.means_, second.gaussians.means_)


@pytest.mark.parametrize("n_types", [0, 2.5, [1, 1000]])
def test_numbers_must_fit_the_cells(n_types):
    with pytest.raises(
        ValueError, match=r"n_types=.*from 1 to 240, the number of training cells with latents, or None"
    ):
        fit_mixture(blobs()[0], n_types, **SETTINGS)


def test_an_empty_list_of_numbers_is_named():
    with pytest.raises(ValueError, match=r"n_types=\[\] is empty"):
        fit_mixture(blobs()[0], [], **SETTINGS)


def test_arguments_must_be_in_range():
    z, _ = blobs()
    with pytest.raises(ValueError, match="n_init=0"):
        fit_mixture(z, 2, **(SETTINGS | {"n_init": 0}))
    with pytest.raises(ValueError, match="n_dimensions=0"):
        fit_mixture(z, 2, **(SETTINGS | {"n_dimensions": 0}))
    with pytest.raises(ValueError, match="1 training cells"):
        fit_mixture(z[:1], 1, **SETTINGS)
