from __future__ import annotations

import numpy as np
import pytest
import torch

from scvi_cae.module import Arm, ArmConfig


def test_loss_is_twice_the_negative_log_likelihood_but_for_its_constant():
    arm = Arm(3, 2, ArmConfig("gaussian", hidden=()), 2)
    arm.likelihood.log_variance.data = torch.randn(2, 3)
    values = torch.randn(9, 3)
    observation = arm.observe(values)
    z = torch.randn(2, 9, 2)
    found = arm.reconstruction_losses(arm.decoder.hidden(z), observation, torch.ones(2, 9))
    for source in range(2):
        sd = arm.likelihood.log_variance[source].mul(0.5).exp()
        log_likelihood = torch.distributions.Normal(arm.decoder(z[source]), sd).log_prob(values)
        expected = (-2 * log_likelihood - np.log(2 * np.pi)).mean()
        assert found[source].item() == pytest.approx(expected.item(), rel=1e-5)


def test_variances_are_those_of_the_errors_of_each_source():
    """Of two sources, of which one says nothing, each gets its own spread, in the data's units."""
    torch.manual_seed(0)
    arm = Arm(2, 1, ArmConfig("gaussian", hidden=()), 2)
    z = torch.randn(2000, 1)
    values = torch.cat([10 * z + torch.randn(2000, 1), 5 * torch.randn(2000, 1)], dim=1)
    arm.fit(lambda: [values.numpy()])
    observation, sources = arm.observe(values), torch.stack([z, torch.zeros_like(z)])
    optimiser = torch.optim.Adam(arm.parameters(), lr=0.05)
    for _ in range(600):
        optimiser.zero_grad()
        arm.reconstruction_losses(
            arm.decoder.hidden(sources), observation, torch.ones(2, 2000)
        ).sum().backward()
        optimiser.step()
    np.testing.assert_allclose(arm.likelihood.learnt_scale(0), [1, 5], rtol=0.1)
    np.testing.assert_allclose(arm.likelihood.learnt_scale(1), [10, 5], rtol=0.1)


def test_a_feature_that_is_predicted_perfectly_does_not_run_away():
    torch.manual_seed(0)
    arm = Arm(1, 1, ArmConfig("gaussian", hidden=()), 1)
    z = torch.randn(50, 1)
    arm.fit(lambda: [z.numpy()])
    optimiser = torch.optim.Adam(arm.parameters(), lr=0.1)
    for _ in range(500):
        optimiser.zero_grad()
        loss = arm.reconstruction_losses(arm.decoder.hidden(z[None]), arm.observe(z), torch.ones(1, 50)).sum()
        loss.backward()
        optimiser.step()
    assert loss.isfinite()
    assert arm.likelihood.learnt_scale(0).item() > 0.01
