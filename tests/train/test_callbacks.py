from __future__ import annotations

from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from conftest import QUIET, fit
from scvi_cae import CoupledAE
from scvi_cae.train import KeepBestWeights


class Record(pl.Callback):
    """Weights after each epoch, with the validation cells' reconstruction loss."""

    def __init__(self):
        self.weights, self.losses = [], []

    def on_train_epoch_end(self, trainer, pl_module):
        self.weights.append({name: x.clone() for name, x in pl_module.module.state_dict().items()})
        self.losses.append(float(trainer.callback_metrics.get("reconstruction_loss_validation", np.nan)))


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


class Break(pl.Callback):
    """Spoil a weight in an epoch."""

    def __init__(self, epoch, value):
        self.epoch, self.value = epoch, value

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            with torch.no_grad():
                next(pl_module.module.parameters()).fill_(self.value)


def test_weights_of_the_best_epoch_are_restored(mdata):
    record = Record()
    model = fit(mdata, max_epochs=10, callbacks=[record, Break(8, 50.0)])
    best = int(np.argmin(record.losses))
    assert best < 8
    assert same(model.module.state_dict(), record.weights[best])


def test_the_noisy_coupling_does_not_choose_the_epoch():
    plan = torch.nn.Module()
    plan.module = torch.nn.Linear(1, 1)
    best = KeepBestWeights()
    for epoch, (reconstruction, total) in enumerate([(3.0, 9.0), (1.0, 30.0), (2.0, 5.0)]):
        torch.nn.init.constant_(plan.module.weight, epoch)
        metrics = {"reconstruction_loss_validation": reconstruction, "validation_loss": total}
        best.on_validation_end(None, plan)
        best.on_train_epoch_end(SimpleNamespace(callback_metrics=metrics), plan)
    best.on_train_end(None, plan)
    assert plan.module.weight.item() == 1
    assert (best.best_epoch, best.n_epochs) == (2, 3)


def test_without_validation_cells_the_last_weights_stay(mdata):
    record = Record()
    model = fit(mdata, max_epochs=4, callbacks=[record], train_size=1.0)
    assert same(model.module.state_dict(), record.weights[-1])


@pytest.mark.parametrize("train_size", [0.8, 1.0])
def test_divergence_is_an_error_and_leaves_finite_weights(mdata, train_size):
    record = Record()
    model = CoupledAE(mdata, n_latent=2)
    with pytest.raises(FloatingPointError, match=r"diverged in epoch 3.*plan_kwargs=\{'lr'"):
        model.train(max_epochs=5, callbacks=[record, Break(2, torch.nan)], train_size=train_size, **QUIET)
    assert np.isfinite(model.get_latent_representation()).all()
    assert all(x.isfinite().all() for x in model.module.state_dict().values())
    assert any(same(model.module.state_dict(), weights) for weights in record.weights[:2])


def watch(best: KeepBestWeights, epochs: list[dict[str, float]], every: int = 1) -> float:
    """The epoch whose weights are kept; metrics stay until the next validation."""
    metrics = {}
    plan = torch.nn.Module()
    plan.module = torch.nn.Linear(1, 1)
    for epoch, new in enumerate(epochs, start=1):
        torch.nn.init.constant_(plan.module.weight, epoch)
        if new and epoch % every == 0:
            metrics = new
            best.on_validation_end(None, plan)
        best.on_train_epoch_end(SimpleNamespace(callback_metrics=metrics), plan)
    best.on_train_end(None, plan)
    assert best.best_epoch == plan.module.weight.item()
    return best.best_epoch


EPOCHS = [
    {"reconstruction_loss_validation": a, "distance_validation": b}
    for a, b in [(1.0, 5.0), (2.0, 1.0), (1.5, 2.0), (1.6, 1.9)]
]


def test_several_metrics_are_added():
    names = ["reconstruction_loss_validation", "distance_validation"]
    assert watch(KeepBestWeights(names), EPOCHS) == 2
    assert watch(KeepBestWeights(names, after=2), EPOCHS) == 3


def test_until_epochs_are_compared_the_last_one_counts():
    assert watch(KeepBestWeights(after=3), EPOCHS) == 4
    assert watch(KeepBestWeights(after=9), EPOCHS[:3]) == 3


def test_nothing_to_compare_keeps_the_last_epoch():
    assert watch(KeepBestWeights(monitor=()), EPOCHS) == 4
    assert watch(KeepBestWeights(), [{}, {}, {}]) == 3


def test_an_epoch_is_not_judged_by_the_metrics_of_another():
    # Validated are epochs 2 and 4; 2 is before epochs are compared.
    assert watch(KeepBestWeights(), EPOCHS, every=2) == 4
    assert watch(KeepBestWeights(after=2), EPOCHS, every=2) == 4
    assert watch(KeepBestWeights(after=1), EPOCHS[:3], every=2) == 2
