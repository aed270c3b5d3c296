"""Ridge regression on data with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from scvi_cae.regression import RidgeBaseline


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


def test_missing_values_of_many_features_are_the_training_mean():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(100, 201))
    target = source[:, :4] @ rng.normal(size=(4, 3))
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


def test_an_outlier_of_the_source_is_squashed():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(200, 3))
    target = source @ [[1.0], [2.0], [3.0]] + rng.normal(size=(200, 1))
    source[:100:10] *= 30  # noise of the measurement
    errors = [
        np.abs(
            RidgeBaseline(squash=squash).fit(source[:100], target[:100]).predict(source[100:]) - target[100:]
        )
        for squash in (False, True)
    ]
    assert errors[1].mean() < errors[0].mean()


def test_ridge_names_what_is_wrong(linear):
    source, target = linear
    with pytest.raises(ValueError, match="source has 3 cells and target 4"):
        RidgeBaseline().fit(source[:3], target[:4])
