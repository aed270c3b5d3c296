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
# # Quick start
#
# What does it take to get from measurements of cells to a space that all of them share, to predictions, and to a model
# that can be passed on? Load, set up, train, look, predict, save. The data are neurons of mouse motor cortex
# ([Scala et al., 2021](https://doi.org/10.1038/s41586-020-2907-3)) whose transcriptome, electrophysiology and sometimes
# morphology were measured in the same cell (Patch-seq).

# %% tags=["remove-cell"]
import _tutorial  # keeps libraries quiet; leave it out in a notebook of your own

# %%
import tempfile
from pathlib import Path

import anndata
import matplotlib.pyplot as plt
import mudata
import numpy as np
import pandas as pd
import scanpy as sc
import scvi

import scvi_cae

# %% [markdown]
# ## Load

# %%
mdata = scvi_cae.datasets.scala2020()
family = mdata.obs["rna_family"]
mdata.obs["family"] = family.where(family != "low quality").cat.remove_unused_categories()
mdata

# %% [markdown]
# A [MuData](https://mudata.readthedocs.io) holds one AnnData for each modality. Cells are matched by name, and need
# not have all of them:

# %%
has = pd.DataFrame({name: mdata.obs_names.isin(adata.obs_names) for name, adata in mdata.mod.items()})
has.value_counts().rename("cells").reset_index()

# %% [markdown]
# Families are transcriptomic; cells that failed quality control have none. They are for looking at: the model is not
# told. The values are as they were published: electrophysiology in mV, ms and so on, NaN where a feature could not be
# measured; transcriptomes as the logarithm of counts per million. This notebook was executed with 1,286 marker genes
# of 1,208 cells, of more than 40,000 published genes. With all of them everything works alike, and takes longer.

# %% [markdown]
# ## Set up and train
#
# `setup_mudata` says what is to be coupled: here each modality's `.X`. It checks the values and notes where they
# are. It neither copies nor scales anything: standardisation is fitted when the model is trained, to the training
# cells only, and belongs to the model.
#
# What looks suspicious it warns of, such as five values here that are far from all others of their feature; by default,
# models do not learn from these. (Tutorials leave that warning out: it is the same in each.)

# %%
scvi.settings.seed = 0
scvi_cae.CoupledAE.setup_mudata(mdata)
model = scvi_cae.CoupledAE(mdata)
model.train(train_size=0.8, validation_size=0.1, enable_progress_bar=False)

# %% [markdown]
# Eight tenths of the cells train, one tenth chooses the epoch whose weights are kept, and the last tenth is for
# tests. Without these two arguments, nine tenths train and nothing is left for tests.
#
# The loss to look at is that of the validation cells: how well modalities are reconstructed from themselves and from
# each other. Training goes on for a fixed number of steps; what the validation cells like best is kept.

# %%
curves = {name: model.history[f"reconstruction_loss_{name}"].iloc[:, 0] for name in ("train", "validation")}
best = int(np.argmin(curves["validation"])) + 1
figure, axis = plt.subplots(figsize=(5, 3))
for name, loss in curves.items():
    axis.plot(np.arange(1, len(loss) + 1), loss, label=name)
axis.axvline(best, color="0.5", linestyle=":", label=f"kept: epoch {best}")
axis.set(xlabel="epoch", ylabel="reconstruction loss")
axis.legend(frameon=False)
axis.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# ## Where the results are
#
# `write_latent` puts the latents where scanpy looks for them. Each modality of a cell has a place in the common space,
# `X_cae_rna` and so on, and `X_cae` is their mean over the modalities that the cell has: a cell that lacks one still
# has a place. `X_cae_set` says what each cell was to the training.

# %%
model.write_latent(mdata)
places = {f'mdata.obsm["{key}"]': mdata.obsm[key] for key in mdata.obsm if key.startswith("X_cae")}
places |= {f'mdata["{name}"].obsm["X_cae"]': adata.obsm["X_cae"] for name, adata in mdata.mod.items()}
has_place = {key: np.isfinite(z).all(axis=1).sum() for key, z in places.items()}
pd.DataFrame({"shape": {key: z.shape for key, z in places.items()}, "cells with a place": has_place})

