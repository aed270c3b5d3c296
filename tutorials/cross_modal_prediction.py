# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Cross-modal prediction and its uncertainty
#
# How well does a transcriptome say what a neuron's electrophysiology is? Which features, in which types of cells, and
# which of the predictions can be trusted? And is a coupled autoencoder better at it than a regression? This notebook
# answers with cells of mouse motor cortex ([Scala et al., 2021](https://doi.org/10.1038/s41586-020-2907-3)) that
# nothing was fitted to.

# %% tags=["remove-cell"]
import _tutorial  # keeps libraries quiet; leave it out in a notebook of your own

# %%
import matplotlib.pyplot as plt
import mudata
import numpy as np
import pandas as pd

import scvi_cae


# %%
mdata = scvi_cae.datasets.scala2020()
mdata.obs["family"] = mdata.obs["rna_family"]
mdata.obs["type"] = mdata.obs["rna_type"]
scvi_cae.CoupledAE.setup_mudata(mdata, modalities=["rna", "ephys"])
pd.Series({name: mdata[name].shape for name in ("rna", "ephys")}, name="cells, features").to_frame()

# %% [markdown]
# ## Hold out a fold, train an ensemble on the rest
#
# `k_fold` makes folds in which each cell is a test cell once, here with each family in proportion. Of the first fold,
# the cells outside are dealt into four parts: each of four models is trained on three of them, and validated on the
# fourth. Together they are an ensemble, which predicts better than one model; and each training cell is predicted
# by a model that has not seen it, of which intervals will be made below. `monitor=None` keeps the validation cells
# from choosing the epoch.

# %%
folds = scvi_cae.splits.k_fold(mdata, 5, stratify_by="family")
fold = folds[0]
fits = scvi_cae.fit_many(mdata, scvi_cae.splits.within(fold, 4), monitor=None)
ensemble = scvi_cae.Ensemble.from_models([fit.model for fit in fits])
mdata.obs["set"] = ensemble.set_membership()
mdata.obs["set"].value_counts()[["training", "test"]].to_frame()

# %% [markdown]
# ## Beside baselines
#
# `score` fits baselines to the training cells and predicts the test cells with all of them. R² is pooled over cells
# and features, each in standard deviations: 1 is perfect, 0 is the mean of the training cells. *Ridge* and *kernel
# ridge* are regressions from all features of the one modality to all of the other, *bagged* the mean of twenty kernel
# regressions. *Type mean* predicts the mean of a cell's type, and *family mean* that of its family: published labels,
# assigned by the transcriptome, which the other methods are not told.

# %%
scores = scvi_cae.evaluate.score(
    ensemble,
    fold.test,
    labels_key="type",
    family_key="family",
    baselines=["ridge", "kernel ridge", "bagged kernel ridge", "family mean", "type mean"],
    metrics=["r2", "r2 beyond family", "r2 beyond type", "foscttm"],
)
across = scores[scores["source"] != scores["target"]]
across[across["metric"] == "r2"].pivot(index="method", columns=["source", "target"], values="value").round(3)

# %% [markdown]
# Two things stand out. Genes say more of electrophysiology than electrophysiology says of genes, most of which have
# nothing to do with it. And the methods are close: a few hundredths lie between the ensemble, the regressions and the
# mean of the type. Most of what can be predicted is what kind of neuron a cell is. The same predictions, with
# the mean of the family or of the type (shrunk to its family's) in place of the mean of all cells:

# %%
beyond = across[across["metric"].str.startswith("r2 beyond") & (across["source"] == "rna")]
beyond.pivot(index="method", columns="metric", values="value").round(3)

# %% [markdown]
# From genes, the ensemble and the regressions say something of electrophysiology that the family does not. Beyond
# the type, which is one of 76 and given for free, none does on the average of all features: a negative value is
# worse than the type's mean.
#
# What a coupled autoencoder adds to a regression is the common space: ten numbers per cell through which all
# predictions go in both directions, and in which the two modalities of a cell lie together. FOSCTTM, the fraction of
# cells that are closer to a cell's latent than the cell itself seen through the other modality (0 is perfect, 0.5
# chance):

# %%
across[across["metric"] == "foscttm"].round(3)

# %% [markdown]
# ## Is a difference one?
#
# One fold is a sample. `cross_validate` does it for all folds, and `compare` takes the differences fold by fold, with
# an interval that allows for folds sharing training cells. Here with single models, and without the slower baselines.

# %%
table = scvi_cae.evaluate.cross_validate(
    mdata,
    folds,
    train_kwargs={"monitor": None},
    labels_key="type",
    baselines=["ridge", "kernel ridge", "type mean"],
    metrics=["r2"],
    per_feature=True,
    progress=False,
)
overall = table[(table["metric"] == "r2") & (table["source"] != table["target"])]
pd.concat(
    {
        name: scvi_cae.evaluate.compare(overall, "CoupledAE", name).loc["r2"]
        for name in ("ridge", "kernel ridge", "type mean")
    },
    names=["CoupledAE beside"],
)[["a", "b", "difference", "low", "high", "n_better"]].round(3)

