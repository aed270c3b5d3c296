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