# %%
mdata.obs["X_cae_set"].value_counts().to_frame()

# %% [markdown]
# ## One space for all modalities
#
# To see whether modalities agree, put all of their latents in one table, with a row for each cell and modality, and
# make a UMAP of it. Only test cells are coloured; all others are grey. Whether modalities agree on cells that the
# model knows would tell little.

# %%
points = anndata.concat(
    {
        name: anndata.AnnData(
            obs=mdata.obs.loc[adata.obs_names, ["family", "X_cae_set"]], obsm={"X_cae": adata.obsm["X_cae"]}
        )
        for name, adata in mdata.mod.items()
    },
    label="modality",
    index_unique=" ",
)
sc.pp.neighbors(points, use_rep="X_cae")
sc.tl.umap(points)

held_out = points[points.obs["X_cae_set"] == "test"].copy()
figure, axes = plt.subplots(1, 2, figsize=(12, 4.2))
for axis, column in zip(axes, ("family", "modality"), strict=True):
    sc.pl.umap(points, size=15, ax=axis, show=False)
    sc.pl.umap(
        held_out,
        color=column,
        palette=sc.pl.palettes.default_20,
        size=70,
        na_in_legend=False,
        title=f"{column}, test cells",
        ax=axis,
        show=False,
    )
figure.tight_layout()

# %% [markdown]
# Colours on the left largely keep apart, those on the right mix: the space is arranged by what a cell is rather than
# by how it was measured. In numbers, FOSCTTM is the fraction of cells that are closer to a cell's latent in one
# modality than the cell itself is in the other (0 is perfect, 0.5 chance), and R² says how well one modality is
# predicted from another, beside ridge regression from all features (1 is perfect, 0 the mean of the training cells).
# All of these are of test cells:

# %%
scores = scvi_cae.evaluate.score(model)
scores.pivot_table(index=["metric", "source", "target", "n_cells"], columns="method", values="value").round(3)

# %% [markdown]
# Electrophysiology follows from genes better than genes do from electrophysiology, and the transcriptome says more of
# morphology than electrophysiology does. With 60 to 120 test cells, differences of a few hundredths between the two
# methods mean nothing; [the next tutorial](cross_modal_prediction.ipynb) compares them fold by fold. Where one network
# predicts worse than a regression, an `Ensemble` has both, and weighs them ([few pairs](few_pairs.ipynb)).
#
# ## Clusters
#
# Neighbours, UMAP and clusters of the joint latent need no more than `use_rep`:

# %%
sc.pp.neighbors(mdata, use_rep="X_cae")
sc.tl.umap(mdata)
sc.tl.leiden(mdata, flavor="igraph", n_iterations=2)

cells = anndata.AnnData(obs=mdata.obs[["leiden", "family"]], obsm={"X_umap": mdata.obsm["X_umap"]})
sc.pl.umap(
    cells,
    color=["leiden", "family"],
    palette=sc.pl.palettes.default_20,
    size=25,
    na_color="0.9",
    na_in_legend=False,
    wspace=0.3,
)

# %% [markdown]
# Clusters know nothing of the published families. Here is how often the test cells of a family are in each cluster:

# %%
in_cluster = pd.crosstab(mdata.obs["family"], [mdata.obs["X_cae_set"], mdata.obs["leiden"]])
in_cluster["test"]

# %% [markdown]
# And so many names are right if each cluster is named after the commonest family of its training cells:

# %%
name = in_cluster["training"].idxmax()
table = in_cluster["test"]
right = sum(table.loc[name[cluster], cluster] for cluster in table) / table.to_numpy().sum()
print(
    f"{in_cluster['training'].shape[1]} clusters, {len(table)} families: {right:.0%} of the test cells are named right."
)

# %% [markdown]
# `sc.tl.leiden(resolution=...)` makes more or fewer clusters.
#
# ## Predict
#
# `predict` gives a data frame in natural units, here electrophysiology from the transcriptome. A few test cells that
# have both:

# %%
test = mdata.obs_names[model.test_indices]
test = test[test.isin(mdata["rna"].obs_names) & test.isin(mdata["ephys"].obs_names)]
predicted = model.predict(source="rna", target="ephys").loc[test]
measured = mdata["ephys"].to_df().loc[test]

