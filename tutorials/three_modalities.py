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
# # Three modalities, gaps, and labels as a modality
#
# Few experiments measure everything in every cell. Of the neurons of mouse motor cortex in
# [Scala et al. (2021)](https://doi.org/10.1038/s41586-020-2907-3), half were reconstructed, and a quarter of the values
# of these reconstructions are missing. A coupled autoencoder trains on all of it: what a cell lacks enters no loss and
# no gradient, and is never taken for zero. What does that make possible? This notebook shows it, on cells held out.

# %% tags=["remove-cell"]
import _tutorial  # keeps libraries quiet; leave it out in a notebook of your own

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import scvi_cae


# %%
mdata = scvi_cae.datasets.scala2020()
family = mdata.obs["rna_family"]
mdata.obs["family"] = family.where(family != "low quality").cat.remove_unused_categories()

# %% [markdown]
# ## What there is
#
# Which modalities cells have, and how many values are missing in those that they have:

# %%
has = pd.DataFrame(
    {name: mdata.obs_names.isin(mdata[name].obs_names) for name in mdata.mod}, index=mdata.obs_names
)
has.value_counts().rename("cells").reset_index()

# %%
# Cells that lack a modality have rows of NaN.
values = {name: mdata[name].to_df().reindex(mdata.obs_names) for name in mdata.mod}
missing = {name: values[name][has[name]].isna() for name in mdata.mod}
pd.DataFrame(
    {
        name: {
            "cells": len(gaps),
            "values missing": gaps.to_numpy().mean(),
            "cells with a gap": gaps.any(axis=1).mean(),
        }
        for name, gaps in missing.items()
    }
).T.style.format({"cells": "{:.0f}", "values missing": "{:.1%}", "cells with a gap": "{:.0%}"})

# %% [markdown]
# No cell need be thrown away, and no value filled in. To keep only complete cells would be to keep so many:

# %%
complete = np.all([has[name] & values[name].notna().all(axis=1) for name in mdata.mod], axis=0)
print(f"{complete.sum()} of {mdata.n_obs} cells lack nothing.")

# %% [markdown]
# ## Labels are one more modality
#
# Labels are gappy, too. To see what a few are worth, say that half of the cells have none. `labels_key` makes the
# column a modality whose features are classes: cells with a label learn from it, the others lack it, and it can be
# predicted.

# %%
known = np.random.default_rng(0).random(mdata.n_obs) < 0.5
mdata.obs["label"] = mdata.obs["family"].where(known)
scvi_cae.CoupledAE.setup_mudata(mdata, labels_key="label")
mdata.obs["label"].value_counts(dropna=False).rename("cells").to_frame().T

# %% [markdown]
# ## Train
#
# Four models, each without a quarter of the cells, so that every cell is a test cell of one of them. Folds have each
# combination of modalities in proportion, here also each family. All four are trained together.

# %%
folds = scvi_cae.splits.k_fold(mdata, 4, stratify_by="family")
models = [fit.model for fit in scvi_cae.fit_many(mdata, folds)]
models[0].modalities


# %% [markdown]
# From here on, each cell is predicted by the model that was trained without it. R² is pooled over cells and features
# in standard deviations: 1 is perfect, 0 the mean of the training cells. One number for each fold:


# %%
def held_out_r2(source, target, cells, data=mdata, truth=None):
    """R² of the given cells in each fold; ``data`` is what sources are read from."""
    truth = values[target] if truth is None else truth
    scores = []
    for model, fold in zip(models, folds, strict=True):
        test = np.intersect1d(fold.test, np.flatnonzero(cells))
        predicted = model.predict(source, target, adata=data, indices=test)
        scores.append(
            scvi_cae.evaluate.pooled_r2(truth.iloc[test], predicted, *model.feature_moments(target))
        )
    return np.array(scores)


# %% [markdown]
# ## What a second source is worth
#
# With several sources, `predict` reads the mean of the latents of those that a cell has. Compare like with like: the
# cells that have all three modalities. Beside the model is ridge regression on the features of both sources, fitted to
# the same training cells (a source that a training cell lacks is filled with means, as regression must).


# %%
def ridge_r2(source, target, cells):
    """The same of ridge regression."""
    x, y = np.concatenate([values[name] for name in source], axis=1), values[target].to_numpy()
    scores = []
    for model, fold in zip(models, folds, strict=True):
        test = np.intersect1d(fold.test, np.flatnonzero(cells))
        ridge = scvi_cae.evaluate.RidgeBaseline().fit(x[fold.train], y[fold.train])
        scores.append(
            scvi_cae.evaluate.pooled_r2(y[test], ridge.predict(x[test]), *model.feature_moments(target))
        )
    return np.array(scores)


everything = has.all(axis=1).to_numpy()
sources = {"ephys": ("rna", "morph"), "morph": ("rna", "ephys"), "rna": ("ephys", "morph")}
r2 = {}
for target, (first, second) in sources.items():
    for source in ([first], [second], [first, second]):
        key = (target, " and ".join(source))
        r2[key] = {
            "model": held_out_r2(source, target, everything),
            "ridge": ridge_r2(source, target, everything),
        }

table = pd.DataFrame(
    {key: {method: x.mean() for method, x in scores.items()} for key, scores in r2.items()}
).T
table.rename_axis(["target", "from"]).round(3)

