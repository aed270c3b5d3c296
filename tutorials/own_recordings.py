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
# # Your own recordings: from a table of features to cell types and genes
#
# You have patched neurons, and a table of electrophysiological features: from
# [ipfx](https://ipfx.readthedocs.io), from [eFEL](https://efel.readthedocs.io), or your own. You have no
# transcriptomes. A model that was trained on somebody else's Patch-seq can place your cells among its own, say what
# types they are and what they express; if it can read your table. Names differ, units differ, features are missing,
# and your rig is not theirs. That is what this tutorial is about.
#
# To know whether the answers are right, we take cells of mouse motor cortex
# ([Scala et al., 2021](https://doi.org/10.1038/s41586-020-2907-3)), hold a fifth of them out, hide their
# transcriptomes, and write their electrophysiology down as other laboratories would. This is kinder than life: these
# cells were recorded with the protocol and the definitions that the model knows.

# %% tags=["remove-cell"]
import _tutorial  # keeps libraries quiet; leave it out in a notebook of your own

# %%
import warnings

import anndata
import matplotlib.pyplot as plt
import mudata
import numpy as np
import pandas as pd
import scanpy as sc
import scvi

import scvi_cae


mdata = scvi_cae.datasets.scala2020()
family = mdata.obs["rna_family"]
inhibitory = ["Lamp5", "Pvalb", "Sncg", "Sst", "Vip"]

both = mdata["rna"].obs_names.intersection(mdata["ephys"].obs_names)
both = both[family[both].notna() & (family[both] != "low quality")]
paired = mudata.MuData({name: mdata[name][both].copy() for name in ("rna", "ephys")})
paired.obs["family"] = family[both].cat.remove_unused_categories()

split = scvi_cae.splits.k_fold(paired, 5, stratify_by="family")[0]
reference, truth = paired[split.train].copy(), paired[split.test].copy()
reference.n_obs, truth.n_obs

# %% [markdown]
# The reference model knows three things of a cell: genes, electrophysiology, and its family. It never sees the cells
# in `truth`.

# %%
scvi_cae.CoupledAE.setup_mudata(reference, labels_key="family")
scvi.settings.seed = 0
model = scvi_cae.CoupledAE(reference)
model.train(enable_progress_bar=False)

# %% [markdown]
# ## A table from ipfx
#
# The first laboratory has features as ipfx collects them, a cell a row, in seconds, millivolts, megaohms and
# picoamperes. This cell writes that table; you would call `pd.read_csv`.

# %%
cells = truth["ephys"].to_df()
ipfx = pd.DataFrame(
    {
        "v_baseline": cells["Resting membrane potential (mV)"],
        "input_resistance": cells["Input resistance (MOhm)"],
        "tau": cells["Membrane time constant (ms)"] / 1000,
        "rheobase_i": cells["Rheobase (pA)"],
        "stimulus_amplitude_0_long_square": cells["Rheobase (pA)"],
        "latency_0_long_square": cells["Latency (ms)"] / 1000,
        "ap_1_threshold_v_0_long_square": cells["AP threshold (mV)"],
        "ap_1_peak_v_0_long_square": cells["AP threshold (mV)"] + cells["AP amplitude (mV)"],
        "ap_1_fast_trough_v_0_long_square": cells["AP threshold (mV)"] + cells["Afterhyperpolarization (mV)"],
        "ap_1_width_0_long_square": cells["AP width (ms)"] / 1000,
        "ap_1_upstroke_downstroke_ratio_0_long_square": cells["Upstroke-to-downstroke ratio"],
    }
)
ipfx.head(3).T

# %% [markdown]
# A table of numbers becomes an AnnData, and that a MuData whose modality has the name that the model gave it
# (`scvi_cae.io.read_ipfx` does so for files). For names and units of ipfx, a table comes with the package. Where the
# model wants amplitudes from threshold, and ipfx gives the voltage of peak and trough, it has a formula:

# %%
own = mudata.MuData({"ephys": anndata.AnnData(ipfx)})
names = scvi_cae.pp.ephys_names("ipfx", "scala2020")
names

# %%
query = scvi_cae.CoupledAE.prepare_query_mudata(own, model, rename={"ephys": names})
report = query.uns["scvi_cae_query"]["ephys"]
print(f"{report['n_matched']} of the model's {query['ephys'].n_vars} features found.")
print("Of ours left out:", ", ".join(report["dropped"]))

# %% [markdown]
# Two of the features that were left out have another definition on both sides, which the table names. They are used if
# asked for; values are then comparable, but differ systematically. (What looks alike may not be: read the definitions
# in `scvi_cae.pp.ephys_concepts()`, and the methods of both sides.)

