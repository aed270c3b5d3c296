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
# # Which genes drive which physiology
#
# A coupled autoencoder predicts a neuron's electrophysiology from its transcriptome. Which genes does it read to do so,
# and which way does each of them push? `attribute` answers with derivatives: by how many standard deviations the
# predicted feature moves when a gene's expression moves by one, and all else stays.
#
# Two questions go with it. Is it any better than correlating each gene with each feature, which takes a line? And
# does it find what is known of ion channels? We ask on mouse motor cortex
# ([Scala et al., 2021](https://doi.org/10.1038/s41586-020-2907-3)), with three pairs from textbooks:
#
# - `Kcnc1` and `Kcnc2` are Kv3 potassium channels. They end action potentials quickly, and so let cells fire fast: more
#   of them, narrower spikes, and more of them.
# - `Hcn1` is the channel of the current $I_h$, which opens when a cell is hyperpolarised and pulls it back: a sag.

# %% tags=["remove-cell"]
import _tutorial  # keeps libraries quiet; leave it out in a notebook of your own

# %%
import matplotlib.pyplot as plt
import mudata
import numpy as np
import pandas as pd

import scvi_cae


mdata = scvi_cae.datasets.scala2020()
family = mdata.obs["rna_family"]
width, rate, sag = "AP width (ms)", "Max number of APs", "Sag ratio"
known = {("Kcnc1", width): -1, ("Kcnc2", width): -1, ("Kcnc1", rate): 1, ("Kcnc2", rate): 1, ("Hcn1", sag): 1}
fast_spiking = "Pvalb"
# Symbols of ion channels' subunits begin with these, and go on with some letters and a number.
channel = r"(Scn|Kcn|Cacn|Hcn|Trp[acmv]|Ano|Clcn|Gabr|Gri[akn]|Chrn|Ryr|Itpr)[a-z]*\d+[a-z]?$"
both = mdata["rna"].obs_names.intersection(mdata["ephys"].obs_names)
both = both[family[both].notna() & (family[both] != "low quality")]
paired = mudata.MuData({name: mdata[name][both].copy() for name in ("rna", "ephys")})
paired.obs["family"] = family[both].cat.remove_unused_categories()
genes = paired["rna"].var_names
channels = genes[genes.str.fullmatch(channel)]
print(f"{len(channels)} of {len(genes)} genes are of ion channels.")

# %% [markdown]
# Five models of the same cells, which differ in their random numbers only. A fifth of the cells is held out, and
# everything below is measured on them.

# %%
split = scvi_cae.splits.k_fold(paired, 5, stratify_by="family", validation_size=0.1)[0]
scvi_cae.CoupledAE.setup_mudata(paired)
fits = scvi_cae.fit_many(paired, [split], seeds=range(5))
ensemble = scvi_cae.Ensemble.from_models([fit.model for fit in fits])

# %% [markdown]
# ## What can be predicted at all?
#
# What drives a prediction that is wrong means nothing. So first, R² of each feature from genes: 1 is perfect, 0 the
# mean of the training cells.

# %%
scores = scvi_cae.evaluate.score(ensemble, baselines=False, per_feature=True)
scores = scores.query("source == 'rna' and target == 'ephys' and metric == 'feature r2'").set_index("feature")
r2 = scores["value"].sort_values()

figure, axis = plt.subplots(figsize=(6, 5.5))
axis.barh(r2.index, r2, color=["tab:orange" if name in (width, rate, sag) else "silver" for name in r2.index])
axis.axvline(0, color="black", linewidth=0.8)
axis.set(xlabel="R² from genes, held-out cells")
axis.tick_params(axis="y", labelsize=8)
figure.tight_layout()

