from __future__ import annotations

import lightning.pytorch as pl
import mudata
import numpy as np
import pytest
import scvi

from conftest import QUIET, fit, make_mdata
from scvi_cae import CoupledAE
from scvi_cae.train import KeepBestWeights


def weights_equal(a, b):
    return all((x == y).all() for x, y in zip(a.module.parameters(), b.module.parameters(), strict=True))


def test_training_learns(trained):
    loss = trained.history["validation_loss"]["validation_loss"]
    assert loss.min() < 0.5 * loss.iloc[0]


def test_same_seed_same_weights_bit_for_bit(mdata):
    a, b, c = (fit(mdata, max_epochs=5, seed=seed) for seed in (0, 0, 1))
    assert weights_equal(a, b)
    assert a.history["validation_loss"].equals(b.history["validation_loss"])
    np.testing.assert_array_equal(a.train_indices, b.train_indices)
    assert not weights_equal(a, c)


def test_split_sizes_mean_what_they_mean_in_scvi(mdata):
    n = mdata.n_obs
    model = fit(mdata, train_size=0.7, validation_size=0.1)
    sizes = [len(x) for x in (model.train_indices, model.validation_indices, model.test_indices)]
    assert sizes == pytest.approx([0.7 * n, 0.1 * n, 0.2 * n], abs=1)
    model = fit(mdata)
    assert len(model.train_indices) == pytest.approx(0.9 * n, abs=1)
    assert len(model.test_indices) == 0


def test_splits_keep_patterns_and_labels():
    mdata = make_mdata(300, fraction={"rna": 0.5, "ephys": 0.3})
    mdata.obs["type"] = np.random.default_rng(0).choice(
        ["x", "y", "z"], size=mdata.n_obs, p=[0.8, 0.15, 0.05]
    )
    CoupledAE.setup_mudata(mdata)
    model = fit(mdata, stratify_by="type", train_size=0.8)
    has = {name: mdata.obs_names.isin(mdata[name].obs_names) for name in mdata.mod}
    for mask in (has["rna"] & has["ephys"], has["rna"] & ~has["ephys"], ~has["rna"] & has["ephys"]):
        assert abs(mask[model.validation_indices].sum() - 0.2 * mask.sum()) <= 1
    CoupledAE.setup_mudata(mdata, labels_key="type")
    by_default = fit(mdata, train_size=0.8)
    np.testing.assert_array_equal(by_default.train_indices, model.train_indices)
    with pytest.raises(KeyError, match="No column 'colour'"):
        fit(mdata, stratify_by="colour")


def test_explicit_cells(mdata):
    n = mdata.n_obs
    model = fit(mdata, external_indexing=[np.arange(60), np.arange(60, 80)])
    np.testing.assert_array_equal(model.train_indices, np.arange(60))
    np.testing.assert_array_equal(model.validation_indices, np.arange(60, 80))
    np.testing.assert_array_equal(model.test_indices, np.arange(80, n))
    with pytest.raises(ValueError, match="leave out train_size"):
        fit(mdata, external_indexing=[np.arange(60)], train_size=0.5)


def test_statistics_are_those_of_the_training_cells(mdata):
    model = fit(mdata, external_indexing=[np.arange(60)])
    for name in mdata.mod:
        values = mdata[name].to_df().reindex(mdata.obs_names[:60])
        standardiser = model.module.arm(name).likelihood.standardiser
        np.testing.assert_allclose(standardiser.mean, values.mean(), rtol=1e-5)
        np.testing.assert_allclose(standardiser.scale, values.std(ddof=0), rtol=1e-5)


def test_other_cells_change_nothing():
    """Held-out cells may hold anything: weights are the same, bit for bit."""
    fits = []
    for spoil in (False, True):
        mdata = make_mdata(missing={"ephys": 0.1})
        if spoil:
            for adata in mdata.mod.values():
                adata.X[~adata.obs_names.isin(mdata.obs_names[:60])] *= 3
        CoupledAE.setup_mudata(mdata)
        fits.append(fit(mdata, external_indexing=[np.arange(60)]))
    assert weights_equal(*fits)


def test_losses_are_means_over_the_observed_values():
    """What is logged is what a user computes from predictions and data, gaps left out."""
    mdata = make_mdata(200, missing={"ephys": 0.3, "rna": 0.1})
    CoupledAE.setup_mudata(mdata)
    model = fit(mdata, max_epochs=5, train_size=0.6)
    best = model.history["reconstruction_loss_validation"].iloc[:, 0].argmin()
    cells = mdata.obs_names[model.validation_indices]
    total = 0.0
    for target in mdata.mod:
        truth = mdata[target].to_df().reindex(cells)
        scale = model.module.arm(target).likelihood.standardiser.scale.numpy()
        config = model.module.arm(target).config
        for source in mdata.mod:
            error = ((model.predict(source, target).loc[cells] - truth) / scale) ** 2
            logged = model.history[f"{target}_from_{source}_validation"].iloc[best, 0]
            assert logged == pytest.approx(np.nanmean(error.to_numpy()), rel=1e-4)
            total += logged * config.weight * (1 if source == target else config.cross_weight)
    assert model.history["reconstruction_loss_validation"].iloc[best, 0] == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("form", ["masked", "float64"])
