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
# # Cell types that are consistent across modalities
#
# Transcriptomic types are found by genes. Which of them would also be found by electrophysiology? [Gala et al.
# (2021)](https://doi.org/10.1038/s43588-021-00030-1) asked that of mouse visual cortex: how fine a taxonomy can be
# read from either modality (their Figure 1), and which types a cell has by both (their Figure 3). Here are the same
# questions for neurons of mouse motor cortex ([Scala et al., 2021](https://doi.org/10.1038/s41586-020-2907-3)), and
# one that the paper left open: which types does another training find again? Everything is fitted to training cells,
# mixtures and classifiers too, and measured on test cells.

# %% tags=["remove-cell"]
import _tutorial  # keeps libraries quiet; leave it out in a notebook of your own

# %%
import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from matplotlib.collections import LineCollection
from scipy.cluster.hierarchy import linkage
from scipy.stats import false_discovery_control

import scvi_cae
from scvi_cae import tl


# %%
mdata = scvi_cae.datasets.scala2020()
mdata = mdata[mdata.obs_names.isin(mdata["rna"].obs_names.union(mdata["ephys"].obs_names))].copy()
family = mdata.obs["rna_family"]
mdata.obs["family"] = family.where(family != "low quality").cat.remove_unused_categories()
mdata.obs["type"] = mdata.obs["rna_type"]

# %% [markdown]
# ## Hold out cells, train
#
# A quarter of the cells are for testing. Of the others, some choose the epoch; they will also say which distances
# between modalities are typical. There are five models, alike but for their random numbers. For comparison there is a
# sixth, without coupling, whose modalities know nothing of each other, and the paper's baseline: canonical
# correlation analysis of principal components (PCA-CCA), with as many dimensions. `tl.pca_cca` writes its latents
# where a model would, so that everything below works on them, too.

# %%
scvi_cae.CoupledAE.setup_mudata(mdata, modalities=["rna", "ephys"])
fold = scvi_cae.splits.k_fold(mdata, 4, stratify_by="family", validation_size=0.15)[0]
fits = scvi_cae.fit_many(mdata, [fold], seeds=range(5))
(uncoupled,) = scvi_cae.fit_many(mdata, [fold], settings=[{"coupling": 0.0}])

keys = [f"fit {fit.seed}" for fit in fits]
for key, fit in zip([*keys, "uncoupled"], [*fits, uncoupled], strict=True):
    fit.model.write_latent(mdata, key=key)
fits[0].model.write_latent(mdata)  # under "X_cae", where functions look first
n_latent = mdata.obsm["X_cae"].shape[1]
tl.pca_cca(mdata, ("rna", "ephys"), n_latent=n_latent)  # under "X_cca"
methods = {**dict.fromkeys(keys, "CoupledAE"), "uncoupled": "without coupling", "X_cca": "PCA-CCA"}

has = {name: mdata.obs_names.isin(mdata[name].obs_names) for name in ("rna", "ephys")}
sets = mdata.obs["X_cae_set"].rename("set")
pd.DataFrame(has | {"both": has["rna"] & has["ephys"]}, index=mdata.obs_names).groupby(sets, observed=True).sum()

# %% [markdown]
# ## Two modalities, one space
#
# The latents of the first model, a point for each cell and modality. Coloured are test cells, all others are grey; on
# the right, lines join the two places of a test cell.

# %%
points = anndata.concat(
    {
        name: anndata.AnnData(
            obs=mdata.obs.loc[mdata[name].obs_names, ["family", "X_cae_set"]],
            obsm={"X_cae": mdata[name].obsm["X_cae"]},
        )
        for name in ("rna", "ephys")
    },
    label="modality",
    index_unique=" ",
)
sc.pp.neighbors(points, use_rep="X_cae")
sc.tl.umap(points)
test = points[points.obs["X_cae_set"] == "test"].copy()

figure, axes = plt.subplots(1, 3, figsize=(15, 4.4))
for axis, (name, title) in zip(
    axes, {"rna": "by transcriptome", "ephys": "by electrophysiology"}.items(), strict=False
):
    sc.pl.umap(points, size=12, ax=axis, show=False)
    sc.pl.umap(
        test[test.obs["modality"] == name].copy(),
        color="family",
        palette=sc.pl.palettes.default_20,
        size=60,
        na_in_legend=False,
        legend_loc="right margin" if name == "ephys" else None,
        title=title,
        ax=axis,
        show=False,
    )
