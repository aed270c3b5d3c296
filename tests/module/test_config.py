from __future__ import annotations

import pytest

from scvi_cae.module import ArmConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": (0,)}, "hidden"),
        ({"hidden": 8}, "list of layer widths"),
        ({"activation": "tanhh"}, "activation"),
        ({"initialisation": "keras"}, "initialisation"),
        ({"noise_unit": "sd"}, "noise_unit"),
        ({"error_over": "some"}, "error_over"),
        ({"dropout": 1.0}, "dropout"),
        ({"decoder_dropout": 1.0}, "decoder_dropout"),
        ({"decoder_dropout": 0.1, "hidden": ()}, "hidden layer"),
        ({"noise": -0.1}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"weight": 0.0}, "weight"),
        ({"cross_weight": -1.0}, "cross_weight"),
        ({"latent_momentum": 0.0}, "latent_momentum"),
        ({"latent_eps": 0.0}, "latent_eps"),
        ({"nonnegative": True}, "standardise=False"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ArmConfig(**settings)


def test_widths_may_be_a_list():
    assert ArmConfig(hidden=[8, 4]).hidden == (8, 4)
