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
# # Few pairs and a reference
#
# You have a hundred neurons with both a transcriptome and a recording, and transcriptomes of many more. What can be
# predicted from so few pairs, and with which method? What are the other transcriptomes good for? And would more pairs
# be worth their price? To see, we make mouse motor cortex ([Scala et al.,
# 2021](https://doi.org/10.1038/s41586-020-2907-3)) scarce: of its neurons a hundred remain pairs, and most of the others
# lose their recording. What was taken away says how well it is predicted.

# %% tags=["remove-cell"]
import _tutorial  # keeps libraries quiet; leave it out in a notebook of your own

# %%
import matplotlib.pyplot as plt
import mudata
import numpy as np
import pandas as pd
import scvi

import scvi_cae

mdata = scvi_cae.datasets.scala2020()

# %% [markdown]
# ## A hundred pairs, a reference, and cells to look at

# %%
both = mdata["rna"].obs_names.intersection(mdata["ephys"].obs_names)
drawn = np.random.default_rng(0).permutation(both)
pairs, test = drawn[:100], drawn[-250:]
with_reference = mdata["rna"].obs_names.difference(test)

few = mudata.MuData({name: mdata[name][pairs].copy() for name in ("rna", "ephys")})
few_and_reference = mudata.MuData({"rna": mdata["rna"][with_reference].copy(), "ephys": few["ephys"].copy()})
new = mudata.MuData({name: mdata[name][test].copy() for name in ("rna", "ephys")})

made = {"pairs alone": few, "pairs and reference": few_and_reference, "new cells, to look at": new}
pd.DataFrame({name: {m: data[m].n_obs for m in data.mod} for name, data in made.items()}).T

# %% [markdown]
# ## What each method predicts
#
# An `Ensemble`, one model, and ridge regression from all features. The first two are trained on the pairs alone, and
# with the reference, in which cells lack electrophysiology; nothing need be said about that. R² is pooled over all
# features of the new cells, on the scale of all cells that are not new: 1 is perfect, 0 their mean. (Set-up tells of a
# gene that is the same in all hundred cells. It is predicted as its constant, and scored so.)

# %%
fitted = {}
for name, data in {"pairs alone": few, "pairs and reference": few_and_reference}.items():
    scvi.settings.seed = 0
    scvi_cae.Ensemble.setup_mudata(data)
    fitted["Ensemble", name] = scvi_cae.Ensemble(data)
    fitted["Ensemble", name].train()
    fitted["one model", name] = scvi_cae.CoupledAE(data)
    fitted["one model", name].train(enable_progress_bar=False)

values = {name: mdata[name].to_df() for name in ("rna", "ephys")}
directions = {
    "electrophysiology from genes": ("rna", "ephys"),
    "genes from electrophysiology": ("ephys", "rna"),
}


def r2(predicted, target):
    """R² of the new cells, on the scale of all others."""
    others = values[target].drop(test)
    scale = others.mean(), others.std()
    return scvi_cae.evaluate.pooled_r2(values[target].loc[test], predicted, *scale)


rows = {}
for direction, (source, target) in directions.items():
    for key, model in fitted.items():
        rows[direction, *key] = r2(model.predict(source, target, adata=new).loc[test], target)
    x, y = (values[name].loc[pairs].to_numpy() for name in (source, target))
    ridge = scvi_cae.evaluate.RidgeBaseline().fit(x, y)
    rows[direction, "ridge", "pairs alone"] = r2(ridge.predict(values[source].loc[test].to_numpy()), target)
table = pd.Series(rows).unstack(0)[list(directions)].rename_axis(["method", "trained on"])
table.style.format(precision=3)

# %% [markdown]
# The ensemble is best in both directions, and one model is worse than ridge regression, with a reference or without. An
# ensemble need not choose between networks and regressions: it weighs them by their errors on cells that neither was
# fitted to. From a hundred pairs, it relies on regressions. Weights that sum to less than 1 draw predictions to the
# mean, a little for electrophysiology, and a good part of the way for genes:

