from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.module import Standardiser


def standardise(values: np.ndarray) -> tuple[Standardiser, torch.Tensor]:
    standardiser = Standardiser(values.shape[1])
    standardiser.fit(values)
    return standardiser, torch.from_numpy(values.astype(np.float32))


@given(st.integers(0, 2**32 - 1), st.integers(3, 30), st.integers(1, 6), st.floats(0, 0.6))
def test_observed_values_have_mean_zero_and_sd_one(seed, n, n_features, missing):
    rng = np.random.default_rng(seed)
    values = 10 * rng.normal(size=(n, n_features)) + 100
    values[rng.random(values.shape) < missing] = np.nan
    standardiser, raw = standardise(values)
    observation = standardiser(raw)
    assert observation.values.isfinite().all()
    for feature in range(n_features):
        seen = observation.values[~torch.isnan(raw[:, feature]), feature]
        if len(seen) > 1:
            assert abs(seen.mean()) < 1e-3
            assert abs(seen.std(correction=0) - 1) < 1e-3


@given(st.integers(0, 2**32 - 1))
def test_inverse_restores_units(seed):
    values = np.random.default_rng(seed).normal(-65, 8, size=(20, 3))
    standardiser, raw = standardise(values)
    torch.testing.assert_close(standardiser.inverse(standardiser(raw).values), raw)


def test_mask_is_by_value_or_by_cell():
    gaps = torch.tensor([[1.0, np.nan], [3.0, 4.0], [np.nan, np.nan]])
    observation = Standardiser(2)(gaps)
    assert observation.observed.tolist() == [[True, False], [True, True], [False, False]]
    assert observation.present.tolist() == [True, True, False]
    whole = Standardiser(2)(gaps[1:])
    assert whole.observed.tolist() == [[True], [False]]


def test_missing_values_do_not_count_and_stay_zero():
    values = np.array([[1.0, 7.0], [np.nan, 9.0], [3.0, np.nan]])
    standardiser, raw = standardise(values)
    assert standardiser.mean.tolist() == [2.0, 8.0]
    assert standardiser.scale.tolist() == [1.0, 1.0]
    assert standardiser(raw).values[torch.isnan(raw)].tolist() == [0.0, 0.0]


def test_constant_features_are_centred_only():
    standardiser, raw = standardise(np.full((5, 2), 0.1))
    assert standardiser.scale.tolist() == [1.0, 1.0]
    assert standardiser(raw).values.abs().max() < 1e-6


def test_large_offsets_keep_their_spread():
    values = 1e6 + np.arange(10.0)[:, None]
    assert abs(standardise(values)[0].scale.item() - values.std()) < 1e-3