# %% [markdown]
# Spike width and the number of action potentials are predicted well, the sag less, and some features hardly at all.
# Of the last, we ask nothing.
#
# ## Attributions
#
# For each feature, a gene has the `mean` of the five models' derivatives, their standard deviation, and its
# `stability`, $|\mathrm{mean}| / (|\mathrm{mean}| + \mathrm{std})$: 1 if all models agree, 0.5 if they differ by as much
# as their mean. Beside them, we put the plain correlation of gene and feature over the training cells, which is all that
# the models saw, too.

# %%
effects = ensemble.attribute(source="rna", target="ephys", indices=split.test)

names = paired.obs_names[split.train]
rna, ephys = paired["rna"][names].to_df(), paired["ephys"][names].to_df()


def of_feature(feature):
    """Derivatives and correlations of all genes with a feature, and their ranks by size."""
    table = effects[feature].assign(correlation=rna.corrwith(ephys[feature]))
    table["rank"] = table["mean"].abs().rank(ascending=False)
    table["rank of correlation"] = table["correlation"].abs().rank(ascending=False)
    return table


tables = {feature: of_feature(feature) for feature in (width, rate, sag)}
tables[width].loc[channels].sort_values("rank").head(10).style.format("{:.3f}").format(
    "{:.0f}", subset=["rank", "rank of correlation"]
)

# %% [markdown]
# No channel moves the prediction far, nor does any gene: the model is trained with most genes dropped at random, and so
# learns to read a little from many. What counts is a gene's rank, and whether the models agree:

# %%
for feature, table in tables.items():
    print(
        f"{feature}: largest derivative of any gene {table['mean'].abs().max():.3f}; median stability of all genes "
        f"{table['stability'].median():.2f}, of the 50 first {table['stability'][table['rank'] <= 50].median():.2f}; "
        f"over genes, derivatives and correlations correlate with {table['mean'].corr(table['correlation']):.2f}"
    )

# %% [markdown]
# A typical gene's derivative is about as large as what another random seed changes in it, and is no finding. The first
# ones are shared by all models.
#
# ## What is known
#
# The textbook pairs, with the sign that they should have:

# %%
rows = {}
for (gene, feature), sign in known.items():
    table = tables[feature]
    rows[gene, feature] = {"expected": "+" if sign > 0 else "−", **table.loc[gene].round(3)}
cases = pd.DataFrame(rows).T.astype({"rank": int, "rank of correlation": int})
cases

# %%
highlighted = pd.DataFrame(list(known), columns=["gene", "feature"]).groupby("feature", sort=False)["gene"]
figure, axes = plt.subplots(1, 3, figsize=(12, 4))
for axis, (feature, labelled) in zip(axes, highlighted, strict=True):
    table = tables[feature]
    axis.plot(table["correlation"], table["mean"], ".", color="silver", markersize=3, label="all genes")
    axis.plot(
        *table.loc[channels, ["correlation", "mean"]].T.to_numpy(),
        ".",
        color="tab:blue",
        label="ion channels",
    )
    axis.margins(0.12)
    places = table.loc[list(labelled), ["correlation", "mean"]].sort_values("mean", ascending=False)
    for (gene, place), height in zip(places.iterrows(), (14, -22), strict=False):
        axis.plot(*place, "o", color="tab:red", markersize=5)
        axis.annotate(
            gene,
            place,
            xytext=(0, height),
            textcoords="offset points",
            ha="center",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
        )
    axis.axhline(0, color="black", linewidth=0.5)
    axis.axvline(0, color="black", linewidth=0.5)
    axis.set(xlabel="correlation of gene and feature", title=feature)
axes[0].set_ylabel("derivative of the prediction (s.d. per s.d.)")
axes[0].legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# All have the sign that they should, although the models hardly agree on `Kcnc2` and the width. For Kv3, the correlation
# says the same and costs nothing. `Hcn1` is the case where it pays to ask a model: by correlation with the sag, it is one
# of many; by derivative, it is ahead of most of them. The reason is that cells without a sag have it, too. Its mean expression and the sag ratio, by family:

