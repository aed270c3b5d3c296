from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_cae.model._local_errors import LocalErrors


def test_errors_are_those_of_the_place():
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(1000, 2))
    latents[:, 0] += np.where(np.arange(1000) % 2, 10, -10)
    residuals = rng.normal(size=(1000, 3)) * np.where(np.arange(1000) % 2, 5, 1)[:, None]
    local = LocalErrors.fit(latents, residuals)
    expected = np.sqrt(2 / np.pi)
    np.testing.assert_allclose(local.at([[-10, 0.0]]), expected, rtol=0.15)
    np.testing.assert_allclose(local.at([[10, 0.0]]), 5 * expected, rtol=0.15)
    # Far from everything, of the nearest cells; without a latent, unknown.
    assert (local.at([[1e4, 0.0]]) > 2).all()
    assert np.isnan(local.at([[np.nan, np.nan]])).all()


@given(st.integers(0, 1000), st.integers(1, 60), st.sampled_from([0.0, 0.5]), st.booleans())
@settings(deadline=None, max_examples=40)
def test_errors_are_positive_whatever_the_cells(seed, n, missing, alike):
    rng = np.random.default_rng(seed)
    latents = np.ones((n, 2)) if alike else rng.normal(size=(n, 2))
    residuals = rng.normal(size=(n, 4))
    residuals[rng.random(residuals.shape) < missing] = np.nan
    residuals[:, 0], residuals[:, 1] = 0.0, np.nan
    errors = LocalErrors.fit(latents, residuals).at(rng.normal(size=(5, 2)))
    assert errors.shape == (5, 4)
    assert (errors > 0).all()
    np.testing.assert_allclose(errors[:, :2], 1.0, rtol=1e-5)
    absolute = np.abs(residuals)
    assert (errors[:, 3] <= np.nanmax(absolute[:, 3], initial=1.0) + 1e-5).all()


def test_missing_values_are_not_errors():
    rng = np.random.default_rng(1)
    latents, residuals = rng.normal(size=(400, 2)), 3 * rng.normal(size=(400, 1))
    residuals[rng.random(400) < 0.5] = np.nan
    errors = LocalErrors.fit(latents, residuals).at(latents)
    np.testing.assert_allclose(errors.mean(), 3 * np.sqrt(2 / np.pi), rtol=0.1)
