from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.module import masked_mean


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.integers(1, 6))
def test_is_the_mean_over_observed_entries(seed, n, n_features):
    rng = np.random.default_rng(seed)
    x, y, observed = (
        rng.normal(size=(n, n_features)),
        rng.normal(size=(n, n_features)),
        rng.random((n, n_features)) < 0.7,
    )
    expected = ((x - y)[observed] ** 2).mean() if observed.any() else 0.0
    loss = masked_mean(torch.from_numpy(x - y).square(), torch.from_numpy(observed))
    assert loss.item() == pytest.approx(expected)


def test_a_mask_of_cells_counts_all_their_features():
    x, y = torch.ones(2, 3), torch.zeros(2, 3)
    assert masked_mean((x - y).square(), torch.tensor([[True], [False]])).item() == 1


def test_nothing_observed_gives_zero_loss_and_gradient():
    x = torch.ones(2, 3, requires_grad=True)
    masked_mean(x.square(), torch.zeros(2, 3, dtype=torch.bool)).backward()
    assert torch.equal(x.grad, torch.zeros(2, 3))


def test_entries_that_are_counted_may_be_others():
    x, y = torch.ones(2, 3), torch.zeros(2, 3)
    observed = torch.tensor([[True, False, False], [True, True, False]])
    assert masked_mean((x - y).square(), observed, torch.ones(2, 1, dtype=torch.bool)).item() == 0.5