# %%
gene, feature = list(known)[-1]
values = pd.DataFrame({gene: paired["rna"].to_df()[gene], feature: paired["ephys"].to_df()[feature]})
by_family = values.groupby(paired.obs["family"], observed=True).mean()
by_family["cells"] = paired.obs["family"].value_counts()

others = names[(paired.obs["family"][names] != fast_spiking).to_numpy()]
print(f"Correlation over the training cells: {rna[gene].corr(ephys[feature]):.2f}")
print(f"Without those of {fast_spiking}: {rna.loc[others, gene].corr(ephys.loc[others, feature]):.2f}")
by_family.sort_values(feature, ascending=False).round(2)

# %% [markdown]
# Parvalbumin cells spoil the correlation: they express `Hcn1`, and their sag is small. A model that reads all genes
# at once knows a parvalbumin cell when it sees one, and can ask what `Hcn1` says beside that.
#
# ## Type by type
#
# An average over all cells hides that a gene may count in one type and not in another. `indices` chooses the cells:

# %%
held_out = paired.obs["family"].iloc[split.test]
rows = {}
for name, count in held_out.value_counts().items():
    if count < 5:
        continue
    of_family = ensemble.attribute("rna", "ephys", indices=split.test[(held_out == name).to_numpy()])
    rows[f"{name} ({count} cells)"] = {pair: of_family.loc[pair[0], (pair[1], "mean")] for pair in known}
by_type = pd.DataFrame(rows).T

largest = np.abs(by_type.to_numpy()).max()
figure, axis = plt.subplots(figsize=(11, 3.8))
image = axis.imshow(by_type, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto")
for row, column in np.ndindex(by_type.shape):
    color = "white" if abs(by_type.iloc[row, column]) > 0.6 * largest else "black"
    axis.text(
        column, row, f"{by_type.iloc[row, column]:.3f}", ha="center", va="center", fontsize=8, color=color
    )
axis.set_xticks(range(by_type.shape[1]), [f"{gene}\n{feature}" for gene, feature in known], fontsize=8)
axis.set_yticks(range(len(by_type)), by_type.index)
figure.colorbar(image, label="derivative (s.d. per s.d.)")
axis.set(xlabel="gene and feature", ylabel="family (test cells)")
figure.tight_layout()

# %% [markdown]
# `Kcnc1` raises the predicted number of action potentials most in parvalbumin cells, the fast-spiking ones, and `Hcn1`
# the predicted sag most in extratelencephalic (ET) neurons, where $I_h$ is known to be strong.
#
# ## What it is not
#
# All of this describes a model. How much of it is about channels, how much about cell types that happen to differ in
# channels? Take the channels with the largest derivatives for spike width, and correlate them with it again, once each
# family's mean is taken away from both:

# %%
families = paired.obs["family"][names]
within_rna = rna - rna.groupby(families, observed=True).transform("mean")
within_ephys = ephys - ephys.groupby(families, observed=True).transform("mean")

first = tables[width].loc[channels].nsmallest(10, "rank")[["mean", "stability", "correlation"]]
first["correlation within families"] = within_rna[first.index].corrwith(within_ephys[width])
first.loc["mean size"] = first.abs().mean()
first.round(3)

# %% [markdown]
# Most of these correlations is between families; within, little is left. So:
#
# - **An attribution is an association that the model uses, not a cause.** A channel that marks a family stands in for
#   everything that is particular to the family. Nothing was blocked or knocked out here; the textbook pairs are
#   believable because others did that.
# - **The textbook pairs were chosen**, for being in textbooks. The table above has others, with derivatives as
#   large, of which we know no such story.
# - **Ask several models.** What only one seed finds is no finding.
# - **Ask only what is predicted**, and of cells that were held out.
#
# How far attributions can be trusted where the truth is known, in simulated data, and what they cost:
# [docs/attribution.md](../docs/attribution.md).

# %%
import session_info2

session_info2.session_info(os=False, dependencies=False)