# %% [markdown]
# Folds differ by more than sources do, so take the difference of both sources and the better one of the two within each
# fold:

# %%
rows = {}
for target, (first, second) in sources.items():
    both = r2[target, f"{first} and {second}"]
    better = first if r2[target, first]["model"].mean() > r2[target, second]["model"].mean() else second
    gain = {method: both[method] - r2[target, better][method] for method in both}
    rows[f"{target}: {first} and {second}, not {better} alone"] = {
        (method, what): value
        for method, x in gain.items()
        for what, value in (("mean", x.mean()), ("least", x.min()), ("greatest", x.max()))
    }
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# A second source adds little to the better one, and a poor one takes away from it: its latent counts as much in the mean.
# Morphology, of which a quarter is missing, is the poor one here. Ridge regression, which weighs features, gains little
# from a second source, too.
#
# What several sources are for, then, is first of all that cells may have the one or the other. `predict` takes what
# there is, and no cell with either is left without a prediction:

# %%
either = models[0].predict(["rna", "morph"], "ephys", indices=folds[0].test)
alone = {name: models[0].predict(name, "ephys", indices=folds[0].test) for name in ("rna", "morph")}
counts = {name: x.notna().all(axis=1).sum() for name, x in {**alone, "rna or morph": either}.items()}
pd.Series(counts, name="test cells with a prediction").to_frame().T

# %% [markdown]
# ## Missing values
#
# Within a modality the same holds for single values: an encoder reads what was measured. To measure how well that
# works, hide values of the test cells at random, and predict just these, from what is left of the modality, from the
# transcriptome, and from both:

# %%
rng = np.random.default_rng(0)
fractions = [0.1, 0.3, 0.5, 0.7]
hidden_r2 = {}
for target in ("ephys", "morph"):
    for fraction in fractions:
        hidden = mdata.copy()
        hide = rng.random(hidden[target].shape) < fraction
        hidden[target].X = np.where(hide, np.nan, hidden[target].X)
        something_left = np.isfinite(hidden[target].X).any(axis=1, keepdims=True)  # in all but a few cells
        truth = mdata[target].to_df().where(hide & something_left).reindex(mdata.obs_names)
        for source in ([target], ["rna"], [target, "rna"]):
            scores = held_out_r2(source, target, everything, hidden, truth)
            hidden_r2[target, " and ".join(source), fraction] = scores.mean()
table = pd.Series(hidden_r2).unstack().rename_axis(["values of", "from"])
table.columns = [f"{fraction:.0%} hidden" for fraction in fractions]
table.round(3)

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.5), sharey=True)
for axis, target in zip(axes, ("ephys", "morph"), strict=True):
    for source, scores in table.loc[target].iterrows():
        axis.plot(fractions, scores, "o-", label=f"from {source}")
    axis.set(
        title=f"hidden values of {target}",
        xlabel="fraction hidden",
        ylabel="R² of what was hidden",
        ylim=(0, 1.1 * table.max().max()),
    )
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# The fewer values are left, the less they say of the others, while the transcriptome says about the same throughout.
# With few hidden, those that are left are best asked by themselves; with seven tenths hidden, both together are better
# than either.
#
# ## Labels of cells that have none
#
# Predicted labels are probabilities; rows are cells, columns classes. Of a few test cells by their electrophysiology:

# %%
models[0].predict("ephys", "label", indices=folds[0].test[:4]).style.format(precision=2)

# %% [markdown]
# The most probable class of all test cells with three modalities and a known family, by each source. Beside the share
# that is right stands the mean probability of the class, which would be the same if probabilities were right, too:

# %%
scored = everything & mdata.obs["family"].notna().to_numpy()
rows = {}
for source in (["rna"], ["ephys"], ["morph"], ["ephys", "morph"], ["rna", "ephys", "morph"]):
    tested = [np.intersect1d(fold.test, np.flatnonzero(scored)) for fold in folds]
    p = pd.concat([m.predict(source, "label", indices=test) for m, test in zip(models, tested, strict=True)])
    right = p.idxmax(axis=1).astype(str) == mdata.obs.loc[p.index, "family"].astype(str)
    rows[" and ".join(source)] = {"right": right.mean(), "probability": p.max(axis=1).mean(), "cells": len(p)}
share = mdata.obs.loc[scored, "family"].value_counts(normalize=True)
rows["(the commonest family)"] = {"right": share.max(), "cells": scored.sum()}
pd.DataFrame(rows).T.style.format({"right": "{:.2f}", "probability": "{:.2f}", "cells": "{:.0f}"}, na_rep="")

# %% [markdown]
# Families are transcriptomic, and the transcriptome says them best. Electrophysiology and morphology together say
# more of them than either alone. All of that was learnt from the labels of half of the training cells. Probabilities
# from several sources are too cautious.
#
# Labels shape the networks, but have no part in the joint latent `X_cae`, which is the mean over measured modalities
# only; and the labels of test cells have entered nothing.
#
# More of this, with numbers of ten folds: [any modalities, any gaps](../docs/modalities.md), on likelihoods, technical
# batches and large unpaired references, too.

# %%
import session_info2

session_info2.session_info(os=False, dependencies=False)
