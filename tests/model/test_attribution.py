from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import scvi_cae
from conftest import QUIET, fit, make_mdata
from scvi_cae import CoupledAE, Ensemble

PAIRS = [("rna", "ephys"), ("ephys", "rna"), ("ephys", "ephys")]


def moved(mdata, source, feature, by):
    """The data with one feature of all cells moved."""
    modality = mdata[source].copy()
    modality.X[:, feature] += np.float32(by)
    out = mudata.MuData({source: modality})
    out.obs = mdata.obs.reindex(out.obs_names)
    return out


def by_differences(model, mdata, source, target, feature, log=False):
    """Derivative of the prediction by one feature, from predictions on either side of its values."""
    step = 0.1 * model.feature_moments(source)[1][feature]
    below, above = (model.predict(source, target, moved(mdata, source, feature, by)) for by in (-step, step))
    if log:
        below, above = np.log(below / (1 - below)), np.log(above / (1 - above))
    measured = ~np.isnan(mdata[source][below.index].X[:, feature])
    return ((above - below) / (2 * step))[measured].mean()


@settings(max_examples=20, deadline=None)
@given(pair=st.sampled_from(PAIRS), feature=st.integers(0, 7), scaled=st.booleans())
def test_is_the_slope_of_predictions(trained, trained_mdata, pair, feature, scaled):
    expected = by_differences(trained, trained_mdata, *pair, feature)
    if scaled:
        sd = [trained.feature_moments(name)[1] for name in pair]
        expected *= sd[0][feature] / sd[1]
    effects = trained.attribute(*pair, scaled=scaled)
    assert list(effects.index) == trained.get_var_names()[pair[0]]
    pd.testing.assert_series_equal(
        effects.iloc[feature], expected, check_names=False, check_dtype=False, rtol=0.01, atol=0.005
    )


@pytest.fixture(scope="module")
def linear(trained_mdata):
    """A model without hidden layers, nor dropout, which would scale what is left of a cell's features."""
    scvi.settings.seed = 0
    arms = {name: {"hidden": (), "dropout": 0.0} for name in ("rna", "ephys")}
    model = CoupledAE(trained_mdata, n_latent=3, arms=arms)
    model.train(max_epochs=20, **QUIET)
    return model


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_is_the_product_of_the_matrices_of_a_linear_model(linear, trained_mdata, source, target):
    """Of cells without missing values: another one's input is expected from those that are moved, too."""
    whole = trained_mdata[source].to_df().dropna().index
    cells = trained_mdata.obs_names.get_indexer(whole)
    encoder, decoder = linear.module.arm(source), linear.module.arm(target)
    norm = torch.rsqrt(encoder.latent_norm.running_var + encoder.latent_norm.eps)
    cross_map = torch.eye(3) + (source != target) * decoder.cross_maps[0].difference.weight
    product = decoder.decoder.last.weight @ cross_map @ torch.diag(norm) @ encoder.encoder.first.weight
    np.testing.assert_allclose(
        linear.attribute(source, target, indices=cells), product.detach().numpy().T, rtol=1e-4, atol=1e-6
    )


@settings(max_examples=10, deadline=None)
@given(pair=st.sampled_from(PAIRS), seed=st.integers(0, 100), batch_size=st.integers(7, 200))
def test_neither_order_nor_batches_of_cells_matter(trained, pair, seed, batch_size):
    cells = np.random.default_rng(seed).permutation(trained.adata.n_obs)
    pd.testing.assert_frame_equal(
        trained.attribute(*pair, indices=cells, batch_size=batch_size),
        trained.attribute(*pair),
        rtol=1e-4,
        atol=1e-6,
    )


def test_cells_without_the_source_are_left_out(trained, trained_mdata):
    names = trained_mdata.obs_names
    lacking, having = (np.flatnonzero(names.isin(trained_mdata["rna"].obs_names) == x) for x in (False, True))
    assert len(lacking)
    pd.testing.assert_frame_equal(
        trained.attribute("rna", "ephys"), trained.attribute("rna", "ephys", indices=having), rtol=1e-5
    )
    with pytest.raises(ValueError, match=r"None of the \d+ cells has modality 'rna'.*indices="):
        trained.attribute("rna", "ephys", indices=lacking)
    with pytest.raises(ValueError, match="None of the 0 cells"):
        trained.attribute("rna", "ephys", indices=[])


