"""Kernel ridge regression, tested against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge

from scvi_cae.regression import BaggedKernelRidgeBaseline, KernelRidgeBaseline, RidgeBaseline


@pytest.fixture
def curved():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5)) * [1, 10, 1, 1, 1] + 4
    return x, np.c_[np.sin(x[:, 0] - 4), (x[:, 1] - 4) ** 2, x[:, 2]] * 7


def standardised(x, cells):
    return (x - x[cells].mean(0)) / x[cells].std(0)


def test_it_equals_scikit_learn_on_scaled_components(curved):
    x, y = curved
    train = np.arange(200)
    z, target = standardised(x, train), standardised(y, train)
    pca = PCA(3).fit(z[train])
    u = pca.transform(z) / pca.transform(z[train])[:, 0].std(ddof=1)
    expected = KernelRidge(kernel="rbf", gamma=0.1, alpha=0.3).fit(u[train], target[train]).predict(u[200:])
    found = KernelRidgeBaseline(3).fit(x[train], y[train]).predict(x[200:])
    np.testing.assert_allclose((found - y[train].mean(0)) / y[train].std(0), expected, rtol=1e-6, atol=1e-8)


def test_the_source_may_be_squashed_first(curved):
    x, y = curved
    z, target = np.arcsinh(standardised(x, slice(None))), standardised(y, slice(None))
    u = PCA(3).fit_transform(z)
    u /= u[:, 0].std(ddof=1)
    expected = KernelRidge(kernel="rbf", gamma=0.1, alpha=0.3).fit(u, target).predict(u)
    found = KernelRidgeBaseline(3, squash=True).fit(x, y).predict(x)
    np.testing.assert_allclose((found - y.mean(0)) / y.std(0), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("baseline", [KernelRidgeBaseline(), BaggedKernelRidgeBaseline(n_bags=5)])
def test_it_predicts_nonlinear_relations(curved, baseline):
    x, y = curved
    errors = [
        np.mean((b.fit(x[:200], y[:200]).predict(x[200:]) - y[200:]) ** 2)
        for b in (baseline, RidgeBaseline())
    ]
    assert errors[0] < errors[1]


def test_leave_one_out_equals_refitting_without_each_cell(curved):
    x, y = curved
    x, y = x[:40], y[:40, :1] + np.random.default_rng(1).normal(0, 5, (40, 1))
    penalties = [0.01, 0.3, 30.0]
    z, target = standardised(x, slice(None)), standardised(y, slice(None))
    pca = PCA(5).fit(z)
    u = pca.transform(z) / np.sqrt(pca.explained_variance_[0])
    errors = []
    for alpha in penalties:
        left_out = [
            KernelRidge(kernel="rbf", gamma=0.1, alpha=alpha)
            .fit(np.delete(u, i, 0), np.delete(target, i, 0))
            .predict(u[[i]])[0]
            for i in range(40)
        ]
        errors.append(np.sum((left_out - target) ** 2))
    best = penalties[int(np.argmin(errors))]
    chosen, fixed = (KernelRidgeBaseline(alpha=a).fit(x, y).predict(x) for a in (penalties, best))
    np.testing.assert_allclose(chosen, fixed)


@pytest.mark.parametrize("make", [KernelRidgeBaseline, lambda: BaggedKernelRidgeBaseline(n_bags=3)])
def test_missing_values(curved, make):
    """A feature is fitted to the cells that have it; cells without source are not predicted."""
    x, y = curved
    gappy, source = y.copy(), x.copy()
    gappy[:100, 1] = np.nan
    source[:20], source[30, 2] = np.nan, np.nan
    found = make().fit(source, gappy).predict(source)
    assert np.isnan(found[:20]).all()
    assert np.isfinite(found[20:]).all()
    others = make().fit(source, y).predict(source)
    np.testing.assert_allclose(found[20:, [0, 2]], others[20:, [0, 2]])


def test_a_feature_that_no_cell_has_with_a_source_is_predicted_by_its_mean(curved):
    x, y = curved
    x, y = x.copy(), y.copy()
    x[:50], y[50:, 0] = np.nan, np.nan
    found = KernelRidgeBaseline().fit(x, y).predict(x[50:])
    np.testing.assert_allclose(found[:, 0], y[:50, 0].mean())


def test_bags_are_the_same_under_a_seed(curved):
    x, y = curved
    first, again, other = (BaggedKernelRidgeBaseline(3, seed=s).fit(x, y).predict(x[:5]) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