# %%
few = query
names = scvi_cae.pp.ephys_names("ipfx", "scala2020", different=True)
query = scvi_cae.CoupledAE.prepare_query_mudata(own, model, rename={"ephys": names})
report = query.uns["scvi_cae_query"]["ephys"]
print(f"{report['n_matched']} of the model's {query['ephys'].n_vars} features found.")
print("Missing:", ", ".join(report["missing"]))
names.loc[names["difference"] != "", ["scala2020", "difference"]]

# %% [markdown]
# Missing features stay missing values. The model expects them from those that a cell has, as they go together in the
# training cells.
#
# ## Are these cells like those that the model knows?
#
# A p-value for each cell: the fraction of reference cells (here, the validation cells) that are at least as far from
# what the model learnt. For cells of the same kind, few are small.

# %%
novelty = model.novelty(query, modality="ephys")
print(f"{(novelty['p_value'] < 0.05).mean():.0%} of the cells have a p-value below 0.05.")
novelty.describe().round(2)

# %% [markdown]
# ## What they are
#
# Families are predicted like any modality: each cell gets probabilities. Beside them the truth, and what the same
# model says if it is given all features, or only the eight whose definition is the same.

# %%
complete = scvi_cae.CoupledAE.prepare_query_mudata(mudata.MuData({"ephys": truth["ephys"].copy()}), model)
genes_of_training, genes = reference["rna"].to_df(), truth["rna"].to_df()


def check(model, query, cells=truth.obs_names):
    """Fraction of the families that are right, and R² of the genes, for some cells of a query."""
    rows = query.obs_names.get_indexer(cells)
    families = model.predict("ephys", "family", adata=query, indices=rows)
    predicted = model.predict("ephys", "rna", adata=query, indices=rows)
    varying = genes_of_training.std() > 0
    r2 = scvi_cae.evaluate.pooled_r2(
        genes.loc[cells, varying].to_numpy(),
        predicted.loc[:, varying].to_numpy(),
        genes_of_training.mean()[varying],
        genes_of_training.std()[varying],
    )
    right = families.idxmax(axis=1) == truth.obs["family"].astype(str)[cells]
    return {"family right": right.mean(), "R² of genes": r2}


features = {
    "of the same definition": few,
    "and two of a similar one": query,
    "all that the model knows": complete,
}
scores = pd.DataFrame({name: check(model, q) for name, q in features.items()}).T
scores.insert(0, "features", [q.uns["scvi_cae_query"]["ephys"]["n_matched"] for q in features.values()])
scores.loc["the commonest family, the mean cell"] = [
    0,
    truth.obs["family"].value_counts(normalize=True).max(),
    0.0,
]
scores.astype({"features": int}).round(3)

# %% [markdown]
# With a handful of features the model is far from guessing, and more of them tell more: the two of a similar definition
# were worth asking for. The R² of genes is over all genes and cells, each gene on its own scale; it is low even with
# all features, because most of a transcriptome is noise or has nothing to do with electrophysiology.
#
# Where are the errors? On the left, families told from ten features; on the right the query's latents, on a map of the
# reference's own electrophysiology (grey).

# %%
told = model.predict("ephys", "family", adata=query).idxmax(axis=1)
counts = pd.crosstab(truth.obs["family"].astype(str), told.reindex(truth.obs_names))
order = truth.obs["family"].value_counts().index
counts = counts.reindex(index=order, columns=order, fill_value=0)

latents = np.concatenate([model.get_latent_representation(q, modality="ephys") for q in (reference, query)])
embedding = anndata.AnnData(latents)
embedding.obs["family"] = pd.Categorical(
    [None] * reference.n_obs + truth.obs["family"].astype(str)[query.obs_names].tolist(), order
)
sc.pp.neighbors(embedding, use_rep="X")
sc.tl.umap(embedding)

figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), width_ratios=(1, 1.15))
axes[0].imshow(counts.div(counts.sum(axis=1), axis=0), cmap="Blues", vmin=0, vmax=1)
for row, column in np.ndindex(counts.shape):
    if counts.iloc[row, column]:
        color = "white" if counts.iloc[row, column] > counts.iloc[row].sum() / 2 else "black"
        axes[0].text(column, row, counts.iloc[row, column], ha="center", va="center", fontsize=8, color=color)
