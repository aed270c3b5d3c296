from __future__ import annotations

from dataclasses import fields

import pytest

from scvi_cae.module import ArmConfig, PublishedSettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": (0,)}, "hidden"),
        ({"hidden": 8}, "list of layer widths"),
        ({"activation": "tanhh"}, "activation"),
        ({"published": {"initialisation": "keras"}}, "initialisation"),
        ({"published": {"noise_unit": "sd"}}, "noise_unit"),
        ({"published": {"error_over": "some"}}, "error_over"),
        ({"dropout": 1.0}, "dropout"),
        ({"published": {"decoder_dropout": 1.0}}, "decoder_dropout"),
        ({"published": {"decoder_dropout": 0.1}, "hidden": ()}, "hidden layer"),
        ({"noise": -0.1}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"weight": 0.0}, "weight"),
        ({"cross_weight": -1.0}, "cross_weight"),
        ({"published": {"latent_momentum": 0.0}}, "latent_momentum"),
        ({"published": {"latent_eps": 0.0}}, "latent_eps"),
        ({"published": {"nonnegative": True}}, "standardise=False"),
        ({"published": {"nonnegative": True}, "likelihood": "gaussian"}, "squared_error"),
        ({"published": {"cross_gradient": 1.0}}, "no setting 'cross_gradient'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ArmConfig(**settings)


def test_widths_may_be_a_list():
    assert ArmConfig(hidden=[8, 4]).hidden == (8, 4)


def test_settings_of_the_published_networks_are_apart():
    config = ArmConfig(published={"latent_eps": 1e-10})
    assert config.published == PublishedSettings(latent_eps=1e-10)
    assert not {field.name for field in fields(ArmConfig)} & {
        field.name for field in fields(PublishedSettings)
    }
