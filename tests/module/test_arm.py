from __future__ import annotations

import pytest
import torch

from scvi_cae.module import Arm, ArmConfig, Observation


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": (0,)}, "hidden"),
        ({"activation": "tanhh"}, "activation"),
        ({"dropout": 1.0}, "dropout"),
        ({"noise": -0.1}, "noise"),
        ({"weight": 0.0}, "weight"),
        ({"cross_weight": -1.0}, "cross_weight"),
        ({"noise": float("nan")}, "noise"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ArmConfig(**settings)


def test_missing_values_change_nothing():
    arm = Arm(4, 2, ArmConfig(hidden=(5,))).eval()
    values, observed = torch.randn(6, 4), torch.rand(6, 4) < 0.7
    present = observed.any(1)
    first = Observation(values * observed, observed, present)
    reconstruction = arm.decode(arm.encode(first))
    loss = arm.reconstruction_loss(reconstruction, first, present)
    second = Observation(torch.where(observed, values, 0.0), observed, present)
    changed = arm.reconstruction_loss(
        reconstruction, second._replace(values=torch.where(observed, values, 99.0)), present
    )
    assert torch.equal(arm.encode(first), arm.encode(second))
    assert torch.equal(loss, changed)


def test_decoder_mirrors_the_encoder():
    arm = Arm(20, 3, ArmConfig(hidden=(8, 6)))
    widths = [layer.out_features for layer in arm.decoder.mlp if isinstance(layer, torch.nn.Linear)]
    assert widths == [6, 8, 20]
