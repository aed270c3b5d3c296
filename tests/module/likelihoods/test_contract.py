"""The contract of :class:`scvi_cae.module.Likelihood`, for every likelihood."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.module import LIKELIHOODS, Arm, ArmConfig


def kind(likelihood: str) -> str:
    return LIKELIHOODS[likelihood].data_kind


def raw_values(likelihood: str, n_cells: int, n_features: int, seed: int) -> np.ndarray:
    """Values that suit a likelihood, with cells and, but for labels, values missing."""
    rng = np.random.default_rng(seed)
    if kind(likelihood) == "classes":
        values = np.eye(n_features, dtype=np.float32)[rng.integers(n_features, size=n_cells)]
    elif kind(likelihood) == "counts":
        values = rng.poisson(5, size=(n_cells, n_features)).astype(np.float32)
        values[rng.random(values.shape) < 0.1] = np.nan
    else:
        values = rng.normal(3, 2, size=(n_cells, n_features)).astype(np.float32)
        values[rng.random(values.shape) < 0.1] = np.nan
    values[::7] = np.nan
    return values


def make_arm(likelihood: str, values: np.ndarray, n_sources: int = 2) -> Arm:
    hidden = () if kind(likelihood) == "classes" else (5,)
    arm = Arm(values.shape[1], 2, ArmConfig(likelihood, hidden=hidden, dropout=0.0), n_sources)
    arm.fit(lambda: [values[:10], values[10:]])
    return arm.eval()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@given(seed=st.integers(0, 50))
def test_what_is_missing_has_no_part_in_the_loss_nor_in_the_latent(likelihood, seed):
    values = raw_values(likelihood, 21, 6, seed)
    arm = make_arm(likelihood, values)
    observation = arm.observe(torch.from_numpy(values))
    present = torch.from_numpy(~np.isnan(values).all(1))
    assert torch.equal(observation.present > 0, present)
    cells = torch.stack([torch.ones(21), (torch.arange(21) % 2).float()])
    z = torch.randn(2, 21, 2)
    features = arm.decoder.hidden(z)
    losses = arm.reconstruction_losses(features, observation, cells)
    assert losses.shape == (2,)
    assert losses.isfinite().all()
    some = present & (torch.arange(21) % 2 > 0)
    alone = arm.observe(torch.from_numpy(values[some.numpy()]))
    expected = arm.reconstruction_losses(features[:, some], alone, torch.ones(2, int(some.sum())))
    torch.testing.assert_close(losses[1], expected[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(arm.encode(observation)[some], arm.encode(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_batch_without_the_modality_has_no_loss_and_finite_gradients(likelihood):
    values = raw_values(likelihood, 20, 6, 0)
    arm = make_arm(likelihood, values).train()
    absent = arm.observe(torch.full((4, 6), torch.nan))
    z = torch.randn(2, 4, 2, requires_grad=True)
    losses = arm.reconstruction_losses(arm.decoder.hidden(z), absent, torch.ones(2, 4))
    assert (losses == 0).all()
    losses.sum().backward()
    assert (z.grad == 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in arm.parameters())


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_training_fits_the_values(likelihood):
    """A decoder with a latent of its own for every cell comes close to what it is compared with."""
    torch.manual_seed(0)
    values = raw_values(likelihood, 30, 4, 1)
    arm = make_arm(likelihood, values, 1)
    observation = arm.observe(torch.from_numpy(values))
    z = torch.nn.Parameter(torch.randn(1, 30, 2))
    optimiser = torch.optim.Adam([z, *arm.parameters()], lr=0.05)
    losses = []
    for _ in range(200):
        loss = arm.reconstruction_losses(arm.decoder.hidden(z), observation, torch.ones(1, 30)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_expected_values_have_the_unit_of_the_data(likelihood):
    values = raw_values(likelihood, 40, 5, 2)
    arm = make_arm(likelihood, values)
    with torch.no_grad():
        mean = arm.decode(torch.zeros(3, 2)).numpy()
    assert mean.shape == (3, 5)
    if kind(likelihood) == "classes":
        np.testing.assert_allclose(mean.sum(1), 1, rtol=1e-5)
    if kind(likelihood) == "counts":
        assert (mean > 0).all()
        size = np.nanmean(values, axis=0).sum()
        np.testing.assert_allclose(mean.sum(1), size, rtol=1e-4)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_inputs_are_those_of_a_cell_with_the_expected_values(likelihood):
    values = raw_values(likelihood, 40, 5, 3)
    arm = make_arm(likelihood, values)
    with torch.no_grad():
        output = arm.output(torch.randn(6, 2))
        expected = arm.likelihood.mean(output)
        inputs = arm.likelihood.inputs(arm.observe(expected))
        torch.testing.assert_close(arm.likelihood.expected_inputs(output), inputs, rtol=1e-3, atol=1e-4)
        # A prediction is on its own scale already.
        torch.testing.assert_close(arm.likelihood.prediction_scale(expected), expected, rtol=1e-4, atol=1e-5)
    assert expected.min() >= arm.likelihood.minimum
    assert inputs.shape == output.shape


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_link_scale_is_monotonic_in_the_mean_and_inputs_have_a_scale(likelihood):
    arm = make_arm(likelihood, raw_values(likelihood, 40, 5, 4))
    scale = arm.likelihood.input_scale
    assert scale.shape == (5,)
    assert (scale > 0).all()
    low, high = torch.zeros(2, 1, 5)
    high[0, 2] = 1.0
    for function in (arm.likelihood.mean, arm.likelihood.link_scale):
        assert function(high)[0, 2] > function(low)[0, 2]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_only_some_likelihoods_learn_a_scale(likelihood):
    arm = make_arm(likelihood, raw_values(likelihood, 40, 5, 5))
    scale = arm.likelihood.learnt_scale(1)
    assert (scale is None) == (likelihood != "gaussian")
    if scale is not None:
        assert scale.shape == (5,)
        assert (scale > 0).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_what_is_fitted_does_not_depend_on_the_parts_of_a_pass(likelihood):
    values = raw_values(likelihood, 40, 5, 6)
    whole, parts = (Arm(5, 2, ArmConfig(likelihood, hidden=())) for _ in range(2))
    found = whole.fit(lambda: [values])
    other = parts.fit(lambda: [values[:3], values[3:20], values[20:]])
    np.testing.assert_allclose(found.mean, other.mean, rtol=1e-5)
    np.testing.assert_allclose(found.spread, other.spread, rtol=1e-4)
    for (name, one), two in zip(whole.named_buffers(), parts.buffers(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5, msg=name)