features = ["AP width (ms)", "Input resistance (MOhm)", "Max number of APs", "AP threshold (mV)"]
beside = pd.concat({"measured": measured[features], "predicted": predicted[features]}, axis=1)
beside.swaplevel(axis=1)[features].head().style.format(precision=2)

# %%
mean, _ = model.feature_moments("ephys")  # of the training cells
r2 = pd.Series(scvi_cae.evaluate.feature_r2(measured, predicted, mean), index=measured.columns)
colours = dict(zip(mdata.obs["family"].cat.categories, cells.uns["family_colors"], strict=True))
colour = mdata.obs.loc[test, "family"].astype(object).map(colours).fillna("0.8")

figure, axes = plt.subplots(1, 4, figsize=(14, 3.6))
for axis, feature in zip(axes, features, strict=True):
    axis.scatter(predicted[feature], measured[feature], s=12, c=colour)
    axis.axline((measured[feature].median(), measured[feature].median()), slope=1, color="0.6", linewidth=1)
    axis.set(title=f"{feature}\nR² {r2[feature]:.2f}", xlabel="predicted", ylabel="measured")
    axis.spines[["top", "right"]].set_visible(False)
for family, of_family in colours.items():
    axes[-1].plot([], [], ".", color=of_family, label=family)
axes[-1].plot([], [], ".", color="0.8", label="not known")
axes[-1].plot([], [], color="0.6", label="equal")
axes[-1].legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
figure.tight_layout()

# %% [markdown]
# Colours are those of the families above. The width and number of action potentials are predicted well, their
# threshold is not. Predictions vary less than what was measured, since what genes do not tell is left at its mean:

# %%
spread = pd.DataFrame({"measured": measured[features].std(), "predicted": predicted[features].std()})
spread.style.format(precision=2).set_caption("standard deviation")

# %% [markdown]
# How far each prediction can be trusted is
# [the subject of the next tutorial](cross_modal_prediction.ipynb), too.
#
# ## Save, load, and use on new cells
#
# A saved model needs no data: its file has the values of some training and validation cells, from which intervals are
# calibrated. New cells need only one of the modalities; here they are the test cells, with their electrophysiology
# alone:

# %%
with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder) / "model")
    loaded = scvi_cae.CoupledAE.load(Path(folder) / "model", adata=False)

recorded = mudata.MuData({"ephys": mdata["ephys"][test].copy()})
loaded.write_latent(recorded)
genes = loaded.predict("ephys", "rna", adata=recorded)
print("predicted as before:", np.allclose(genes, model.predict("ephys", "rna").loc[test], atol=1e-4))
genes.iloc[:5, :6].style.format(precision=2)

# %% [markdown]
# The loaded model predicts what the model did. Of these cells we know where their electrophysiology places them, and
# which training cells have their transcriptomes there; so they can be given the family of their nearest neighbour,
# although no electrophysiology was used to define families:

# %%
sets = mdata.obs["X_cae_set"]
training = sets[mdata["rna"].obs_names] == "training"
given = scvi_cae.evaluate.transfer_labels(
    mdata["rna"].obsm["X_cae"][training],
    mdata.obs.loc[mdata["rna"].obs_names[training], "family"],
    recorded.obsm["X_cae"],
)
true = mdata.obs.loc[test, "family"]
right = scvi_cae.evaluate.label_accuracy(true, given)
commonest = scvi_cae.evaluate.label_accuracy(
    true, np.full(len(true), mdata.obs.loc[sets == "training", "family"].mode()[0])
)
print(f"{right:.0%} are given their family; always the commonest family would be right for {commonest:.0%}.")

# %% [markdown]
# On the command line the same is `scvi-cae fit`, `embed` and `predict`. From here:
#
# - [Cross-modal prediction and its uncertainty](cross_modal_prediction.ipynb)
# - [Few pairs and a reference](few_pairs.ipynb)
# - [Three modalities, gaps, and labels as a modality](three_modalities.ipynb)
# - [Your own recordings](own_recordings.ipynb), or [another laboratory's](other_laboratory.ipynb)
# - [Why latents collapse](why_latents_collapse.ipynb)

# %%
import session_info2

session_info2.session_info(os=False, dependencies=False)
