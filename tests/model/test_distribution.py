"""A query is said to be shifted if it is, whatever classes its cells are of and however few they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scvi_cae.datasets import simulate_patchseq
from scvi_cae.model._distribution import MIN_CELLS, FeatureDistribution, moments_of, quantiles_of

N_TRAINING = 500


@pytest.fixture(scope="module")
def ephys() -> tuple[np.ndarray, np.ndarray]:
    """Values of cells with electrophysiology, and indicators of their types."""
    cells = simulate_patchseq(n_cells=1500, n_genes=20, fraction_rna_only=0, seed=3)
    adata = cells["ephys"]
    return np.asarray(adata.X, dtype=float), pd.get_dummies(cells.obs["cell_type"][adata.obs_names]).to_numpy(
        float
    )


def draws(ephys, n: int, one_type: bool, missing: float = 0.0, n_draws: int = 20):
    """Distributions of training cells, and samples of others: of all types or of one, as the seed decides."""
    values, types = ephys
    for seed in range(n_draws):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(values))
        train, other = order[:N_TRAINING], order[N_TRAINING:]
        if one_type:
            other = other[types[other, rng.choice(types.shape[1], p=types.mean(0))] > 0]
        x = np.where(rng.random(values.shape) < missing, np.nan, values)
        yield FeatureDistribution.fit(x[train], {"type": types[train]}), x[other[:n]]


@pytest.mark.parametrize("missing", [0, 0.4])
@pytest.mark.parametrize("one_type", [False, True])
@pytest.mark.parametrize("n", [6, 12, 50, 300])
def test_other_cells_of_the_same_types_are_hardly_ever_shifted(ephys, n, one_type, missing):
    """Missing values make neither the training's variances nor the means of few cells more certain than they are."""
    found = [distribution.shift(x).found for distribution, x in draws(ephys, n, one_type, missing)]
    assert np.mean(found) <= 0.1


@pytest.mark.parametrize("one_type", [False, True])
@pytest.mark.parametrize("change", ["gains", "offsets", "temperature"])
def test_another_laboratory_is_shifted(ephys, change, one_type):
    found = []
    for seed, (distribution, x) in enumerate(draws(ephys, 60, one_type)):
        rng = np.random.default_rng(seed)
        _, spread = moments_of(distribution.quantiles)
        if change == "gains":
            x = x * rng.choice([0.6, 1.5], size=x.shape[1])
        elif change == "offsets":
            x = x + rng.choice([-0.8, 0.8], size=x.shape[1]) * spread
        else:  # times are shorter: of action potentials, membrane and latencies
            x = x.copy()
            x[:, [2, 7, 8, 15, 23]] /= 1.8
        found.append(distribution.shift(x).found)
    assert np.mean(found) >= 0.9


def test_scores_say_which_features_differ_and_how(ephys):
    distribution, x = next(iter(draws(ephys, 200, one_type=False)))
    _, spread = moments_of(distribution.quantiles)
    x = x.copy()
    x[:, 2] += 2 * spread[2]
    x[:, 6] -= 2 * spread[6]
    x[:, 9] = np.nan
    shift = distribution.shift(x)
    assert shift.found
    assert set(np.argsort(-np.abs(np.nan_to_num(shift.scores)))[:2]) == {2, 6}
    assert shift.scores[2] > 0 > shift.scores[6]
    assert np.isnan(shift.scores[9])
    assert np.isfinite(np.delete(shift.scores, 9)).all()


def test_without_labels_and_without_anything_to_compare(ephys):
    values, _ = ephys
    distribution = FeatureDistribution.fit(values[:N_TRAINING], {})
    assert not distribution.shift(values[N_TRAINING:]).found
    assert distribution.shift(values[N_TRAINING:] * 1.5).found
    nothing = distribution.shift(np.full((9, values.shape[1]), np.nan))
    assert not nothing.found
    assert np.isnan(nothing.scores).all()


def test_constant_and_missing_features_do_not_count(ephys):
    """0.1 in all cells has a standard deviation of 1e-17 by rounding."""
    values, types = ephys
    values = values.copy()
    values[:, 0], values[:, 1] = 0.1, np.nan
    distribution = FeatureDistribution.fit(values[:N_TRAINING], {"type": types[:N_TRAINING]})
    assert np.isfinite(distribution.mean).all()
    assert np.isfinite(distribution.covariance).all()
    other = values[N_TRAINING:].copy()
    other[:, :2] = 0.3
    shift = distribution.shift(other)
    assert not shift.found
    assert np.isnan(shift.scores[:2]).all()
    mean, spread = moments_of(quantiles_of(values[:, :2]))
    assert mean[0] == pytest.approx(0.1)
    assert spread.tolist() == [0, 0]


def test_a_class_that_lacks_a_feature(ephys):
    """Its mean is that of all cells, and its variance that of the others."""
    values, types = ephys
    x = values[:N_TRAINING].copy()
    largest = types.sum(0).argmax()
    x[types[:N_TRAINING, largest] > 0, 3] = np.nan
    distribution = FeatureDistribution.fit(x, {"type": types[:N_TRAINING]})
    lacks = np.flatnonzero(distribution.number[:, 3] == 0)
    assert len(lacks) == 1
    assert distribution.mean[lacks, 3] == 0
    within = np.delete(distribution.covariance[:, 3, 3], lacks)
    assert within.min() < distribution.covariance[lacks[0], 3, 3] < within.max()
    assert all(np.linalg.eigvalsh(c).min() > 0 for c in distribution.covariance)


def test_few_cells_have_no_distribution(ephys):
    values, types = ephys
    few = MIN_CELLS - 1
    assert FeatureDistribution.fit(values[:few], {"type": types[:few]}) is None


def test_classes_are_those_of_the_coarsest_labels(ephys):
    values, types = ephys
    two = np.eye(2)[types[:, 0].astype(int)]
    both = FeatureDistribution.fit(values, {"type": types, "coarse": two})
    assert len(both.mean) == 2
    # A single class, or labels that most cells lack, group nothing.
    rare = types * (np.arange(len(types)) < 300)[:, None]
    for labels in ({"one": np.ones((len(values), 1))}, {"rare": rare}):
        expected = FeatureDistribution.fit(values, {})
        np.testing.assert_array_equal(FeatureDistribution.fit(values, labels).mean, expected.mean)
