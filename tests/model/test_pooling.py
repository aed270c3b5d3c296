"""Pools of class probabilities: weights of maximum likelihood, which remain finite."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from scvi_cae.model._pooling import Pool


@pytest.fixture
def drawn():
    """Probabilities of three classes, and indicators that are drawn from them."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3000, 3))
    return scores, np.eye(3)[(scores + rng.gumbel(size=scores.shape)).argmax(1)]


def test_the_right_prediction_has_all_weight(drawn):
    scores, truth = drawn
    noise = np.random.default_rng(1).dirichlet(np.ones(3), len(truth))
    pool = Pool.fit([noise, softmax(scores, axis=1)], truth)
    np.testing.assert_allclose(pool.weights, [0, 1], atol=0.1)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_prediction_that_is_too_sure_or_not_sure_enough_is_calibrated(drawn, factor):
    scores, truth = drawn
    prediction = softmax(factor * scores, axis=1)
    pool = Pool.fit([prediction], truth)
    assert pool.weights[0] == pytest.approx(1 / factor, rel=0.1)
    np.testing.assert_allclose(pool.combine([prediction]), softmax(scores, axis=1), atol=0.05)


def test_what_complements_each_other_is_multiplied(drawn):
    scores, truth = drawn
    half = np.array([1.0, 0.0, 0.0]) * scores
    pool = Pool.fit([softmax(half, axis=1), softmax(scores - half, axis=1)], truth)
    np.testing.assert_allclose(pool.weights, 1, atol=0.15)


def test_weights_are_finite_if_all_is_right_or_nothing_is_known():
    truth = np.eye(4)[np.arange(40) % 4]
    pool = Pool.fit([truth, truth], truth)
    assert pool.weights.max() < 10
    np.testing.assert_allclose(pool.combine([truth, truth]), truth, atol=0.01)
    nothing = Pool.fit([np.full((5, 4), np.nan), np.full((5, 4), 0.25)], truth[:5])
    np.testing.assert_array_equal(nothing.weights, 0.5)


def test_a_class_that_only_one_prediction_knows_is_possible():
    truth = np.eye(3)[np.arange(60) % 3]
    without = np.tile([0.5, 0.5, 0.0], (60, 1))
    pool = Pool.fit([without, 0.8 * truth + 0.2 / 3], truth)
    found = pool.combine([without, 0.8 * truth + 0.2 / 3])
    assert (found.argmax(1) == truth.argmax(1)).all()
    np.testing.assert_allclose(found.sum(1), 1)