def test_a_missing_value_contributes_nothing(trained, trained_mdata):
    """A row is averaged over the cells that have the feature."""
    ephys = trained_mdata["ephys"].copy()
    ephys.X[10:, 2] = np.nan
    ephys.X[:, 5] = np.nan
    data = mudata.MuData({"ephys": ephys})
    effects = trained.attribute("ephys", "rna", data)
    assert effects.iloc[5].isna().all()
    assert np.isfinite(effects.drop(index=effects.index[5])).all(axis=None)
    measured = np.flatnonzero(~np.isnan(data["ephys"].X[:, 2]))
    of_these = trained.attribute(
        "ephys", "rna", data, indices=data.obs_names.get_indexer(ephys.obs_names[measured])
    )
    np.testing.assert_allclose(effects.iloc[2], of_these.iloc[2], rtol=1e-4, atol=1e-6)


def test_a_source_that_is_not_standardised(trained_mdata):
    """Scaled derivatives are per standard deviation, whatever the encoder reads."""
    scvi.settings.seed = 0
    model = CoupledAE(trained_mdata, n_latent=3, arms={"ephys": {"standardise": False}})
    model.train(max_epochs=2, **QUIET)
    (_, rna), (_, ephys) = (model.feature_moments(name) for name in ("rna", "ephys"))
    for pair, ratio in ((("ephys", "rna"), ephys[:, None] / rna), (("rna", "ephys"), rna[:, None] / ephys)):
        np.testing.assert_allclose(
            model.attribute(*pair), model.attribute(*pair, scaled=False) * ratio, rtol=1e-4
        )
    expected = by_differences(model, trained_mdata, "ephys", "rna", 0)
    np.testing.assert_allclose(
        model.attribute("ephys", "rna", scaled=False).iloc[0], expected, rtol=0.02, atol=1e-3
    )


def test_a_feature_that_does_not_vary():
    data = make_mdata()
    train = np.arange(100)
    data["rna"].X[data["rna"].obs_names.isin(data.obs_names[train]), 3] = 7.0
    CoupledAE.setup_mudata(data)
    model = fit(data, external_indexing=[train, None, None])
    assert (model.attribute("rna", "ephys").iloc[3] == 0).all()
    assert np.isfinite(model.attribute("ephys", "rna")).all(axis=None)


def test_cells_are_encoded_in_their_own_batch():
    data = make_mdata(fraction={"rna": 1.0})
    data.obs["batch"] = pd.Categorical(np.where(np.arange(data.n_obs) % 2, "a", "b"))
    CoupledAE.setup_mudata(data, batch_key="batch")
    model = fit(data)
    torch.manual_seed(0)
    for network in (model.module.arm("rna").encoder, model.module.arm("ephys").decoder):
        torch.nn.init.normal_(network.batch_shift.weight)
    expected = by_differences(model, data, "rna", "ephys", 4)
    effects = model.attribute("rna", "ephys", scaled=False)
    np.testing.assert_allclose(effects.iloc[4], expected, rtol=0.02, atol=1e-3)
    del data.obs["batch"]
    assert not np.allclose(model.attribute("rna", "ephys", data, scaled=False), effects, rtol=0.05, atol=2e-3)


@pytest.fixture(scope="module")
def counts():
    """A model of counts, of features and of labels."""
    rng = np.random.default_rng(0)
    data = make_mdata(fraction={"rna": 1.0, "ephys": 1.0})
    data["rna"].X = rng.poisson(np.exp((data["rna"].X - 5) / 6)).astype(np.float32)
    data.obs["kind"] = pd.Categorical(rng.choice(["a", "b", "c"], data.n_obs))
    CoupledAE.setup_mudata(data, likelihoods={"rna": "negative_binomial"}, labels_key="kind")
    return fit(data, max_epochs=30)


def through_the_arms(model, source, target, feature, link):
    """Derivative by one of the encoder's inputs, from differences."""
    arm = model.module.arm(source).eval()
    aligned = model.align()[source]
    cells = arm.observe(torch.from_numpy(aligned.values(np.arange(model.adata.n_obs))))
    step = torch.zeros(cells.values.shape[1])
    step[feature] = 0.1
    inputs = arm.likelihood.inputs(cells)
    with torch.inference_mode():
        latents = [arm.embed(inputs + by, cells) for by in (-step, step)]
        below, above = (
            link(model.module.arm(target).eval().decode(model.module.map_latent(z, source, target)))
            for z in latents
        )
    return ((above - below) / 0.2).mean(0).numpy()


