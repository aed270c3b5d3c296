"""Discriminant analysis on data with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import multivariate_normal

from scvi_cae.regression import DiscriminantBaseline, LogisticBaseline, _discriminant


def cells(n_cells, n_classes, n_features=30, seed=0, spread=1.0):
    """Cells of classes that differ in all features, with features that vary together within classes."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_classes, n_features)) * spread
    mixing = rng.normal(size=(n_features, n_features))
    codes = np.arange(n_cells) % n_classes
    return centres[codes] + rng.normal(size=(n_cells, n_features)) @ mixing * 0.5, codes


def test_without_additional_cells_it_is_bayes_rule_for_gaussians(monkeypatch):
    monkeypatch.setattr(_discriminant, "PRIOR_CELLS", 0)
    monkeypatch.setattr(_discriminant, "MEAN_CELLS", 0)
    monkeypatch.setattr(_discriminant, "CONFIDENCES", (1.0,))
    x, codes = cells(300, 4, n_features=10)
    codes[:30] = 0
    u = np.arcsinh((x - x.mean(0)) / x.std(0))
    means = np.array([u[codes == code].mean(0) for code in range(4)])
    residuals = u - means[codes]
    logarithms = [
        np.log((codes == code).mean())
        + multivariate_normal(means[code], residuals.T @ residuals / 296).logpdf(u)
        for code in range(4)
    ]
    found = DiscriminantBaseline([10]).fit(x, codes).predict(x)
    np.testing.assert_allclose(found, softmax(logarithms, axis=0).T, atol=1e-8)


def test_it_beats_logistic_regression_where_classes_have_few_cells():
    x, codes = cells(400, 20, seed=1)
    train, test = slice(0, 100), slice(100, 400)
    losses = []
    for make in (DiscriminantBaseline, LogisticBaseline):
        fitted = make().fit(x[train], [f"{code:02}" for code in codes[train]])
        losses.append(-np.log(fitted.predict(x[test])[np.arange(300), codes[test]]).mean())
    assert losses[0] < 0.9 * losses[1]


@pytest.mark.parametrize("degrees", [2.5, 30])
def test_probabilities_are_as_sure_as_they_may_be(degrees):
    """Heavy tails, which plain discriminants take for evidence."""
    rng = np.random.default_rng(0)
    codes = np.arange(600) % 3
    x = np.eye(3, 20)[codes] * 1.5 + rng.standard_t(degrees, size=(600, 20))
    fitted = DiscriminantBaseline().fit(x[:300], codes[:300])
    probabilities = fitted.predict(x[300:])
    right = probabilities.argmax(1) == codes[300:]
    assert abs(probabilities.max(1).mean() - right.mean()) < 0.06


def test_more_components_are_used_where_they_tell_more(monkeypatch):
    x, codes = cells(400, 3, n_features=60, spread=0.0)
    noise = x * np.linspace(10, 1, 60)
    informative = np.eye(3, 60)[codes][:, ::-1] * 6  # among the features that vary least
    few, more = (
        DiscriminantBaseline(n)
        .fit((noise + informative)[:200], codes[:200])
        .predict((noise + informative)[200:])
        for n in ([2], [2, 60])
    )
    accuracy = [(p.argmax(1) == codes[200:]).mean() for p in (few, more)]
    assert accuracy[1] > accuracy[0] + 0.2
