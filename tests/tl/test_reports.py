"""Quality of predictions by feature and by type."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scvi_cae
from scvi_cae.evaluate import score
from scvi_cae.tl import prediction_report, type_means, type_report


@pytest.fixture(scope="module")
def model():
    mdata = scvi_cae.datasets.simulate_patchseq(n_cells=240)
    scvi_cae.CoupledAE.setup_mudata(mdata, labels_key="family")
    model = scvi_cae.CoupledAE(mdata, n_latent=5)
    model.train(max_epochs=25, train_size=0.7, validation_size=0.1, enable_progress_bar=False)
    return model


def table_of(model, name):
    """A modality over all cells, NaN for those without it."""
    return model.adata[name].to_df().reindex(model.adata.obs_names)


def test_the_report_is_of_the_scores_of_the_evaluation(model):
    report = prediction_report(model, "rna", "ephys")
    assert report.columns.tolist() == ["r2", "correlation", "r2_within", "correlation_within", "n_cells"]
    assert report.index.tolist() == model.adata["ephys"].var_names.tolist()
    # Without validation cells beside those that are scored, both refer to the mean of the training cells.
    cells = np.sort(np.r_[model.validation_indices, model.test_indices])
    report = prediction_report(model, "rna", "ephys", cells=cells)
    scores = score(model, cells, baselines=False, per_feature=True)
    for column, metric in (("r2", "feature r2"), ("correlation", "feature correlation")):
        of = scores[
            (scores["metric"] == metric) & (scores["source"] == "rna") & (scores["target"] == "ephys")
        ]
        np.testing.assert_allclose(
            report[column], of.set_index("feature").loc[report.index, "value"], rtol=1e-5
        )
    assert report["r2_within"].mean() > report["r2"].mean()


def test_within_and_across_are_of_the_same_cells(model):
    test = np.asarray(model.test_indices)
    report = prediction_report(model, "rna", "ephys")
    both = table_of(model, "rna").notna().any(axis=1) & table_of(model, "ephys").notna().any(axis=1)
    counted = (
        table_of(model, "ephys")[both].loc[lambda t: t.index.isin(model.adata.obs_names[test])].notna().sum()
    )
    np.testing.assert_array_equal(report["n_cells"], counted[report.index])
    assert report["n_cells"].max() < len(test)


def test_cells_may_be_named(model):
    validation = np.asarray(model.validation_indices)
    by_position = prediction_report(model, "ephys", "rna", cells=validation)
    mask = np.isin(np.arange(model.adata.n_obs), validation)
    pd.testing.assert_frame_equal(prediction_report(model, "ephys", "rna", cells=mask), by_position)
    n = [
        prediction_report(model, "ephys", "rna", cells=c)["n_cells"].max()
        for c in ("held-out", "training", "all")
    ]
    assert n[0] < n[1] < n[2]
    assert n[2] == sum(n[:2]) + by_position["n_cells"].max()


def test_an_ensemble_reports_on_cells_by_the_models_that_were_not_trained_on_them(model):
    mdata = model.adata
    folds = scvi_cae.splits.k_fold(mdata, 3)[:2]
    fits = scvi_cae.fit_many(mdata, folds, max_epochs=2)
    ensemble = scvi_cae.Ensemble.from_models([fit.model for fit in fits])
    assert (ensemble.set_membership() == "training").all()
    report = prediction_report(ensemble, "rna", "ephys")
    cells = np.concatenate([fold.test for fold in folds])
    assert (
        report["n_cells"].max() == prediction_report(ensemble, "rna", "ephys", cells=cells)["n_cells"].max()
    )


def test_several_sources(model):
    report = prediction_report(model, ["ephys", "rna"], "ephys")
    assert report["r2"].mean() > prediction_report(model, "rna", "ephys")["r2"].mean()


def test_other_cells_and_a_model_without_data(model, tmp_path):
    new = scvi_cae.datasets.simulate_patchseq(n_cells=240)[:50].copy()
    expected = prediction_report(model, "rna", "ephys", cells=np.arange(50))
    pd.testing.assert_frame_equal(prediction_report(model, "rna", "ephys", new, cells="all"), expected)
    model.save(tmp_path / "model")
    alone = scvi_cae.CoupledAE.load(tmp_path / "model", adata=False)
    again = prediction_report(alone, "rna", "ephys", new, cells="all")
    pd.testing.assert_frame_equal(again, expected, rtol=1e-4)
    with pytest.raises(ValueError, match="without data; give some"):
        prediction_report(alone, "rna", "ephys")


def test_a_model_loaded_with_other_cells(model, tmp_path):
    """It knows the means of its training cells, but for counts."""
    held_out = np.sort(np.r_[model.validation_indices, model.test_indices])
    other = scvi_cae.datasets.simulate_patchseq(n_cells=240)[held_out].copy()
    expected = prediction_report(model, "rna", "ephys", cells=held_out)
    model.save(tmp_path / "model")
    loaded = scvi_cae.CoupledAE.load(tmp_path / "model", adata=other)
    found = prediction_report(loaded, "rna", "ephys", cells="all")
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4)
    mdata = scvi_cae.datasets.simulate_patchseq(n_cells=240)
    mdata["rna"].X = mdata["rna"].layers["counts"]
    scvi_cae.CoupledAE.setup_mudata(mdata, likelihoods={"rna": "negative_binomial"})
    counts = scvi_cae.CoupledAE(mdata, n_latent=2)
    counts.train(max_epochs=1, train_size=0.7, enable_progress_bar=False)
    counts.save(tmp_path / "counts")
    others = scvi_cae.datasets.simulate_patchseq(n_cells=240)[counts.validation_indices].copy()
    others["rna"].X = others["rna"].layers["counts"]
    loaded = scvi_cae.CoupledAE.load(tmp_path / "counts", adata=others)
    with pytest.raises(ValueError, match="mean of 'rna' in its training cells.*hold none of them"):
        prediction_report(loaded, "ephys", "rna", cells="all")


def test_means_of_types(model):
    means = type_means(model, "rna", "ephys", "cell_type", cells="all")
    feature = means["feature"].iloc[0]
    values, predicted = table_of(model, "ephys")[feature], model.predict("rna", "ephys")[feature]
    scored = values.notna() & predicted.notna()
    types = model.adata.obs["cell_type"].astype(str)
    of = means[means["feature"] == feature].set_index("type")
    np.testing.assert_allclose(of["data"], values[scored].groupby(types[scored]).mean(), rtol=1e-5)
    np.testing.assert_allclose(of["prediction"], predicted[scored].groupby(types[scored]).mean(), rtol=1e-5)
    np.testing.assert_array_equal(of["n_cells"], types[scored].value_counts().sort_index())
    assert of.index.is_monotonic_increasing


def test_means_of_few_cells_are_missing(model):
    means = type_means(model, "rna", "ephys", "cell_type", min_cells=3)
    assert (means["n_cells"] < 3).any()
    np.testing.assert_array_equal(means["data"].isna(), means["n_cells"] < 3)
    np.testing.assert_array_equal(means["prediction"].isna(), means["n_cells"] < 3)


def test_scales_of_means(model):
    plain, standard, largest = (
        type_means(model, "rna", "ephys", "cell_type", cells="training", scale=s)
        for s in (None, "standard", "max")
    )
    assert largest.groupby("feature")["data"].agg(lambda x: x.abs().max()).round(6).eq(1).all()
    feature = plain["feature"].iloc[0]
    of = [t[t["feature"] == feature] for t in (plain, standard, largest)]
    for scaled in of[1:]:
        for column in ("data", "prediction"):
            slope, intercept = np.polyfit(of[0]["data"], scaled["data"], 1)
            np.testing.assert_allclose(scaled[column], slope * of[0][column] + intercept, atol=1e-4)
    # The mean over all training cells is 0; a few without a transcriptome are not scored.
    sums = (standard["data"] * standard["n_cells"]).groupby(standard["feature"]).sum()
    assert (sums / standard.groupby("feature")["n_cells"].sum()).abs().max() < 0.3


def test_features_may_be_chosen(model):
    genes = model.adata["rna"].var_names[[5, 2]].tolist()
    means = type_means(model, "ephys", "rna", "family", features=genes)
    assert means["feature"].unique().tolist() == genes
    whole = type_means(model, "ephys", "rna", "family").set_index(["type", "feature"])
    pd.testing.assert_frame_equal(
        means.set_index(["type", "feature"]), whole.loc[zip(means["type"], means["feature"], strict=True)]
    )
    with pytest.raises(KeyError, match="'rna' has no features 'Oxt'"):
        type_means(model, "ephys", "rna", "family", features=[*genes, "Oxt"])


def test_correlations_of_types_and_of_features(model):
    means = type_means(model, "rna", "ephys", "cell_type", scale="standard", min_cells=2)
    report = type_report(model, "rna", "ephys", "cell_type", min_cells=2)
    assert report["of"].value_counts().to_dict() == {
        "feature": means["feature"].nunique(),
        "type": means["type"].nunique(),
    }
    for of in ("type", "feature"):
        for row in report[report["of"] == of].itertuples():
            both = means[means[of] == row.name].dropna()
            assert row.n_means == len(both)
            if len(both) > 2:
                assert row.correlation == pytest.approx(
                    np.corrcoef(both["data"], both["prediction"])[0, 1], abs=1e-4
                )
            else:
                assert np.isnan(row.correlation)


def test_without_standardisation_the_levels_of_features_dominate(model):
    def of_types(scale):
        report = type_report(model, "rna", "ephys", "cell_type", scale=scale, min_cells=2)
        return report.loc[report["of"] == "type", "correlation"].median()

    assert of_types(None) > 0.95
    assert of_types("max") > of_types("standard")
    features = [
        type_report(model, "rna", "ephys", "cell_type", scale=s).query("of == 'feature'")["correlation"]
        for s in (None, "standard", "max")
    ]
    np.testing.assert_allclose(features[1:], [features[0]] * 2, atol=1e-4)


def test_it_names_what_cannot_be_reported(model):
    with pytest.raises(ValueError, match="'family' is a column of labels"):
        prediction_report(model, "rna", "family")
    with pytest.raises(ValueError, match="morph"):
        prediction_report(model, "rna", "morph")
    with pytest.raises(ValueError, match="'test' must be 'held-out'"):
        prediction_report(model, "rna", "ephys", cells="test")
    with pytest.raises(KeyError, match="'cluster'"):
        type_means(model, "rna", "ephys", "cluster")
    with pytest.raises(ValueError, match="scale='mean'"):
        type_means(model, "rna", "ephys", "family", scale="mean")
    alone = np.flatnonzero(table_of(model, "rna").isna().all(axis=1))
    with pytest.raises(ValueError, match="cells to report on has both 'rna' and 'ephys'"):
        prediction_report(model, "rna", "ephys", cells=alone)
    untrained = scvi_cae.CoupledAE(model.adata)
    with pytest.raises(RuntimeError):
        prediction_report(untrained, "rna", "ephys")
