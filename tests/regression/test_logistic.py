"""Logistic regression, tested against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from scvi_cae.regression import LogisticBaseline


@pytest.fixture
def linear():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)) * [1, 10, 100, 1, 1] + 7
    scores = ((x - 7) / [1, 10, 100, 1, 1]) @ rng.normal(size=(5, 3)) + rng.gumbel(size=(200, 3))
    return x, np.array(["a", "b", "c"])[scores.argmax(1)]


def squashed(x):
    return np.arcsinh((x - x.mean(0)) / x.std(0))


@pytest.mark.parametrize("classes", [2, 3])
def test_it_equals_scikit_learn_on_all_components(linear, classes):
    x, y = linear
    if classes == 2:
        y = np.where(y == "c", "b", y)
    z = squashed(x)
    expected = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(z, y).predict_proba(z)
    np.testing.assert_allclose(LogisticBaseline(penalties=[2.0]).fit(x, y).predict(x), expected, atol=2e-3)


def test_the_penalty_is_chosen_by_log_loss(linear):
    x, y = linear
    noise = np.random.default_rng(1).permutation(y)
    fits = {
        name: LogisticBaseline(penalties=[1000.0, 10.0, 0.1]).fit(x, labels).predict(x)
        for name, labels in (("signal", y), ("noise", noise))
    }
    shares = [(y == name).mean() for name in "abc"]
    assert np.abs(fits["noise"] - shares).max() < 0.1
    assert fits["signal"].max() > 0.8


def test_a_kernel_separates_what_no_plane_does():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    y = np.where((x**2).sum(1) > 1.4, "out", "in")
    accuracies = []
    for gamma in (None, 0.1):
        fitted = LogisticBaseline(gamma).fit(x[:200], y[:200])
        found = np.array(fitted.classes_)[fitted.predict(x[200:]).argmax(1)]
        accuracies.append((found == y[200:]).mean())
    assert accuracies[1] > 0.9 > accuracies[0]


def test_the_kernels_penalty_is_that_of_the_function():
    """Fitted in the space of all eigenvectors, the gradient of loss and penalty is 0 for weights of cells."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = np.where(np.sin(2 * x[:, 0]) + 0.5 * rng.normal(size=60) > 0, 1, 0)
    fitted = LogisticBaseline(gamma=0.5, penalties=[0.3]).fit(x, y)
    weights = fitted.state()["parameters"]["weights"]
    residuals = (y[:, None] == [0, 1]) - fitted.predict(x)
    # In the dual, a cell's weight is its residual divided by the penalty; of two classes, the first has the score 0.
    np.testing.assert_allclose(weights[:, 1], residuals[:, 1] / 0.3, atol=0.05)


def test_unlabelled_cells_count_for_components_only(linear):
    x, y = linear
    labels = y.astype(object)
    labels[50:] = None
    z = squashed(x)
    expected = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(z[:50], y[:50]).predict_proba(z)
    np.testing.assert_allclose(
        LogisticBaseline(penalties=[1.0]).fit(x, labels).predict(x), expected, atol=2e-3
    )