# %%
ensemble = fitted["Ensemble", "pairs and reference"]
weights = {direction: ensemble.weights(*arms).mean() for direction, arms in directions.items()}
pd.DataFrame(weights).T.style.format(precision=2)

# %% [markdown]
# ## Which features?
#
# An R² of all features hides that some are predicted well. Each feature of the new cells, by the ensemble with the
# reference:

# %%
predicted = ensemble.predict("rna", "ephys", adata=new).loc[test]
of_feature = pd.Series(
    scvi_cae.evaluate.feature_r2(values["ephys"].loc[test], predicted, values["ephys"].loc[pairs].mean()),
    index=values["ephys"].columns,
).sort_values()

figure, axis = plt.subplots(figsize=(6, 5.5))
axis.barh(of_feature.index, of_feature, color="C0")
axis.axvline(0, color="black", linewidth=0.8)
axis.set(xlabel="R² from genes, new cells, trained on 100 pairs")
axis.tick_params(axis="y", labelsize=8)
axis.spines[["top", "right"]].set_visible(False)
figure.tight_layout()

# %% [markdown]
# Features that tell families apart, such as the number and the width of action potentials, need few pairs. Others are
# left at their mean.
#
# ## What can be trusted?
#
# Intervals know how many pairs there were. With a hundred, do those of 90 % hold nine in ten of the new values?

# %%
intervals = ensemble.predict("rna", "ephys", adata=new, quantiles=[0.05, 0.95]).loc[test]
scores = scvi_cae.evaluate.interval_scores(
    values["ephys"].loc[test], intervals, values["ephys"].drop(test).std()
)
scores[["coverage", "width"]].agg(["mean", "min", "max"]).T.style.format(precision=2)

# %% [markdown]
# They do, on the average; the price of few pairs is their width, in standard deviations (of a normally distributed
# feature of which nothing is known, 3.3). So a prediction from few pairs is not wrong but vague, and says so.
#
# ## Would more pairs be worth it?
#
# `learning_curve` takes smaller and larger sets of pairs, with and without the reference, and scores the same test
# cells each time. Here two folds; on your own data, take all the pairs that you have, and see whether the curve still
# rises.

# %%
paired = mudata.MuData({name: mdata[name][both].copy() for name in ("rna", "ephys")})
scvi_cae.CoupledAE.setup_mudata(paired)
curve = scvi_cae.evaluate.learning_curve(
    paired,
    sizes=[50, 100, 200],
    splits=scvi_cae.splits.k_fold(paired, 5)[:2],
    reference=[None, "rna"],
    models=["Ensemble"],
    baselines=["ridge"],
)
means = curve.groupby(["target", "reference", "method", "n_pairs"])["value"].mean()

figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), sharex=True)
for axis, (direction, (_, target)) in zip(axes, directions.items(), strict=True):
    for method, colour in {"Ensemble": "C0", "ridge": "C1"}.items():
        for reference, line in {"rna": "-", "none": ":"}.items():
            scores = means.loc[target, reference, method]
            label = f"{method}, {'with reference' if reference == 'rna' else 'pairs alone'}"
            axis.plot(scores, "o", linestyle=line, color=colour, label=label)
    axis.axhline(0, color="0.8", zorder=0)
    axis.set(title=direction, xlabel="number of pairs", ylabel="R² of test cells")
    axis.set_xticks(scores.index)
    axis.spines[["top", "right"]].set_visible(False)
axes[1].legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
figure.tight_layout()

# %% [markdown]
# - **Pairs are what counts.** Doubling them gains more than all transcriptomes of the reference do.
# - **A reference buys little** for the prediction of the one modality from the other, though it costs nothing to keep.
#   What it does buy is not in this figure: places in the common space for all of its cells, and predictions of what
#   their electrophysiology would be.
# - **Genes need more pairs**: from fifty, nothing of them is predicted, by either method.
#
# Two folds and one draw of pairs make a sketch. Ten folds, other regressions, and up to a thousand pairs are in
# [few pairs](../docs/few_pairs.md), and agree. If your reference comes from another laboratory, so may its
# differences; read [other data](../docs/queries.md) first.

# %%
import session_info2

session_info2.session_info(os=False, dependencies=False)