@pytest.mark.parametrize("feature", [0, 1, 2])
def test_counts_and_labels(counts, feature):
    """Counts in logarithms, labels in log-odds; nothing to scale by but of measured features."""
    sd = torch.tensor(counts.feature_moments("ephys")[1])
    for source, target, link in [
        ("rna", "ephys", lambda x: x / sd),
        ("kind", "ephys", lambda x: x / sd),
        ("ephys", "rna", torch.log),
        ("rna", "rna", torch.log),
        ("rna", "kind", torch.logit),
        ("ephys", "kind", torch.logit),
    ]:
        effects = counts.attribute(source, target)
        expected = through_the_arms(counts, source, target, feature, link)
        np.testing.assert_allclose(effects.iloc[feature], expected, rtol=0.02, atol=2e-3)
    unscaled = counts.attribute("rna", "kind", scaled=False)
    sd = counts.module.arm("rna").likelihood.standardiser.scale.numpy()
    np.testing.assert_allclose(unscaled * sd[:, None], counts.attribute("rna", "kind"), rtol=1e-4)


def test_log_odds_do_not_saturate(counts):
    output = torch.tensor([[80.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    odds = counts.module.arm("kind").likelihood.link_scale(output)
    assert odds[0].tolist() == pytest.approx([80 - np.log(2), -80, -80])
    np.testing.assert_allclose(odds[1], torch.logit(output[1].softmax(0)), rtol=1e-5)


def test_ensemble(trained, linear):
    members = [trained, linear, trained]
    table = Ensemble.from_models(members).attribute("rna", "ephys", scaled=False)
    single = np.stack([model.attribute("rna", "ephys", scaled=False) for model in members])
    features = trained.get_var_names()["ephys"]
    assert table.columns.tolist() == [(f, s) for f in features for s in ("mean", "std", "stability")]
    assert table.columns.names == ["feature", "statistic"]
    statistics = {s: table.xs(s, axis=1, level="statistic") for s in ("mean", "std", "stability")}
    np.testing.assert_allclose(statistics["mean"], single.mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(statistics["std"], single.std(0, ddof=1), rtol=1e-5, atol=1e-7)
    mean, std = statistics["mean"].abs(), statistics["std"]
    np.testing.assert_allclose(statistics["stability"], mean / (mean + std))
    assert statistics["stability"].stack().between(0, 1).all()


def test_models_that_agree_are_stable(trained):
    table = Ensemble.from_models([trained, trained]).attribute("ephys", "rna")
    assert (table.xs("stability", axis=1, level=1) == 1).all(axis=None)


def test_stability_of_what_is_zero_or_not_known():
    members = [pd.DataFrame({"f": [0.0, np.nan, 1.0]}), pd.DataFrame({"f": [0.0, np.nan, -1.0]})]
    stability = scvi_cae.model._attribution.agreement(members)["f", "stability"]
    np.testing.assert_array_equal(stability, [0, np.nan, 0])


def test_refusals(trained):
    with pytest.raises(ValueError, match=r"at least two.*model\.attribute"):
        Ensemble.from_models([trained]).attribute("rna", "ephys")
    with pytest.raises(ValueError, match="morph"):
        trained.attribute("morph", "ephys")
    with pytest.raises(ValueError, match="batch_size=0"):
        trained.attribute("rna", "ephys", batch_size=0)
    with pytest.raises(RuntimeError, match="not trained|train"):
        CoupledAE(trained.adata).attribute("rna", "ephys")


@pytest.mark.slow
def test_generating_genes_rank_first():
    """The genes that share most latent variables with a feature stand above those that share none."""
    data = scvi_cae.datasets.simulate_patchseq(seed=1)
    CoupledAE.setup_mudata(data)
    fold = scvi_cae.splits.k_fold(data, 5)[0]
    model = fit(data, n_latent=10, max_epochs=100, external_indexing=fold)
    effects = model.attribute("rna", "ephys", indices=fold.test)

    truth = data.uns["simulation"]
    shared = truth["loadings"]["rna"] @ truth["loadings"]["ephys"].T
    unrelated = ~effects.index.isin(truth["genes_on_latent"])
    areas, signs = [], []
    for j, feature in enumerate(effects):
        top = np.argsort(-np.abs(shared[:, j]))[:20]
        size = effects[feature].abs().to_numpy()
        areas.append(
            roc_auc_score(np.r_[np.ones(20), np.zeros(unrelated.sum())], np.r_[size[top], size[unrelated]])
        )
        signs.append((np.sign(shared[top, j]) == np.sign(effects[feature].to_numpy()[top])).mean())
    assert np.mean(areas) > 0.8
    assert np.mean(signs) > 0.85
