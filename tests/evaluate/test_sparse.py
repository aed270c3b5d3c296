"""Sparse reduced-rank regression on data with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from scvi_cae.evaluate import SparseReducedRankBaseline


@pytest.fixture
def sparse():
    """A target that depends on four of thirty features through two dimensions."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 30)) * 5 + 2
    y = (x[:, :4] - 2) @ rng.normal(size=(4, 2)) @ rng.normal(size=(2, 8)) + rng.normal(size=(300, 8)) + 9
    return x, y


def r2(truth, prediction):
    return 1 - ((truth - prediction) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum()


@pytest.mark.parametrize("relaxed", [False, True])
def test_it_finds_the_features_and_the_rank(sparse, relaxed):
    x, y = sparse
    fitted = SparseReducedRankBaseline(rank=2, alpha=0.2, relaxed=relaxed).fit(x[:200], y[:200])
    assert fitted.selected_.tolist() == [0, 1, 2, 3]
    assert r2(y[200:], fitted.predict(x[200:])) > 0.8
    centred = fitted.predict(x) - fitted.predict(x).mean(0)
    assert np.linalg.matrix_rank(centred / y.std(0), tol=1e-6 * len(x)) == 2


def test_relaxing_undoes_the_shrinkage(sparse):
    x, y = sparse
    shrunk, relaxed = (
        SparseReducedRankBaseline(rank=2, alpha=0.5, relaxed=r).fit(x[:200], y[:200]).predict(x[200:])
        for r in (False, True)
    )
    assert r2(y[200:], relaxed) > r2(y[200:], shrunk)
    assert relaxed.std() > shrunk.std()


def test_a_large_penalty_leaves_the_mean(sparse):
    x, y = sparse
    for relaxed in (False, True):
        fitted = SparseReducedRankBaseline(alpha=100, relaxed=relaxed).fit(x, y)
        assert not len(fitted.selected_)
        np.testing.assert_allclose(fitted.predict(x[:3]), np.tile(y.mean(0), (3, 1)))


def test_missing_values(sparse):
    x, y = (values.copy() for values in sparse)
    y[np.random.default_rng(1).random(y.shape) < 0.2] = np.nan
    x[:10], y[20:30] = np.nan, np.nan
    fitted = SparseReducedRankBaseline(rank=2, alpha=0.2).fit(x[:200], y[:200])
    assert r2(sparse[1][200:], fitted.predict(x[200:])) > 0.8
    assert np.isnan(fitted.predict(x[:10])).all()
