"""What a training shows: losses that say something, one bar for trainings in a row, and nothing of Lightning's."""

from __future__ import annotations

import logging

import pytest

from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE, Ensemble, fit_many, splits


@pytest.fixture(scope="module")
def data():
    mdata = make_mdata(121)
    CoupledAE.setup_mudata(mdata)
    return mdata


def test_the_bar_has_reconstruction_losses(data, capsys):
    model = CoupledAE(data, n_latent=2)
    model.train(max_epochs=2)
    shown = capsys.readouterr().out
    for name in ("train", "validation"):
        loss = model.history[f"reconstruction_loss_{name}"].iloc[-1, 0]
        assert f"reconstruction_loss_{name}={loss:.3g}" in shown
    assert "train_loss" not in shown
    assert " validation_loss" not in shown


def test_trainings_in_a_row_have_one_bar(data, capsys):
    """Folds of unlike sizes are trained one after the other."""
    folds = splits.k_fold(data, 3)
    assert len({len(fold.train) for fold in folds}) > 1
    fits = fit_many(data, folds, settings=[{"n_latent": 2}], max_epochs=3)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.rstrip("\n").split("\r")
    assert "\n" not in captured.err.rstrip("\n")
    assert "6/6" in lines[-1]
    assert "reconstruction loss: train" in lines[-1]
    assert sum("0/6" in line for line in lines) == 1
    fit_many(data, folds, settings=[{"n_latent": 2}], max_epochs=1, **QUIET)
    assert capsys.readouterr().err == ""
    assert len(fits) == 3


def test_an_ensemble_has_a_bar(data, capsys):
    Ensemble(data, 2, n_latent=2).train(max_epochs=2)
    assert "reconstruction loss: train" in capsys.readouterr().err
    Ensemble(data, 2, n_latent=2).train(max_epochs=2, **QUIET)
    assert capsys.readouterr().err == ""


def test_lightning_announces_nothing_unless_asked_to(data, caplog):
    caplog.set_level(logging.INFO)
    CoupledAE(data, n_latent=2).train(max_epochs=1, **QUIET)
    assert not [record for record in caplog.records if record.name.startswith("lightning")]
    caplog.set_level(logging.INFO, "lightning.pytorch.utilities.rank_zero")
    CoupledAE(data, n_latent=2).train(max_epochs=1, **QUIET)
    assert any("max_epochs=1" in record.message for record in caplog.records)