# %% [markdown]
# `a` is the model and `b` the other, `low` to `high` the 95 % interval of their difference, and `n_better` the
# number of folds of five in which the model is ahead. An interval that contains 0 says that these folds cannot tell
# the two apart. A single model and kernel ridge predict electrophysiology from genes, to which the latter's penalty is
# suited, equally well; in the other direction kernel ridge is well behind, and ridge regression is behind in both. The
# model does both with one set of weights.
#
# ## Feature by feature
#
# With `per_feature=True` the table has a row for each feature, too. The mean over the five folds:

# %%
per_feature = table.query("metric == 'feature r2' and source == 'rna' and target == 'ephys'")
r2 = per_feature.pivot_table(index="feature", columns="method", values="value").sort_values("CoupledAE")

figure, axis = plt.subplots(figsize=(7, 7))
for method, marker in {"CoupledAE": "o", "ridge": "x", "type mean": "|"}.items():
    axis.plot(r2[method], r2.index, marker, label=method, markersize=8)
axis.axvline(0, color="0.8", zorder=0)
axis.set(xlabel="R² from genes, mean of five folds")
axis.legend(frameon=False, loc="lower right")
axis.spines[["top", "right"]].set_visible(False)
axis.grid(axis="y", color="0.93")
axis.set_axisbelow(True)

# %%
ours = r2["CoupledAE"]
summary = {"all": len(ours), "above 0.5": (ours > 0.5).sum(), "below 0.1": (ours < 0.1).sum()}
summary |= {f"better than {name}": (ours > r2[name]).sum() for name in ("ridge", "type mean")}
pd.Series(summary, name="features").to_frame().T

# %% [markdown]
# Features differ far more than methods do. Shape and number of action potentials are predicted best, how irregular
# they are hardly at all, by any method. Is that because genes do not tell, or because ten numbers are too few to hold
# the feature? `prediction_report` has both: the R² of the prediction from genes, and of the reconstruction from
# electrophysiology itself through as many numbers. It takes the test cells of the ensemble.

# %%
report = scvi_cae.tl.prediction_report(ensemble, source="rna", target="ephys")
report.loc[r2.index[::-1]].iloc[[0, 1, 2, -3, -2, -1]].style.format(precision=2)

# %% [markdown]
# `r2` is that from genes, `r2_within` that from electrophysiology, of the three features that genes predict best and
# the three that they predict worst. The latter are in the latents of electrophysiology all the same: it is genes that
# do not tell them.
#
# ## Type by type
#
# `type_means` has the mean of each type and feature, as measured and as predicted, here in standard deviations and for
# types with at least five test cells:

# %%
means = scvi_cae.tl.type_means(ensemble, "rna", "ephys", "type", min_cells=5, scale="standard").dropna()
profile = means.pivot(index="type", columns="feature", values=["data", "prediction"])

