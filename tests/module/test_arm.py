from __future__ import annotations

import numpy as np
import pytest
import torch

from scvi_cae.module import Arm, ArmConfig, Observation


def observe(values: np.ndarray) -> Observation:
    raw = torch.from_numpy(values.astype(np.float32))
    observed = ~torch.isnan(raw)
    return Observation(raw.nan_to_num(), observed.float(), observed.any(1).float())


def own_loss(arm: Arm, z: torch.Tensor, observation: Observation, cells: torch.Tensor) -> torch.Tensor:
    features = arm.decoder.hidden(z).unsqueeze(0)
    return arm.reconstruction_losses(features, observation, cells.unsqueeze(0))[0]


def test_missing_values_change_nothing():
    arm = Arm(4, 2, ArmConfig(hidden=(5,))).eval()
    values, observed = torch.randn(6, 4), (torch.rand(6, 4) < 0.7).float()
    present = observed.amax(1)
    first = Observation(values * observed, observed, present)
    z = arm.encode(first)
    loss = own_loss(arm, z, first, present)
    changed = first._replace(values=torch.where(observed > 0, values, 99.0))
    assert torch.equal(loss, own_loss(arm, z, changed, present))


@pytest.mark.parametrize("n_features", [5, 40])
def test_losses_without_the_output_are_those_with_it(n_features):
    """Wide modalities measured cell by cell take a short cut; it gives the same losses and gradients."""
    torch.manual_seed(0)
    arm = Arm(n_features, 3, ArmConfig(hidden=(6,)))
    present = (torch.rand(30) < 0.8).float()
    values = torch.randn(30, n_features) * present[:, None]
    cells = torch.stack([torch.ones(30), (torch.rand(30) < 0.5).float()])
    by_cell = Observation(values, present[:, None], present)
    by_value = Observation(values, present[:, None].expand(30, n_features), present)
    z = torch.randn(2, 30, 3, requires_grad=True)
    variables = (z, *arm.decoder.parameters())
    losses, gradients = [], []
    for observation in (by_cell, by_value):
        errors = arm.reconstruction_losses(arm.decoder.hidden(z), observation, cells)
        losses.append(errors.detach())
        gradients.append(torch.autograd.grad((errors * torch.tensor([1.0, 2.0])).sum(), variables))
    torch.testing.assert_close(*losses)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    expected = [
        (arm.decode(z[s]) - values)[(cells[s] * present) > 0].square().mean().item() for s in range(2)
    ]
    assert losses[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_decoder_mirrors_the_encoder():
    arm = Arm(20, 3, ArmConfig(hidden=(8, 6)))
    widths = [layer.out_features for layer in (*arm.decoder.layers, arm.decoder.last)]
    assert widths == [6, 8, 20]
    assert [layer.out_features for layer in arm.encoder.layers] == [8 + 3, 6, 3]


def test_an_arm_without_standardisation_takes_values_as_they_are():
    arm = Arm(2, 1, ArmConfig(standardise=False))
    values = np.array([[1.0, 200.0], [3.0, np.nan], [5.0, 600.0]])
    arm.fit(lambda: [values])
    observation = arm.observe(torch.from_numpy(values))
    assert torch.equal(observation.values, torch.from_numpy(np.nan_to_num(values)))
    assert torch.equal(arm.likelihood.mean(observation.values), observation.values)


@pytest.mark.parametrize(("unit", "power"), [("std", 1), ("variance", 2)])
def test_unit_of_the_noise(unit, power):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5000, 3)) * [0.5, 1.0, 4.0]
    arm = Arm(3, 1, ArmConfig(standardise=False, noise=0.05, published={"noise_unit": unit}, dropout=0.0))
    arm.fit(lambda: [values])
    added = arm.augmentation(torch.zeros(5000, 3), torch.ones(5000, 1))
    np.testing.assert_allclose(added.std(0), 0.05 * np.array([0.5, 1.0, 4.0]) ** power, rtol=0.05)


def test_features_that_do_not_vary_get_no_noise():
    arm = Arm(2, 1, ArmConfig(standardise=False, noise=0.05))
    arm.fit(lambda: [np.stack([np.full(9, 0.1), np.arange(9.0)], axis=1)])
    assert arm.augmentation.noise_sd[0] == 0
    assert arm.augmentation.noise_sd[1] > 0


def test_predictions_of_a_nonnegative_arm():
    arm = Arm(6, 2, ArmConfig(standardise=False, published={"nonnegative": True}))
    decoded = arm.decode(torch.randn(100, 2))
    assert decoded.min() == 0
    assert decoded.max() > 0


def test_an_arm_without_normalisation_leaves_the_latent_s_scale_alone():
    arm = Arm(4, 2, ArmConfig(published={"latent_norm": False}, dropout=0.0, hidden=()))
    observation = observe(np.random.default_rng(0).normal(size=(10, 4)))
    assert torch.equal(arm.encode(observation), arm.encoder(observation.values))


def test_settings_of_the_normalisation():
    arm = Arm(4, 2, ArmConfig(published={"latent_momentum": 1.0, "latent_eps": 1e-10}, dropout=0.0))
    observation = observe(np.random.default_rng(0).normal(size=(10, 4)))
    trained = arm.train().encode(observation)
    torch.testing.assert_close(trained.var(0, correction=0), torch.ones(2))
    # Statistics that are those of the last batch give the same latents in evaluation.
    torch.testing.assert_close(arm.eval().encode(observation), trained)


@pytest.mark.parametrize(("error_over", "expected"), [("observed", 1.0), ("all", 5 / 8)])
def test_what_an_error_is_averaged_over(error_over, expected):
    """Of two cells with the modality, three of eight entries are missing; a cell without it never counts."""
    values = np.full((3, 4), np.nan)
    values[0], values[1, 0] = 1.0, 1.0
    observation = observe(values)
    arm = Arm(4, 2, ArmConfig(published={"error_over": error_over}))
    for parameter in arm.decoder.parameters():
        torch.nn.init.zeros_(parameter)
    z = torch.zeros(3, 2)
    assert own_loss(arm, z, observation, torch.ones(3)).item() == pytest.approx(expected)
    assert own_loss(arm, z, observation, torch.tensor([1.0, 0.0, 1.0])).item() == 1


def test_keras_initialisation():
    torch.manual_seed(0)
    arm = Arm(
        300,
        3,
        ArmConfig(hidden=(50, 50), linear=False, published={"initialisation": "glorot", "latent_bias": True}),
    )
    for layer in arm.modules():
        if isinstance(layer, torch.nn.Linear):
            limit = (6 / (layer.in_features + layer.out_features)) ** 0.5
            assert not layer.bias.any()
            assert 0.9 * limit < layer.weight.abs().max() <= limit