axes[0].set_xticks(range(len(order)), order, rotation=90)
axes[0].set_yticks(range(len(order)), order)
axes[0].set(xlabel="told from electrophysiology", ylabel="transcriptomic family", title="query cells")
sc.pl.umap(embedding, color="family", na_color="#dddddd", na_in_legend=False, size=50, ax=axes[1], show=False)
axes[1].set_title("the query among the reference's cells")
figure.tight_layout()

spread = {"reference": reference, "query": query, "query, all features": complete}
for name, q in spread.items():
    variance = model.get_latent_representation(q, modality="ephys").var(axis=0).sum()
    print(f"Total variance of the latents, {name}: {variance:.1f}")

# %% [markdown]
# Families lie where they should, but nearer to the middle than the reference's cells, and the rare ones are lost: what
# is expected varies less than what is measured. With all features, latents are spread as they are in the reference.
#
# ## What they express
#
# Predictions of genes are log counts per million, cells by genes. Over the query cells, which the model never saw, the
# ten that it predicts best:

# %%
predicted = model.predict("ephys", "rna", adata=query).loc[truth.obs_names]
correlation = predicted.corrwith(genes).sort_values(ascending=False)
print(f"Median over {correlation.notna().sum()} genes: {correlation.median():.2f}")
correlation.head(10).round(2).rename("correlation").to_frame().T

# %% [markdown]
# ## A table from eFEL, in other units
#
# The second laboratory uses eFEL, and keeps one number for each cell and feature, in volts, seconds, ohms and amperes,
# as NWB files do (eFEL itself works in mV, ms and MΩ; the rheobase is the laboratory's own). Its rig differs, too: it
# subtracts a liquid junction potential of 12 mV, and the bath is so warm that action potentials last 0.6 times as long.
# And it records inhibitory neurons only.

# %%
cells = cells[truth.obs["family"][cells.index].isin(inhibitory).to_numpy()]
junction = -12
efel = pd.DataFrame(
    {
        "voltage_base": (cells["Resting membrane potential (mV)"] + junction) / 1e3,
        "AP1_begin_voltage": (cells["AP threshold (mV)"] + junction) / 1e3,
        "AP1_amp": cells["AP amplitude (mV)"] / 1e3,
        "fast_AHP": -cells["Afterhyperpolarization (mV)"] / 1e3,
        "AP_duration_half_width": cells["AP width (ms)"] * 0.6 / 1e3,
        "time_constant": cells["Membrane time constant (ms)"] / 1e3,
        "ohmic_input_resistance_vb_ssse": cells["Input resistance (MOhm)"] * 1e6,
        "time_to_first_spike": cells["Latency (ms)"] / 1e3,
        "ISI_CV": cells["ISI coefficient of variation"],
        "Spikecount_stimint": cells["Max number of APs"],
        "rheobase": cells["Rheobase (pA)"] / 1e12,
    }
)
efel = mudata.MuData({"ephys": anndata.AnnData(efel)})
names = {
    "voltage_base": "Resting membrane potential (mV)",
    "AP1_begin_voltage": "AP threshold (mV)",
    "AP1_amp": "AP amplitude (mV)",
    "fast_AHP": "Afterhyperpolarization (mV)",
    "AP_duration_half_width": "AP width (ms)",
    "time_constant": "Membrane time constant (ms)",
    "ohmic_input_resistance_vb_ssse": "Input resistance (MOhm)",
    "time_to_first_spike": "Latency (ms)",
    "ISI_CV": "ISI coefficient of variation",
    "Spikecount_stimint": "Max number of APs",
    "rheobase": "Rheobase (pA)",
}
efel

# %% [markdown]
# No table comes with the package for these names, so we wrote one, by the definitions of both sides. They are close,
# not equal: eFEL's `ISI_CV` leaves out the first interval unless told otherwise, its `time_to_first_spike` ends at the
# peak. And we forgot the units. But values are compared with those of the training cells. (Warnings are caught here
# to be printed; you would simply see them.)