sc.pl.umap(points, size=12, ax=axes[2], show=False)
both = mdata.obs_names[(sets == "test").to_numpy() & has["rna"] & has["ephys"]]
ends = np.stack([test[both + " " + name].obsm["X_umap"] for name in ("rna", "ephys")], axis=1)
axes[2].add_collection(LineCollection(ends, linewidths=0.6, colors="C3", alpha=0.6))
axes[2].set_title("the two places of a cell")
figure.tight_layout()

# %% [markdown]
# Families lie in the same parts of the space by both modalities, and most lines stay within a family. Within it, many
# are long. In numbers, FOSCTTM is the fraction of cells that are closer to a cell's latent in one modality than the
# cell itself is in the other (0 is perfect, 0.5 chance), here among all test cells, and among those of the same
# family:

# %%
position = mdata.obs_names.get_indexer(both)
of_family = mdata.obs["family"].iloc[position].reset_index(drop=True)
groups = [cells.index for _, cells in of_family.groupby(of_family, observed=True) if len(cells) >= 10]
rows = []
for key, method in methods.items():
    a, b = (mdata.obsm[f"{key}_{m}"][position] for m in ("rna", "ephys"))
    within = [scvi_cae.evaluate.foscttm(a[cells], b[cells]) for cells in groups]
    within = np.average(within, weights=[len(cells) for cells in groups])
    rows.append({"method": method, "all": scvi_cae.evaluate.foscttm(a, b), "same family": within})
pd.DataFrame(rows).groupby("method", sort=False).mean().style.format(precision=3)

# %% [markdown]
# Without coupling, both are chance. With it, a cell finds its like far better than it finds itself among its like.
# Keep that in mind: what modalities agree on is above all the family, and this is what consistent types will be
# about.
#
# ## How fine a taxonomy can be read from each modality? (Figure 1)
#
# For that a taxonomy is needed, a tree along which types merge. `Taxonomy.from_pairs` makes one of labels, here two
# levels, types and families:

# %%
labelled = mdata.obs[["type", "family"]].dropna()
families = tl.Taxonomy.from_pairs(labelled)
tl.classify_by_resolution(mdata, "type", families, min_cells=n_latent + 1).round(2)

# %% [markdown]
# Quadratic discriminant analysis, a normal distribution for each class, is fitted to training cells' latents, and
# classifies test cells. Types of too few training cells cannot be fitted (`n_fitted`), and test cells of these are
# left out (`n_left_out`): most types are rare. The following keeps to types with more training cells than the latents
# have dimensions.
#
# Between types and families there is more than one step. A Ward linkage of the types' mean transcriptomes, of
# training cells again, gives a tree with every number of classes:

# %%
training = mdata.obs.loc[(sets == "training").to_numpy() & has["rna"] & has["ephys"], "type"].dropna().astype(str)
counts = training.value_counts()
common = counts.index[counts > n_latent]

rna = mdata["rna"].to_df().loc[training.index]
tree = tl.Taxonomy.from_linkage(linkage(rna.groupby(training).mean().loc[common], "ward"), common)
mdata.obs["common type"] = pd.Categorical(mdata.obs["type"].astype(object), tree.leaves)
tree

# %%
tables = pd.concat(
    {
        key: tl.classify_by_resolution(mdata, "common type", tree, use_rep=key, min_cells=n_latent + 1)
        for key in methods
    },
    names=["key"],
).reset_index()
tables["method"] = tables["key"].map(methods)
accuracy = tables.groupby(["modality", "n_classes", "method"])["accuracy"].agg(["mean", "min", "max"])

figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True)
for axis, modality in zip(axes, ("rna", "ephys"), strict=True):
    for method, colour in {"CoupledAE": "C0", "without coupling": "C1", "PCA-CCA": "C2"}.items():
        line = accuracy.loc[modality].xs(method, level="method")
        axis.plot(line["mean"], color=colour, label=method)
        axis.fill_between(line.index, line["min"], line["max"], color=colour, alpha=0.2, linewidth=0)
    dummy = tables[tables["modality"] == modality].groupby("n_classes")["dummy_accuracy"].mean()
    axis.plot(dummy, ":", color="0.5", label="largest class")
    axis.set(title=f"from {modality}", xlabel="number of classes", ylim=(0, 1.02))
    axis.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("accuracy, test cells")
axes[1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
figure.tight_layout()

# %%
some = [n for n in (2, 5, 10, 15, 20, len(common)) if n <= len(common)]
accuracy["mean"].unstack(["modality", "method"]).loc[some].round(2)

# %% [markdown]
# The bands are from the worst to the best of five fits; with some two hundred test cells, an accuracy has a standard
# error of about 0.03. The broadest classes are read from either modality almost without error. The finer the classes,
# the lower the accuracy, and it falls faster by electrophysiology: a patched neuron's family can be told, its type
# often cannot. (Types were assigned by genes, which favours genes.) Coupling helps electrophysiology, whose latents
# learn from genes what to look for; genes gain nothing by it, or lose a little. All that is as in the paper. There
# the autoencoder was ahead of PCA-CCA, too, with four times as many cells and three dimensions. Here the linear
# method is a strong baseline. The mean difference over all numbers of classes, and the least and the largest:

# %%
by_method = accuracy["mean"].unstack("method")
difference = by_method["CoupledAE"] - by_method["PCA-CCA"]
difference.groupby("modality").agg(["mean", "min", "max"]).style.format(precision=3).set_caption(
    "CoupledAE less PCA-CCA"
)

# %% [markdown]
# ## Types without labels (Figure 3)
#
# Now nobody says what the types are. `tl.consistent_types` fits mixtures of normal distributions to the training
# cells' latents by genes, from several initialisations, and chooses the number of types by the Bayesian information
# criterion (BIC). The same mixture then labels the latents by electrophysiology. A type is consistent if cells have
# it by both. `reference_key` names types in the order of the families that match them best; it does not change them.

# %%
tl.consistent_types(mdata, reference_key="family")
mdata.uns["consistent_type"]["types"].style.format({"weight": "{:.2f}", "reference_share": "{:.2f}"})

# %%
bic = mdata.uns["consistent_type"]["bic"].pivot(index="n_types", columns="init", values="bic")
best = bic.idxmin().value_counts()
table = tl.contingency(*(mdata.obs.loc[sets == "test", f"consistent_type_{m}"] for m in ("rna", "ephys")))

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
axes[0].plot(bic, color="0.7")
for n, times in best.items():
    axes[0].plot(n, bic.min(axis=1)[n], "o", color="C3", markersize=4 + 2 * times)
axes[0].set(xlabel="number of types", ylabel="BIC", title="lines: initialisations; dots: their best numbers")
axes[0].spines[["top", "right"]].set_visible(False)
axes[1].set(xlabel="type by electrophysiology", ylabel="type by genes", title="test cells")
axes[1].set_xticks(range(len(table)), table.columns)
axes[1].set_yticks(range(len(table)), table.index)
axes[1].imshow(table.div(table.sum(axis=1).clip(lower=1), axis=0), cmap="Greys", vmin=0, vmax=1)
for i, j in np.argwhere(table.to_numpy() > 0):
    n = table.iat[i, j]
    axes[1].text(j, i, n, ha="center", va="center", color="w" if n > 0.5 * table.iloc[i].sum() else "k")

# %% [markdown]
# BIC chooses few types, families rather than types. The paper found 33: it had more cells, and in its three
# dimensions a type has 10 parameters to pay for, in ten dimensions 66. Rows and columns of the table agree on most
# cells. In numbers, *consistency* is the fraction of cells with the same type by both; a type is *reliable* if its
# cell on the diagonal is the largest of its row and column, by a factor; ARI and AMI are 1 for the same partition and
# 0 for unrelated ones. The same number of types in the latents of PCA-CCA:

# %%
n_types = mdata.uns["consistent_type"]["params"]["n_types"]
tl.consistent_types(mdata, use_rep="X_cca", n_types=n_types, key_added="cca_type")
columns = [f"{key}_{m}" for key in ("consistent_type", "cca_type") for m in ("rna", "ephys")]
pd.DataFrame(
    {"CoupledAE": tl.agreement(mdata, *columns[:2]), "PCA-CCA": tl.agreement(mdata, *columns[2:])}
).T.style.format(precision=2).format("{:.0f}", subset="n_cells")

# %% [markdown]
# PCA-CCA's types are about as consistent: for that, it takes no network. What do these types have to do with the
# transcriptomic ones? Test cells again, by their type and their family:

# %%
reference = mdata.obs["family"].rename("family")[sets == "test"]
pd.concat(
    {
        f"by {m}": pd.crosstab(reference, mdata.obs.loc[sets == "test", f"consistent_type_{m}"].rename("type"))
        for m in ("rna", "ephys")
    },
    axis=1,
).fillna(0).astype(int)

# %% [markdown]
# A type is mostly one family, or two or three that stay together, by both modalities. So consistent does not mean
# pure: both draw the same lines, not all of those that taxonomists draw.
#
# ## Finer types are less consistent
#
# BIC need not have the last word: the same with more types than it chooses, the mean over the five fits. Chance is
# the consistency of unrelated labels that are as frequent.


# %%
def chance(rna, ephys):
    known = rna.notna() & ephys.notna() & (sets == "test")
    return sum(rna[known].value_counts(normalize=True) * ephys[known].value_counts(normalize=True))


rows = []
for n in (3, 5, 10, 15, 20, 30):
    for key in [*keys, "X_cca"]:
        tl.consistent_types(mdata, use_rep=key, n_types=n, n_init=2, key_added="finer")
        found = tl.agreement(mdata, "finer_rna", "finer_ephys", use_rep=key)
        by_chance = chance(mdata.obs["finer_rna"], mdata.obs["finer_ephys"])
        rows.append({"types": n, "method": methods[key], "chance": by_chance, **found})
finer = pd.DataFrame(rows).groupby(["method", "types"]).mean()

figure, axes = plt.subplots(1, 3, figsize=(13, 3.4), sharey=True)
for axis, score in zip(axes, ("consistency", "ami", "reliable (1)"), strict=True):
    for method in ("CoupledAE", "PCA-CCA"):
        axis.plot(finer.loc[method, score], "o-", color={"PCA-CCA": "C2"}.get(method, "C0"), label=method)
    if score == "consistency":
        axis.plot(finer.loc["CoupledAE", "chance"], ":", color="0.5", label="chance")
    axis.set(xlabel="number of types", title={"ami": "AMI", "reliable (1)": "reliable types"}.get(score, score))
    axis.set_ylim(0, 1.05)
    axis.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("score of test cells")
axes[0].legend(frameon=False)
figure.tight_layout()

# %%
finer.loc["CoupledAE", ["consistency", "chance", "ami", "reliable (1)", "reliable (2)"]].round(2)

# %% [markdown]
# With few types, the modalities agree on most cells. With thirty, they agree on a minority of them, although on far
# more than by chance; AMI, which allows for chance, falls as well. So fine types are there in both modalities to some
# extent, but not so that one could rely on them for a single cell, by neither of these methods. (The authors'
# notebooks have a consistency of 0.45 for the 33 types of visual cortex.)
#
# ## Beside the reference taxonomy
#
# A silhouette says how far a cell is from cells of other labels, compared with those of its own (1 far, 0 between,
# below 0 closer to others). For the same test cells, types found in the latents, and the taxonomy merged to as many
# classes: as many as BIC chooses, and as many as there are common types.

# %%
named = np.isin(mdata.obs_names, both) & mdata.obs["common type"].notna().to_numpy()
by_cell, coarse = [], max(n_types, 2)
for n in (coarse, len(common)):
    tl.consistent_types(mdata, n_types=n, key_added="mixture")
    mdata.obs["taxonomy"] = tree.merge(mdata.obs["common type"], n)
    found = tl.silhouettes(mdata, ["mixture", "taxonomy"], cells=named, by="cell")
    by_cell.append(found.assign(classes=n))
by_cell = pd.concat(by_cell)
by_cell.groupby(["modality", "classes", "key"], sort=False)["silhouette"].mean().unstack().style.format(precision=2)

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
for axis, (modality, of_modality) in zip(axes, by_cell.groupby("modality", sort=False), strict=True):
    for (n, key), of_key in of_modality.groupby(["classes", "key"], sort=False):
        values = np.sort(of_key["silhouette"])[::-1]
        style = {"color": {"mixture": "C0", "taxonomy": "C1"}[key], "linestyle": "-" if n == coarse else "--"}
        axis.plot(np.linspace(0, 1, len(values)), values, label=f"{key}, {n}", **style)
    axis.axhline(0, color="0.8", zorder=0)
    axis.set(title=modality, xlabel="fraction of test cells")
    axis.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("silhouette")
axes[1].legend(frameon=False)
figure.tight_layout()

# %% [markdown]
# With few classes, mixture and taxonomy are about equally well separated: both are nearly families. With many, those of
# the taxonomy, which were not made for these latents, are less well separated than those of the mixture, and neither
# well: many cells are closer to another type. Electrophysiology separates all of them less well than genes do. (The paper found its 33 types better
# separated than as many classes of the taxonomy.)
#
# ## Which types does another fit find again?
#
# The paper's types are those of one network, chosen among 21. The five fits here differ in their random numbers only:

# %%
rows = {}
for key in keys:
    tl.consistent_types(mdata, use_rep=key, n_init=3, key_added="own")
    found = tl.agreement(mdata, "own_rna", "own_ephys", use_rep=key)
    rows[key] = {"types": mdata.uns["own"]["params"]["n_types"], **found[["consistency", "ami", "reliable (2)"]]}

tl.consensus_types(mdata, fits, n_init=3, reference_key="family")
consensus = mdata.uns["consensus_type"]
found = tl.agreement(mdata, "consensus_type_rna", "consensus_type_ephys", use_rep="consensus_type")
rows["consensus"] = {"types": len(consensus["types"]), **found[["consistency", "ami", "reliable (2)"]]}
pd.DataFrame(rows).T.style.format(precision=2).format("{:.0f}", subset="types")

# %% [markdown]
# Random numbers matter: fits disagree on the number of types, and with it their consistency varies. Which one is
# published is a choice. `tl.consensus_types` describes each cell by the types that all fits give it, and clusters
# that. It need not make modalities agree better; it says what does not depend on the fit. Adjusted mutual information
# between the types of two fits, of test cells:

# %%
between = consensus["pairwise_ami"].query("cells == 'held-out'")
between.groupby("modality", sort=False)["ami"].agg(["mean", "min", "max"]).round(2)

# %%
shown = consensus["types"][["n_training", "reference", "reference_share", "stability", "jaccard", "nearest"]]
shown.style.format(precision=2)

# %% [markdown]
# *Jaccard* is the overlap with the most similar type of a fit, averaged over fits: above 0.75 for types that most
# fits find, below 0.5 for those that few do. *Stability* is how often two cells of the type are together; `nearest`
# is the type that its cells are confused with most.
#
# That another fit finds a type again does not say that another modality does. A finer consensus, with twelve types:

# %%
tl.consensus_types(mdata, fits, n_types=12, n_init=3, reference_key="common type", key_added="fine")
fine = mdata.uns["fine"]["types"]
held_out = mdata.obs[mdata.obs["fine_set"] == "test"]
table = tl.contingency(held_out["fine_rna"], held_out["fine_ephys"])
fine["by both"] = np.diag(table) / table.sum(axis=1)
fine["test cells"] = table.sum(axis=1)

names = fine.index + "  " + fine["reference"].where(fine["reference_share"] >= 0.5, "(mixed)")
figure, axis = plt.subplots(figsize=(7, 4))
rows = np.arange(len(fine))
axis.barh(rows - 0.2, fine["jaccard"], height=0.4, color="0.7", label="found again by other fits (Jaccard)")
axis.barh(rows + 0.2, fine["by both"], height=0.4, color="C0", label="test cells with the same type by ephys")
axis.set_yticks(rows, names)
axis.invert_yaxis()
axis.set(xlim=(0, 1), xlabel="fraction (0 none, 1 perfect)", ylabel="consensus type and its transcriptomic type")
axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
axis.spines[["top", "right"]].set_visible(False)
figure.tight_layout()

# %%
print(
    f"Of {len(fine)} types, {(fine['jaccard'] > 0.75).sum()} are found by most fits (Jaccard above 0.75), and "
    f"{(fine['by both'] > 0.5).sum()} are those of most of their test cells by electrophysiology, too; "
    f"{((fine['jaccard'] > 0.75) & (fine['by both'] > 0.5)).sum()} are both. "
    f"Unreliable, by a factor of 2: {', '.join(tl.contingency_scores(table, 2).unreliable) or 'none'}."
)

# %% [markdown]
# A type is named after the transcriptomic type of at least half of its training cells, if there is one. With a few
# tens of test cells each, blue bars are rough. But what all fits find by genes need not be what electrophysiology
# tells: to be reproducible is one thing, to be consistent another.
#
# For single cells, stability does tell something. Each cell has one by each modality, without looking at the other.
# Test cells in three parts of equal size, from the least to the most stable, and the fraction of each with the same
# type by both:

# %%
pair = mdata.obs.loc[both, ["consensus_type_rna", "consensus_type_ephys"]].astype(str)
agree = pair.iloc[:, 0] == pair.iloc[:, 1]
thirds = {
    f"stability by {m}": agree.groupby(
        pd.qcut(
            mdata.obs.loc[both, f"consensus_type_{m}_stability"].rank(method="first"),
            3,
            labels=["lowest", "middle", "highest"],
        ).rename("third"),
        observed=True,
    ).mean()
    for m in ("rna", "ephys")
}
pd.DataFrame(thirds).round(2)

# %% [markdown]
# By either modality, the least stable cells are the least consistent. So a cell of which only
# electrophysiology is known comes with a warning where its type is not to be trusted.
#
# ## Cells whose modalities disagree
#
# Latents far apart may mean a swapped sample, a doublet or a bad recording. But how far is far? `tl.outliers` asks
# the validation cells, to which the model was not fitted: a p-value is the share of them that are at least as far
# apart.

# %%
tl.outliers(mdata)
p = mdata.obs.loc[both, "outlier_p_value"]
print(
    f"{(p <= 0.05).sum()} of {len(p)} test cells have a p-value of at most 0.05; {0.05 * len(p):.0f} would if all were "
    f"typical. With a false discovery rate of 0.1: {(false_discovery_control(p) <= 0.1).sum()}."
)
columns = ["family", "type", "consistent_type_rna", "consistent_type_ephys", "outlier_score", "outlier_p_value"]
mdata.obs.loc[p.nsmallest(5).index, columns].reset_index(drop=True).style.format(precision=3)

# %% [markdown]
# Flagged cells that are no more than typical cells would give are no evidence of anything. Would real swaps be found?
# Give every test cell the electrophysiology of another one, and see:

# %%
swapped = mdata.copy()
rows = np.random.default_rng(0).permutation(mdata.obs_names.get_indexer(both))
given = np.roll(rows, 1)
swapped.obsm["X_cae_ephys"][rows] = mdata.obsm["X_cae_ephys"][given]
tl.outliers(swapped)

of_cell = mdata.obs["family"].astype(str).to_numpy()
kind = np.where(of_cell[rows] == of_cell[given], "of the same family", "of another family")
flagged = swapped.obs["outlier"].iloc[rows].astype(bool).groupby(kind)
pd.DataFrame({"swapped with a cell": flagged.size(), "flagged": flagged.mean()}).round(2)

# %% [markdown]
# Swaps across families are flagged far more often than swaps within one, which mostly pass: where modalities agree on
# little more than the family, little more can be checked. Nor are all swaps across families found.
#
# ## What holds
#
# - Families, and the few types that BIC finds, are consistent: most cells have the same one by genes and by
#   electrophysiology.
# - Finer types are less so, the finer the less, by whichever method.
# - Which types are found depends on the fit. Report how stable they are, of several fits, on cells held out.
#
# More: [cross-modal prediction](cross_modal_prediction.ipynb), [why latents collapse](why_latents_collapse.ipynb),
# and [the published model](../docs/gala2021.md).

# %%
import session_info2

session_info2.session_info(os=False, dependencies=False)
