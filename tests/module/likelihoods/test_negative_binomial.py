from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from scvi_cae.module import Arm, ArmConfig


def make_arm(counts, **kwargs):
    arm = Arm(counts.shape[1], 2, ArmConfig("negative_binomial", hidden=(4,), dropout=0.0, **kwargs)).eval()
    arm.fit(lambda: [counts])
    return arm


@pytest.fixture
def counts():
    return np.random.default_rng(0).negative_binomial(3, 0.2, size=(25, 6)).astype(np.float32)


def test_loss_is_that_of_scipy(counts):
    arm = make_arm(counts)
    arm.likelihood.log_theta.data = torch.randn(6)
    z = torch.randn(1, 25, 2)
    loss = arm.reconstruction_losses(
        arm.decoder.hidden(z), arm.observe(torch.from_numpy(counts)), torch.ones(1, 25)
    )
    rates = torch.softmax(arm.decoder(z[0]), dim=1).detach().numpy()
    mean = counts.sum(1, keepdims=True) * rates
    theta = arm.likelihood.log_theta.exp().detach().numpy()
    expected = -stats.nbinom(theta, theta / (theta + mean)).logpmf(counts).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_encoder_does_not_see_how_deeply_a_cell_was_sequenced(counts):
    arm = make_arm(counts)
    deeper = counts.copy()
    deeper[3] *= 10
    first, second = (arm.encode(arm.observe(torch.from_numpy(x))) for x in (counts, deeper))
    torch.testing.assert_close(first, second)


def test_longer_genes_are_expected_to_have_more_counts(counts):
    arm = make_arm(counts)
    before = arm.decode(torch.zeros(1, 2))
    arm.likelihood.set_lengths(torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 10.0]))
    after = arm.decode(torch.zeros(1, 2))
    ratio = (after[0, 5] / after[0, 0]) / (before[0, 5] / before[0, 0])
    assert ratio.item() == pytest.approx(10, rel=1e-4)
    assert after.sum().item() == pytest.approx(before.sum().item(), rel=1e-5)


def test_missing_counts_are_in_no_library(counts):
    """A gene that is not measured does not make the others seem rarer."""
    arm = make_arm(counts)
    some = counts.copy()
    some[:, 2] = np.nan
    observation = arm.observe(torch.from_numpy(some))
    z = torch.randn(1, 25, 2)
    loss = arm.reconstruction_losses(arm.decoder.hidden(z), observation, torch.ones(1, 25))
    keep = [0, 1, 3, 4, 5]
    rates = torch.softmax(arm.decoder(z[0])[:, keep], dim=1).detach().numpy()
    mean = counts[:, keep].sum(1, keepdims=True) * rates
    theta = arm.likelihood.log_theta.exp().detach().numpy()[keep]
    expected = -stats.nbinom(theta, theta / (theta + mean)).logpmf(counts[:, keep]).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_a_cell_without_counts_is_finite(counts):
    counts[4] = 0
    arm = make_arm(counts)
    observation = arm.observe(torch.from_numpy(counts))
    assert arm.encode(observation).isfinite().all()
    loss = arm.reconstruction_losses(
        arm.decoder.hidden(torch.randn(1, 25, 2)), observation, torch.ones(1, 25)
    )
    assert loss.isfinite()