# %%
def prepare(names):
    """Prepare the query, and print what there is to warn of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        query = scvi_cae.CoupledAE.prepare_query_mudata(efel, model, rename={"ephys": names})
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            print(warning.message)
    print(
        "Unlike the training cells:",
        ", ".join(query.uns["scvi_cae_query"]["ephys"]["unlike_training"]) or "none",
    )
    return query


query = prepare(names)

# %% [markdown]
# The factors are where they belong, in a table: names here, names there, and what to multiply by.

# %%
factors = {"ohmic_input_resistance_vb_ssse": 1e-6, "rheobase": 1e12, "ISI_CV": 1, "Spikecount_stimint": 1}
table = pd.DataFrame({"own": names.keys(), "model": names.values()})
table["factor"] = table["own"].map(factors).fillna(1e3)
query = prepare(table)

# %% [markdown]
# In eFEL, `fast_AHP` is the threshold minus the trough, so that a deep one is large and positive. The model has it the
# other way round:

# %%
table.loc[table["own"] == "fast_AHP", "factor"] = -1e3
query = prepare(table)

# %% [markdown]
# Units and signs are right now, and another warning is left: all features together are not distributed as those of the
# training cells, whatever families the cells are of. Those are the 12 mV and the warm bath.
#
# ## Another rig
#
# The warning names features that are off. Their means, in standard deviations of the training cells:

# %%
mean, std = (pd.Series(x, query["ephys"].var_names) for x in model.feature_moments("ephys"))
undisturbed = (cells.mean() - mean) / std  # the same cells on the model's own rig, which nobody has
shifts = pd.DataFrame(
    {"this table": (query["ephys"].to_df().mean() - mean) / std, "its cells alone": undisturbed}
)
shifts.loc[table["model"]].round(2)

# %% [markdown]
# The rig shows in the membrane potential, the threshold and the width. But inhibitory neurons differ from the
# reference's cells, too, and the first column alone does not say which is which. So there are five things to do:
#
# - take the table as it is;
# - shift and stretch each feature until its mean and spread are the training cells', as is often done between
#   batches (`"moments"`);
# - do so within families that nobody knows, in whatever proportions (`align_query`, whose default this is);
# - from there, let the model go on learning from the cells (`load_query_data`), with everything frozen but the layers
#   that touch the electrophysiology;
# - the same with a little Patch-seq from this rig: the transcriptomes of 40 of the cells.
#
# Half of the laboratory's cells are for learning, the other half for looking; which half, we draw three times. Beside
# them stands what nobody has: the same cells and features, recorded on the model's own rig.


# %%
def prepare_with(transcriptomes):
    """The query, in which some cells have transcriptomes, aligned."""
    both = mudata.MuData({"ephys": efel["ephys"].copy(), "rna": truth["rna"][transcriptomes].copy()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the one above
        both = scvi_cae.CoupledAE.prepare_query_mudata(both, model, rename={"ephys": table})
    return model.align_query(both)


def adapt(aligned, learn):
    """A model that goes on learning from some of the laboratory's cells."""
    scvi.settings.seed = 0
    adapted = scvi_cae.CoupledAE.load_query_data(aligned[learn].copy(), model, arms=["ephys"])
    adapted.train(enable_progress_bar=False)
    return adapted


moments, aligned = model.align_query(query, "moments"), model.align_query(query)
same_rig = mudata.MuData({"ephys": truth["ephys"][query.obs_names, table["model"].to_list()].copy()})
same_rig = scvi_cae.CoupledAE.prepare_query_mudata(same_rig, model)
draws = []
for draw in range(3):
    cells = np.random.default_rng(draw).permutation(query.obs_names)
    learn, look = cells[: len(cells) // 2], cells[len(cells) // 2 :]
    with_pairs = prepare_with(learn[:40])
    scores = {
        "as it is": check(model, query, look),
        "moments": check(model, moments, look),
        "aligned": check(model, aligned, look),
        "aligned and adapted": check(adapt(aligned, learn), aligned, look),
        "aligned and adapted, 40 transcriptomes": check(adapt(with_pairs, learn), with_pairs, look),
        "the same cells, recorded on the model's rig": check(model, same_rig, look),
    }
    draws.append(pd.DataFrame(scores).T)
pd.concat(draws, keys=range(3)).groupby(level=1, sort=False).agg(["mean", "min", "max"]).round(3)

# %% [markdown]
# As it is, the table does not do badly: the model reads many features at once, and only three are off. Matching means
# and spreads takes the difference between cells for one between rigs, and makes things worse; it is for laboratories
# that sample cells alike. Alignment asks for equal distributions within families only, and brings families and genes
# close to what the model would say of the same cells on its own rig.
#
# Going on learning adds next to nothing to it, with forty transcriptomes or without: a shift and a factor of each
# feature are all that differs here, and they are undone already. It is for features that differ otherwise, and for
# hundreds of pairs ([what it achieves](../docs/queries.md#going-on-learning)).
#
# Draws differ by more than these ways do. So on your own data, do as is done here: keep some cells aside whose
# answer you know, be it only a Cre line, and look.
#
# More on queries: [docs/queries.md](../docs/queries.md).

# %%
import session_info2

session_info2.session_info(os=False, dependencies=False)
