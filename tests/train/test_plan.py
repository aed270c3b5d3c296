from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import fit
from scvi_cae import CoupledAE
from scvi_cae.train import CoupledTrainingPlan

TERMS = [
    "reconstruction_loss",
    "rna_from_rna",
    "rna_from_ephys",
    "ephys_from_rna",
    "ephys_from_ephys",
    "coupling_rna_ephys",
]


def test_history_has_each_term_once_an_epoch(mdata):
    model = fit(mdata, max_epochs=4, batch_size=25)
    names = {f"{term}_{mode}" for term in TERMS for mode in ("train", "validation")}
    names |= {"distance_rna_ephys_validation"}
    assert set(model.history) == names | {"train_loss", "validation_loss"}
    for table in model.history.values():
        assert table.index.tolist() == [0, 1, 2, 3]
        assert table.index.name == "epoch"
        assert np.isfinite(table.to_numpy(dtype=float)).all()


def test_without_validation_cells_history_has_the_training_terms(mdata):
    model = fit(mdata, train_size=1.0)
    assert set(model.history) == {f"{term}_train" for term in TERMS} | {"train_loss"}


def test_logged_loss_is_the_weighted_mean_over_batches(mdata):
    """With a vanishing learning rate, no noise and no dropout, all batches see the same network."""
    mild = {"dropout": 0.0, "noise": 0.0}
    model = CoupledAE(mdata, n_latent=2, arms={"rna": mild, "ephys": mild}, coupling=0.0)
    model.train(
        max_epochs=1, train_size=1.0, batch_size=200, plan_kwargs={"lr": 1e-12}, enable_progress_bar=False
    )
    terms = [model.history[f"{name}_from_{name}_train"].iloc[0, 0] for name in model.modalities]
    assert model.history["train_loss"].iloc[0, 0] == pytest.approx(sum(terms), rel=1e-5)


def test_learning_rate_goes_up_and_down(mdata):
    rates = []

    class Watch(torch.optim.AdamW):
        def step(self, *args, **kwargs):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    plan = {"optimizer": "Custom", "optimizer_creator": Watch, "lr": 0.01}
    fit(mdata, max_epochs=20, plan_kwargs=plan)
    assert max(rates) == pytest.approx(0.01, rel=0.05)
    assert rates[0] < 0.001
    assert rates[-1] < 1e-4
    rates.clear()
    fit(mdata, max_epochs=5, plan_kwargs={**plan, "schedule": "constant"})
    assert len(set(rates)) == 1


def test_optimiser_and_its_settings(mdata):
    model = fit(
        mdata, plan_kwargs={"optimizer": "Adam", "weight_decay": 0.0, "eps": 1e-7, "schedule": "constant"}
    )
    optimizer = model.trainer.optimizers[0]
    assert type(optimizer) is torch.optim.Adam
    assert (optimizer.defaults["eps"], optimizer.defaults["weight_decay"]) == (1e-7, 0.0)


def test_reduce_on_plateau_is_scvi_s(mdata):
    plan = {"schedule": "constant", "reduce_lr_on_plateau": True, "lr_patience": 1, "lr_threshold": 1e3}
    model = fit(mdata, max_epochs=8, plan_kwargs=plan)
    assert model.trainer.optimizers[0].param_groups[0]["lr"] < 0.01


def test_unknown_settings(mdata):
    with pytest.raises(TypeError, match="learning_rate"):
        fit(mdata, plan_kwargs={"learning_rate": 1})


def test_wrong_settings(mdata):
    module = CoupledAE(mdata, n_latent=2).module
    with pytest.raises(ValueError, match="schedule='cosine'"):
        CoupledTrainingPlan(module, schedule="cosine")
    with pytest.raises(ValueError, match="reduce_lr_on_plateau needs"):
        fit(mdata, plan_kwargs={"reduce_lr_on_plateau": True})


def test_an_epoch_is_one_lightning_batch(mdata, monkeypatch):
    """What Lightning does around a batch costs as much as a third of a step."""
    steps, training_step = [], CoupledTrainingPlan.training_step
    monkeypatch.setattr(
        CoupledTrainingPlan,
        "training_step",
        lambda self, *args: (steps.append(1), training_step(self, *args))[1],
    )
    model = fit(mdata, max_epochs=3, batch_size=25)
    assert len(steps) == 3
    assert model.trainer.global_step > 3 * 3
