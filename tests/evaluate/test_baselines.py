"""Baselines on data with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from scvi_cae.evaluate import (
    BaggedKernelRidgeBaseline,
    CCABaseline,
    KernelRidgeBaseline,
    PCABaseline,
    RidgeBaseline,
    SparseReducedRankBaseline,
    TypeMeanBaseline,
    WithTypeMean,
)


@pytest.fixture
def linear() -> tuple[np.ndarray, np.ndarray]:
    """A target that is linear in the source, with features of very different scales."""
    rng = np.random.default_rng(0)
    source = 100 + rng.normal(size=(150, 6)) * np.array([1, 10, 100, 1, 1, 1e-3])
    target = (source - 100) @ rng.normal(size=(6, 4)) * 50 - 7
    return source, target


def test_ridge_recovers_a_linear_map(linear):
    source, target = linear
    prediction = RidgeBaseline(alphas=[1e-6]).fit(source[:100], target[:100]).predict(source[100:])
    np.testing.assert_allclose(prediction, target[100:], rtol=1e-4, atol=1e-3 * target.std())


def test_ridge_chooses_a_penalty_that_fits_noise_with_the_mean():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(100, 40)), rng.normal(3, 1, (100, 5))
    prediction = RidgeBaseline().fit(source, target).predict(rng.normal(size=(50, 40)))
    assert np.abs(prediction - target.mean(0)).max() < 0.3


def test_ridge_does_not_treat_missing_targets_as_zero(linear):
    source, target = linear
    rng = np.random.default_rng(1)
    gappy = target[:100].copy()
    gappy[:40, :2] = np.nan  # a block
    gappy[rng.random(100) < 0.3, 3] = np.nan  # a feature of its own
    prediction = RidgeBaseline(alphas=[1e-6]).fit(source[:100], gappy).predict(source[100:])
    np.testing.assert_allclose(prediction, target[100:], rtol=1e-3, atol=1e-2 * target.std())


def test_each_pattern_is_fitted_to_its_own_cells_only(linear):
    source, target = linear
    gappy = target.copy()
    gappy[:40, 0] = np.nan
    alone = RidgeBaseline(alphas=[1.0]).fit(source, gappy)
    # standardisation uses all cells: the source of the other cells matters, their target does not
    np.testing.assert_allclose(
        alone.predict(source)[:, 1:], RidgeBaseline(alphas=[1.0]).fit(source, target).predict(source)[:, 1:]
    )


def test_missing_source_values_are_the_training_mean(linear):
    source, target = linear
    ridge = RidgeBaseline().fit(source, target)
    gappy, filled = source[:5].copy(), source[:5].copy()
    gappy[:, 2], filled[:, 2] = np.nan, source[:, 2].mean()
    np.testing.assert_allclose(ridge.predict(gappy), ridge.predict(filled))


def test_cells_without_source_are_not_predicted_and_not_fitted(linear):
    source, target = linear
    source, target = source.copy(), target.copy()
    source[:30], target[30:50] = np.nan, np.nan
    ridge = RidgeBaseline(alphas=[1e-6]).fit(source, target)
    prediction = ridge.predict(source)
    assert np.isnan(prediction[:30]).all()
    np.testing.assert_allclose(prediction[30:], linear[1][30:], rtol=1e-3, atol=1e-2 * target[50:].std())


def test_features_that_cannot_be_fitted_are_predicted_by_their_mean(linear):
    source, target = linear
    source, target = source.copy(), target.copy()
    source[:30], target[30:, 0] = np.nan, np.nan  # observed, but never beside a source
    prediction = RidgeBaseline().fit(source, target).predict(source[30:])
    np.testing.assert_allclose(prediction[:, 0], target[:30, 0].mean())


def test_ridge_names_what_is_wrong(linear):
    source, target = linear
    with pytest.raises(ValueError, match="source has 3 cells and target 4"):
        RidgeBaseline().fit(source[:3], target[:4])


def test_type_mean_falls_back_on_the_overall_mean_for_unknown_types():
    target = np.array([[1.0, 10.0], [3.0, np.nan], [8.0, np.nan], [np.nan, 40.0]])
    baseline = TypeMeanBaseline().fit(["a", "a", "b", None], target)
    np.testing.assert_allclose(
        baseline.predict(["a", "b", "unseen", None, np.nan]),
        # type b was never measured in the second feature
        [[2, 10], [8, 25], [4, 25], [4, 25], [4, 25]],
    )


def test_type_mean_names_what_is_wrong():
    with pytest.raises(ValueError, match="1 labels for 2 cells"):
        TypeMeanBaseline().fit(["a"], [[1.0], [2.0]])


def test_type_mean_is_shrunk_to_that_of_the_family():
    target = np.array([[1.0], [3.0], [8.0], [20.0], [np.nan]])
    types, families = ["a", "a", "b", "c", "b"], ["F", "F", "F", "G", "F"]
    baseline = TypeMeanBaseline(shrinkage=2).fit(types, target, families)
    family = (1 + 3 + 8) / 3
    np.testing.assert_allclose(
        baseline.predict(["a", "b", "new", "new", None], ["F", "F", "F", "new", "G"]),
        [[(1 + 3 + 2 * family) / 4], [(8 + 2 * family) / 3], [family], [8], [20]],
    )
    without = TypeMeanBaseline(shrinkage=2).fit(types, target)
    np.testing.assert_allclose(without.predict(["a"]), [[(1 + 3 + 2 * 8) / 4]])


def test_with_type_mean_is_the_mean_of_both(linear):
    source, target = linear
    types = np.where(source[:, 0] > 100, "a", "b")
    both = WithTypeMean(RidgeBaseline()).fit(source, target, types).predict(source, types)
    ridge, mean = RidgeBaseline().fit(source, target), TypeMeanBaseline().fit(types, target)
    np.testing.assert_allclose(both, (ridge.predict(source) + mean.predict(types)) / 2)


BASELINES = [
    RidgeBaseline(),
    KernelRidgeBaseline(),
    KernelRidgeBaseline(alpha=[0.1, 1.0]),
    BaggedKernelRidgeBaseline(n_bags=4),
    SparseReducedRankBaseline(),
    SparseReducedRankBaseline(rank=2, relaxed=True),
    PCABaseline(4),
    CCABaseline(3),
    CCABaseline(3, decoder="own"),
]


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda b: type(b).__name__)
def test_constant_targets_are_predicted_as_such_and_unmeasured_ones_not_at_all(baseline, linear):
    source, target = linear
    fitted = target[:100].copy()
    fitted[:, 1], fitted[:, 3] = 0.1, np.nan
    fitted[50:70] = np.nan  # without the target
    prediction = baseline.fit(source[:100], fitted).predict(source[100:])
    np.testing.assert_allclose(prediction[:, 1], 0.1, rtol=1e-12)
    assert np.isnan(prediction[:, 3]).all()
    assert np.isfinite(prediction[:, [0, 2]]).all()


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda b: type(b).__name__)
def test_constant_and_unmeasured_features_of_the_source_are_ignored(baseline, linear):
    source, target = linear
    source = source.copy()
    source[:100, 1], source[:100, 3] = 5.0, np.nan
    baseline.fit(source[:100], target[:100])
    expected = baseline.predict(source[100:])
    for other in (-1e9, 1e9, np.nan):
        changed = source[100:].copy()
        changed[:, [1, 3]] = other
        np.testing.assert_allclose(baseline.predict(changed), expected)


def test_type_means_of_constant_and_unmeasured_features():
    target = np.array([[0.1, np.nan, 1.0], [0.1, np.nan, 2.0], [0.1, np.nan, np.nan]])
    prediction = (
        TypeMeanBaseline(3).fit(["a", "a", "b"], target, ["F", "F", "F"]).predict(["a", "b"], ["F", "F"])
    )
    np.testing.assert_allclose(prediction, [[0.1, np.nan, 1.5], [0.1, np.nan, 1.5]])
