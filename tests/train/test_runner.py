from __future__ import annotations

import os
import signal

import lightning.pytorch as pl
import numpy as np
import pytest

from conftest import QUIET, fit
from scvi_cae import CoupledAE


class CtrlC(pl.Callback):
    """Press Ctrl-C in the second batch of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch
        self.batches = 0

    def on_train_epoch_start(self, trainer, pl_module):
        self.batches = 0

    def on_before_backward(self, trainer, pl_module, loss):
        self.batches += 1
        if (trainer.current_epoch, self.batches) == (self.epoch, 2):
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_leaves_a_usable_model_and_says_how_far_it_got(mdata, tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    model = CoupledAE(mdata, n_latent=2)
    with pytest.warns(
        UserWarning, match=r"interrupted after 3 of 50 epochs; the model has the weights of epoch \d"
    ):
        model.train(max_epochs=50, batch_size=20, callbacks=[CtrlC(3)], **QUIET)
    assert model.is_trained
    assert len(model.history["train_loss"]) == 3
    assert len(model.train_indices)
    assert np.isfinite(model.get_latent_representation()).all()
    model.save(tmp_path / "model")
    assert signal.getsignal(signal.SIGINT) is handler
    model.train(max_epochs=2, **QUIET)
    assert len(model.history["train_loss"]) == 5


def test_ctrl_c_before_the_first_epoch_is_complete(mdata):
    model = CoupledAE(mdata, n_latent=2)
    with pytest.warns(UserWarning, match="after 0 of 5 epochs; the model has the weights it started with"):
        model.train(max_epochs=5, batch_size=20, callbacks=[CtrlC(0)], **QUIET)
    assert not model.is_trained
    with pytest.raises(RuntimeError, match="not trained"):
        model.get_latent_representation()


def test_other_errors_pass(mdata):
    class Fail(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        fit(mdata, callbacks=[Fail()])


def test_an_exit_is_an_exit(mdata):
    class Exit(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        fit(mdata, callbacks=[Exit()])