def test_missing_values_may_be_masked(form):
    gaps = make_mdata(missing={"rna": 0.2})
    other = gaps.copy()
    X = gaps["rna"].X
    other["rna"].X = np.ma.masked_invalid(X) if form == "masked" else X.astype(np.float64)
    fits = []
    for mdata in (gaps, other):
        CoupledAE.setup_mudata(mdata)
        fits.append(fit(mdata))
    assert weights_equal(*fits)


def test_data_may_be_sparse_and_in_any_order():
    from scipy import sparse

    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata)
    as_sparse = mudata.MuData({name: adata.copy() for name, adata in mdata.mod.items()})
    as_sparse["rna"].X = sparse.csc_matrix(as_sparse["rna"].X)
    CoupledAE.setup_mudata(as_sparse)
    assert weights_equal(fit(mdata), fit(as_sparse))
    # Rows of a modality in another order are the same cells.
    shuffled = mudata.MuData({"rna": mdata["rna"], "ephys": mdata["ephys"][::-1].copy()})
    assert (shuffled.obs_names == mdata.obs_names).sum() >= mdata["rna"].n_obs
    CoupledAE.setup_mudata(shuffled)
    cells = shuffled.obs_names.get_indexer(mdata.obs_names)
    a = fit(mdata, external_indexing=[np.arange(mdata.n_obs)])
    b = fit(shuffled, external_indexing=[cells])
    assert weights_equal(a, b)


def test_continued_training_goes_on(mdata):
    model = fit(mdata, max_epochs=3, train_size=0.8)
    mean = model.module.arm("rna").likelihood.standardiser.mean.clone()
    cells = model.train_indices
    model.train(max_epochs=2, **QUIET)
    np.testing.assert_array_equal(model.train_indices, cells)
    assert len(model.history["train_loss"]) == 5
    with pytest.warns(UserWarning, match="cells were trained on before"):
        model.train(max_epochs=2, external_indexing=[np.arange(70)], **QUIET)
    assert (model.module.arm("rna").likelihood.standardiser.mean == mean).all()


def test_continued_training_trains_in_training_mode(mdata):
    model = fit(mdata)
    model.get_latent_representation()
    assert not model.module.training
    modes = []
    model.module.register_forward_pre_hook(
        lambda module, _: modes.append(all(m.training for m in module.modules()))
    )
    model.train(max_epochs=1, train_size=1.0, **QUIET)
    assert all(modes)


@pytest.mark.parametrize("max_epochs", [0, -1, 2.5])
def test_wrong_number_of_epochs(mdata, max_epochs):
    with pytest.raises(ValueError, match=f"max_epochs={max_epochs} must be a whole number"):
        fit(mdata, max_epochs=max_epochs)


def test_values_changed_after_the_set_up_are_checked(mdata):
    model = CoupledAE(mdata, n_latent=2)
    mdata["rna"].X[3, 5] = np.inf
    cell = mdata["rna"].obs_names[3]
    with pytest.raises(
        ValueError, match=f"'rna' has 1 infinite values; the first: cell '{cell}', feature 'rna_5'"
    ):
        model.train(max_epochs=1, **QUIET)


def test_modalities_coupled_through_a_third_train():
    mdata = make_mdata(120, {"a": 5, "b": 5, "c": 5}, {"a": 1, "b": 1, "c": 1})
    b = mdata["b"][mdata["b"].obs_names.isin([f"cell{i}" for i in range(60)])].copy()
    c = mdata["c"][~mdata["c"].obs_names.isin(b.obs_names)].copy()
    chain = mudata.MuData({"a": mdata["a"], "b": b, "c": c})
    with pytest.warns(UserWarning, match="both modalities of 'b' and 'c'"):
        CoupledAE.setup_mudata(chain)
    model = fit(chain)
    assert set(model.module.coupling) == {("a", "b"), ("a", "c")}


def test_early_stopping(mdata):
    options = {"early_stopping_patience": 2, "plan_kwargs": {"lr": 1e-12, "schedule": "constant"}}
    model = fit(mdata, max_epochs=50, early_stopping=True, early_stopping_min_delta=100.0, **options)
    assert len(model.history["train_loss"]) == 3
    with pytest.raises(ValueError, match="early_stopping needs validation cells"):
        fit(mdata, early_stopping=True, train_size=1.0)