figure, axes = plt.subplots(1, 2, figsize=(13, 4.8), sharey=True, layout="constrained")
for axis, side in zip(axes, ("data", "prediction"), strict=True):
    values = profile[side][r2.index[::-1]]
    image = axis.imshow(values, cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto")
    axis.set(title={"data": "measured", "prediction": "predicted from genes"}[side])
    axis.set_xticks(range(values.shape[1]), values.columns, rotation=90, fontsize=7)
    axis.set_yticks(range(len(values)), values.index, fontsize=8)
figure.colorbar(image, ax=axes, shrink=0.6).set_label("standard deviations")

# %% [markdown]
# Features are in the order of the figure before, the best predicted on the left. For each type, the correlation of
# both sides over features says whether its profile is right:

# %%
by_type = scvi_cae.tl.type_report(ensemble, "rna", "ephys", "type", min_cells=5).query("of == 'type'")
by_type["correlation"].describe()[["count", "min", "50%", "max"]].to_frame().T.round(2)

# %%
explained = 1 - ((means["data"] - means["prediction"]) ** 2).sum() / (means["data"] ** 2).sum()
of_cells = across.query("method == 'Ensemble' and metric == 'r2' and source == 'rna'")["value"].item()
print(f"R² of the means of types {explained:.2f}, of single cells {of_cells:.2f}")

# %% [markdown]
# Means of types are predicted much better than single cells: what is peculiar to a cell averages out. Single cells by
# family:

# %%
ephys = mdata["ephys"].to_df().reindex(mdata.obs_names)
mean, scale = (ephys[mdata.obs["set"] == "training"].agg(how).to_numpy() for how in ("mean", "std"))
both = mdata.obs_names.isin(mdata["rna"].obs_names) & mdata.obs_names.isin(mdata["ephys"].obs_names)
test = fold.test[both[fold.test]]
truth, prediction = ephys.iloc[test], ensemble.predict("rna", "ephys", indices=test)

error = (((truth - prediction) / scale) ** 2).mean(axis=1)
spread = (((truth - mean) / scale) ** 2).mean(axis=1)
groups = mdata.obs["family"].iloc[test].astype(str)
of_families = pd.DataFrame({"test cells": groups.value_counts(), "error": error.groupby(groups).mean()})
of_families["distance from the mean"] = spread.groupby(groups).mean()
of_families.sort_values("error").style.format(precision=2)

# %% [markdown]
# Squared error and squared distance from the mean of the training cells are in squared standard deviations, averaged
# over features. Families that are far from the mean have most to explain; and families of a few cells only have large
# errors or small ones by chance.
#
# ## Intervals
#
# A prediction without its uncertainty invites being believed. With `quantiles` the ensemble says between which values
# nine cells in ten lie. It does so from the errors that each model made in the cells that it was not trained on:

# %%
intervals = ensemble.predict("rna", "ephys", indices=test, quantiles=[0.05, 0.95])
feature = "Input resistance (MOhm)"
low, high = (intervals[feature][q] for q in (0.05, 0.95))
order = prediction[feature].argsort()
inside = truth[feature].between(low, high)

figure, axis = plt.subplots(figsize=(10, 3.8))
axis.vlines(np.arange(len(order)), low.iloc[order], high.iloc[order], color="0.8", label="interval of 90 %")
axis.plot(prediction[feature].iloc[order].to_numpy(), color="0.3", linewidth=1, label="prediction")
for name, which in {"measured, inside": inside, "measured, outside": ~inside}.items():
    where = np.flatnonzero(which.iloc[order])
    axis.plot(where, truth[feature].iloc[order].iloc[where], ".", label=name)
axis.set(xlabel="test cell, by prediction", ylabel=feature)
axis.legend(frameon=False)
axis.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# Intervals are not equally wide: cells in a part of the space where training cells were hard to predict get wider ones.
# Do they hold what they promise? Coverage of each feature, and its mean, which is to be about 0.9:

# %%
coverage = scvi_cae.evaluate.interval_scores(truth, intervals, scale)
coverage["coverage"].agg(["mean", "min", "max"]).to_frame().T.round(3)

# %%
figure, axis = plt.subplots(figsize=(5, 3.4))
axis.scatter(coverage["width"], coverage["coverage"], s=18, label="feature")
axis.axhline(0.9, color="0.6", linewidth=1, label="asked for")
band = 0.9 + 2 * np.sqrt(0.09 / len(test)) * np.array([-1, 1])
axis.axhspan(*band, color="0.92", zorder=0, label="by chance (2 s.e.)")
axis.set(xlabel="mean width, in standard deviations", ylabel="coverage of test cells", ylim=(0.7, 1))
axis.legend(frameon=False, loc="lower left")
axis.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# Intervals of an ensemble hold what was asked or a little more. Each point is a feature; the band is where coverage of
# so many cells lies by chance (two standard errors). Of a normally distributed feature of which nothing is known, the
# interval of 90 % is 3.3 standard deviations wide; the narrower, the more was known.
#
# What is promised is the share of all cells that are like the training cells. It need not hold within a type, nor for
# other laboratories or mice; for mice, hold out whole ones: `k_fold(mdata, group_by="mouse")`.
#
# ## Leave the uncertain ones alone
#
# The width of a cell's intervals says how uncertain its prediction is before anything is measured. Setting aside the
# least certain cells leaves a smaller error. Beside it, as many set aside by chance:

# %%
width = scvi_cae.evaluate.interval_width(intervals, scale)
left = scvi_cae.evaluate.abstention(truth, prediction, width, mean, scale)
rng = np.random.default_rng(0)
orders = (rng.random(len(test)) for _ in range(50))
chance = [scvi_cae.evaluate.abstention(truth, prediction, x, mean, scale)["mse"] for x in orders]
left["mse, by chance"] = np.mean(chance, axis=0)
left[["n_cells", "mse", "mse, by chance"]].round(3)

# %% [markdown]
# ## Intervals of new cells
#
# A trained model keeps the latents and values of some of its training and validation cells, from which intervals are
# calibrated, and a saved model has them too: it gives intervals without its data. New cells need their transcriptome
# only:

# %%
new = mudata.MuData({"rna": mdata["rna"][truth.index[:3]].copy()})
ensemble.predict("rna", "ephys", adata=new, quantiles=[0.05, 0.5, 0.95])[feature].round(0).astype(int)

# %% [markdown]
# More: [uncertainty](../docs/uncertainty.md), [evaluation](../docs/evaluation.md) with all baselines and metrics, and
# what drives a prediction, [attribution](../docs/attribution.md).

# %%
import session_info2

session_info2.session_info(os=False, dependencies=False)
