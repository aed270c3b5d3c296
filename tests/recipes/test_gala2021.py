from __future__ import annotations

from dataclasses import replace

import anndata
import lightning.pytorch as pl
import mudata
import numpy as np
import pandas as pd
import pytest
import torch

from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE, recipes
from scvi_cae.module import COUPLING_LOSSES, ArmConfig


def published_shape(n_cells: int = 30, n_genes: int = 1252, n_features: int = 68) -> mudata.MuData:
    rng = np.random.default_rng(0)
    cells = pd.DataFrame(index=[f"cell{i}" for i in range(n_cells)])
    values = {"rna": rng.gamma(1.0, 2.0, (n_cells, n_genes)), "ephys": rng.normal(size=(n_cells, n_features))}
    return mudata.MuData(
        {
            name: anndata.AnnData(
                x.astype(np.float32),
                obs=cells.copy(),
                var=pd.DataFrame(index=[f"{name}{i}" for i in range(x.shape[1])]),
            )
            for name, x in values.items()
        }
    )


def short(recipe: recipes.Recipe) -> recipes.Recipe:
    """The recipe with epochs of 10 batches."""
    first, *rest = recipe.training
    return replace(recipe, training=({**first, "datasplitter_kwargs": {"bootstrap_batches": 10}}, *rest))


@pytest.mark.parametrize(("latent_bias", "n_parameters"), [(True, 157_826), (False, 157_820)])
def test_number_of_parameters(latent_bias, n_parameters):
    mdata = published_shape()
    CoupledAE.setup_mudata(mdata)
    model = CoupledAE(mdata, **recipes.gala2021(latent_bias=latent_bias).model)
    assert sum(p.numel() for p in model.module.parameters()) == n_parameters
    assert model.module.arm("rna").latent_norm.running_mean.shape == (3,)


def test_the_published_arms():
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata)
    model = CoupledAE(mdata, **recipes.gala2021().model)
    shared = {
        "activation": "relu",
        "linear": False,
        "standardise": False,
        "weight": 1.0,
        "cross_weight": 1.0,
        "cross_gradient": 0.0,
        "cross_map": False,
    }
    published = {
        "initialisation": "glorot",
        "scale_missing": False,
        "latent_bias": True,
        "latent_norm": True,
        "latent_momentum": 0.95,
        "latent_eps": 1e-10,
        "error_over": "all",
    }
    rna = ArmConfig(
        hidden=(50,) * 4, dropout=0.5, noise=0.0, published={**published, "nonnegative": True}, **shared
    )
    other = {**published, "noise_unit": "variance", "decoder_dropout": 0.1}
    ephys = ArmConfig(hidden=(40,) * 4, dropout=0.1, noise=0.05, published=other, **shared)
    assert model.module.arm("rna").config == rna
    assert model.module.arm("ephys").config == ephys
    assert model.module.coupling == {("rna", "ephys"): (1.0, 1.0)}
    assert model.latent_axes == "network"
    assert set(model.module.coupling_losses.values()) == {COUPLING_LOSSES["min_variance"]}


@pytest.mark.parametrize("name", ["max_epochs", "batch_size", "monitor", "datasplitter_kwargs"])
def test_arguments_that_tell_stages_apart_belong_to_the_recipe(mdata, name):
    with pytest.raises(TypeError, match=f"{name} defines the stages"):
        recipes.gala2021().train(CoupledAE(mdata, n_latent=2), **{name: 1})


def test_arguments_of_the_plan_are_added_to_the_recipe_s(mdata):
    recipe = short(recipes.gala2021(n_epochs=1, n_fine_tuning=1))
    recipe.model["arms"]["ephys"]["standardise"] = True
    model = CoupledAE(mdata, **recipe.model)
    recipe.train(model, plan_kwargs={"lr": 5e-4}, **QUIET)
    optimizer = model.trainer.optimizers[0]
    assert type(optimizer) is torch.optim.Adam
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["eps"]) == (5e-4, 1e-7)


def test_noise_that_drowns_features_is_warned_of(mdata):
    """The published noise is 0.05 times the variance: for values in mV and MOhm it is huge."""
    mdata["ephys"].X[:, 2] *= 100
    recipe = short(recipes.gala2021(n_epochs=1, n_fine_tuning=0))
    with pytest.warns(UserWarning, match="'ephys': the noise added.*1 features: 'ephys_2'.*robust_scale"):
        recipe.train(CoupledAE(mdata, **recipe.model), **QUIET)


def test_the_last_epoch_or_the_best_one():
    assert recipes.gala2021(choose_epoch=False).training[0]["monitor"] is None


def test_stages_go_on_with_the_same_cells():
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata)
    recipe = short(recipes.gala2021(n_epochs=2, n_fine_tuning=3))
    model = CoupledAE(mdata, **recipe.model)
    steps, cells = [], []

    def train(**kwargs):
        CoupledAE.train(model, **kwargs)
        steps.append(model.trainer.global_step)
        cells.append(model.train_indices)

    model.train = train
    recipe.train(model, train_size=0.8, validation_size=0.1, **QUIET)
    assert steps == [2 * 10, 3]
    np.testing.assert_array_equal(*cells)
    assert {len(table) for table in model.history.values()} == {5}
    optimizer = model.trainer.optimizers[0]
    assert type(optimizer) is torch.optim.Adam
    group = optimizer.param_groups[0]
    assert (group["lr"], group["eps"], group["weight_decay"]) == (1e-3, 1e-7, 0.0)


def test_the_published_length_and_checkpoint_rule():
    bootstrap, fine_tuning = recipes.gala2021().training
    assert (bootstrap["max_epochs"], bootstrap["batch_size"]) == (1500, 200)
    assert bootstrap["datasplitter_kwargs"] == {"bootstrap_batches": 500}
    assert bootstrap["monitor_after"] == 1000
    assert bootstrap["monitor"] == [
        "rna_from_rna_validation",
        "ephys_from_ephys_validation",
        "distance_rna_ephys_validation",
    ]
    assert (fine_tuning["max_epochs"], fine_tuning["batch_size"]) == (500, None)
    assert len(recipes.gala2021(n_fine_tuning=0).training) == 1


def test_without_coupling_there_is_no_augmentation_of_decoders():
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata)
    recipe = short(recipes.gala2021(coupling=0.0, n_epochs=1, n_fine_tuning=0))
    model = CoupledAE(mdata, **recipe.model)
    assert model.module.metrics == ("rna_from_rna", "ephys_from_ephys", "reconstruction_loss")
    recipe.train(model, **QUIET)
    with pytest.raises(ValueError, match="not coupled"):
        model.predict("rna", "ephys")


def test_interruption_ends_all_stages():
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata)
    recipe = short(recipes.gala2021(n_epochs=5, n_fine_tuning=3))
    model = CoupledAE(mdata, **recipe.model)

    class CtrlC(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted after 1 of 5"):
        recipe.train(model, callbacks=[CtrlC()], **QUIET)
    assert model.is_trained


def test_other_names_of_modalities():
    mdata = make_mdata(n_features={"T": 30, "E": 8})
    CoupledAE.setup_mudata(mdata)
    recipe = short(recipes.gala2021("T", "E", n_epochs=1, n_fine_tuning=0))
    model = CoupledAE(mdata, **recipe.model)
    recipe.train(model, **QUIET)
    predicted = model.predict("E", "T").dropna()
    assert len(predicted) == mdata["E"].n_obs
    assert (predicted >= 0).all().all()