def test_default_length(mdata):
    model = CoupledAE(mdata, n_latent=2)
    model.train(batch_size=20, max_steps=1, enable_progress_bar=False)
    splitter = model.trainer.datamodule
    n_pairs = int(splitter.paired[model.train_indices].sum())
    assert 0 < n_pairs < 400
    assert model.trainer.max_epochs == -(-max(n_pairs, 100) // splitter.n_steps)


def test_batch_too_small(mdata):
    with pytest.raises(ValueError, match=r"batch_size=4 is too small.*3 latent.*at least 5 cells"):
        fit(mdata, batch_size=4)


def test_rare_modality_warns():
    mdata = make_mdata(400, fraction={"rna": 1.0, "ephys": 0.0})
    mdata = mudata.MuData({"rna": mdata["rna"], "ephys": mdata["ephys"][:20].copy()})
    CoupledAE.setup_mudata(mdata)
    with pytest.warns(UserWarning, match="A minibatch has about 1 cells with modality 'ephys'.*batch_size="):
        fit(mdata, n_latent=2, batch_size=25, datasplitter_kwargs={"paired_fraction": 0})


def test_fewer_pairs_than_latent_dimensions():
    mdata = make_mdata(60)
    ephys = mdata["ephys"]
    few = ephys[~ephys.obs_names.isin(mdata["rna"].obs_names[4:])].copy()
    mdata = mudata.MuData({"rna": mdata["rna"], "ephys": few})
    CoupledAE.setup_mudata(mdata)
    with pytest.raises(
        ValueError, match="training cells have both 'rna' and 'ephys', fewer than the 8 latent"
    ):
        fit(mdata, n_latent=8, train_size=1.0)


def test_a_feature_measured_in_no_training_cell(mdata):
    cells = mdata.obs_names.get_indexer(mdata["ephys"].obs_names)
    mdata["ephys"].X[np.isin(cells, np.arange(60)), 3] = np.nan
    with pytest.warns(UserWarning, match="'ephys': 1 features are measured in no training cell: 'ephys_3'"):
        model = fit(mdata, external_indexing=[np.arange(60), np.arange(60, 90)])
    predicted = model.predict("rna", "ephys").dropna(how="all")
    assert predicted.columns[predicted.isna().any()].tolist() == ["ephys_3"]
    quantiles = model.predict("rna", "ephys", quantiles=[0.2, 0.8]).dropna(how="all")
    assert set(quantiles.columns[quantiles.isna().any()].get_level_values(0)) == {"ephys_3"}
    assert np.isfinite(model.get_latent_representation(modality="ephys", indices=np.arange(60))).any()
    for name, values in model.module.state_dict().items():
        assert np.isfinite(values.numpy()).all(), name


def test_three_modalities_with_any_subset_of_them():
    sizes = {"rna": 20, "ephys": 8, "morph": 6}
    mdata = make_mdata(200, sizes, {"rna": 0.8, "ephys": 0.6, "morph": 0.2}, {"ephys": 0.1, "morph": 0.3})
    CoupledAE.setup_mudata(mdata)
    model = fit(mdata, max_epochs=5)
    assert {f"coupling_{pair}_train" for pair in ("rna_ephys", "rna_morph", "ephys_morph")} <= set(
        model.history
    )
    z = model.get_latent_representation()
    assert np.isfinite(z).all()
    assert model.predict("morph", "rna").shape == (mdata.n_obs, 20)


def test_a_gpu_run_is_asked_for_as_in_scvi(mdata):
    with pytest.raises(Exception, match=r"(?i)accelerator"):
        fit(mdata, accelerator="abacus")


def test_progress_bar(mdata, capsys):
    scvi.settings.seed = 0
    CoupledAE(mdata, n_latent=2).train(max_epochs=2)
    assert "Epoch 2/2" in "".join(capsys.readouterr())


def test_the_monitor_is_checked_before_training(mdata):
    model = CoupledAE(mdata, n_latent=2)
    with pytest.raises(ValueError, match=r"no metric 'rna_from_rna'.*'rna_from_rna_validation'"):
        model.train(monitor="rna_from_rna", **QUIET)
    with pytest.raises(ValueError, match="monitor_after"):
        model.train(monitor_after=-1, **QUIET)
    assert not model.is_trained


def test_another_metric_chooses_the_epoch(mdata):
    names = ["distance_rna_ephys_validation", "ephys_from_ephys_validation"]
    scvi.settings.seed = 0
    model = CoupledAE(mdata, n_latent=2)
    best = []

    class Best(pl.Callback):
        def on_train_end(self, trainer, pl_module):
            best.extend(c.best_epoch for c in trainer.callbacks if isinstance(c, KeepBestWeights))

    model.train(max_epochs=15, monitor=names, monitor_after=5, callbacks=[Best()], **QUIET)
    total = sum(model.history[name][name] for name in names)
    assert best == [6 + int(np.argmin(total.iloc[5:]))]


def test_all_cells_in_one_batch(mdata):
    model = fit(mdata, max_epochs=4, batch_size=None, monitor=None)
    assert model.trainer.global_step == 4


def test_epochs_of_batches_drawn_with_replacement(mdata):
    model = fit(mdata, max_epochs=2, datasplitter_kwargs={"bootstrap_batches": 7})
    assert model.trainer.global_step == 14
