"""Baselines with a latent space."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA

from scvi_cae.evaluate import CCABaseline, PCABaseline, foscttm


@pytest.fixture
def shared():
    """Two shared dimensions, the second weaker, with private dimensions and noise."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 2)) * [1, 0.6]
    x = (
        z @ rng.normal(size=(2, 12))
        + rng.normal(size=(400, 1)) @ rng.normal(size=(1, 12))
        + 0.5 * rng.normal(size=(400, 12))
    )
    y = z @ rng.normal(size=(2, 6)) + 0.7 * rng.normal(size=(400, 6))
    return 3 + 10 * x, y - 5


def test_correlations_are_scikit_learns(shared):
    x, y = shared
    a, b = CCA(n_components=2, max_iter=5000, tol=1e-10).fit_transform(x, y)
    expected = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(2)]
    np.testing.assert_allclose(CCABaseline(2).fit(x, y).correlations_, expected, rtol=1e-3)


def test_latents_have_unit_variance_and_are_weighted_by_their_correlation(shared):
    x, y = shared
    classic, weighted = (CCABaseline(2, power=p).fit(x, y) for p in (0.0, 2.0))
    np.testing.assert_allclose(classic.transform_source(x).std(0), 1)
    np.testing.assert_allclose(classic.transform_target(y).std(0), 1)
    np.testing.assert_allclose(weighted.transform_source(x).std(0), classic.correlations_**2)
    np.testing.assert_allclose(weighted.predict(x), classic.predict(x))
    assert foscttm(weighted.transform_source(x), weighted.transform_target(y)) < 0.2


def test_decoders(shared):
    x, y = shared
    train, test = slice(0, 300), slice(300, None)
    own, crossed = (CCABaseline(2, decoder=d).fit(x[train], y[train]) for d in ("own", "crossed"))
    np.testing.assert_allclose(own.transform_source(x), crossed.transform_source(x))
    errors = [((b.predict(x[test]) - y[test]) ** 2).mean() for b in (own, crossed)]
    assert errors[1] < errors[0] < y[test].var()
    # the own decoder is the regression of the target on its own latents
    z = own.transform_target(y[train])
    coefficients, *_ = np.linalg.lstsq(z, y[train] - y[train].mean(0), rcond=None)
    np.testing.assert_allclose(
        own.predict(x[test]), y[train].mean(0) + own.transform_source(x[test]) @ coefficients, rtol=1e-4
    )


def test_each_modality_may_have_its_own_number_of_components(shared):
    x, y = shared
    one = CCABaseline(4, n_components=(6, 1)).fit(x, y)
    assert one.transform_source(x).shape == (400, 1)  # limited by the smaller number of components
    np.testing.assert_allclose(
        CCABaseline(2, n_components=(4, 4)).fit(x, y).predict(x),
        CCABaseline(2, n_components=4).fit(x, y).predict(x),
    )


def test_regularisation_prefers_directions_of_more_variance(shared):
    x, y = shared
    spreads = []
    for r in (0.0, 100.0):
        z = CCABaseline(1, regularisation=r).fit(x, y).transform_source(x)
        xs = (x - x.mean(0)) / x.std(0)
        spreads.append(np.sum(np.corrcoef(z[:, 0], xs.T)[0, 1:] ** 2))
    assert spreads[1] > spreads[0]


def test_missing_values(shared):
    x, y = (values.copy() for values in shared)
    x[:50], y[50:100], y[120:160, 0], x[200, 3] = np.nan, np.nan, np.nan, np.nan
    cca = CCABaseline(2).fit(x, y)
    assert np.isnan(cca.transform_source(x)[:50]).all()
    assert np.isnan(cca.transform_target(y)[50:100]).all()
    assert np.isfinite(cca.transform_source(x)[50:]).all()
    assert np.isfinite(cca.predict(x)[50:]).all()
    complete = CCABaseline(2).fit(*shared)
    np.testing.assert_allclose(cca.correlations_, complete.correlations_, atol=0.1)


def test_constant_features_do_not_matter(shared):
    x, y = shared
    with_constant = CCABaseline(2).fit(np.c_[x, np.full(len(x), 3.0)], y)
    np.testing.assert_allclose(with_constant.correlations_, CCABaseline(2).fit(x, y).correlations_)


def test_cca_names_what_is_wrong(shared):
    x, y = (values.copy() for values in shared)
    with pytest.raises(ValueError, match="decoder='other'"):
        CCABaseline(decoder="other")
    x[:200], y[200:] = np.nan, np.nan
    with pytest.raises(ValueError, match="0 training cells have both"):
        CCABaseline().fit(x, y)


def test_pca_reconstructs_as_scikit_learns_does(shared):
    x, _ = shared
    z = (x[:300] - x[:300].mean(0)) / x[:300].std(0)
    pca = PCA(4).fit(z)
    query = (x[300:] - x[:300].mean(0)) / x[:300].std(0)
    expected = pca.inverse_transform(pca.transform(query)) * x[:300].std(0) + x[:300].mean(0)
    np.testing.assert_allclose(PCABaseline(4).fit(x[:300], x[:300]).predict(x[300:]), expected, atol=1e-5)
