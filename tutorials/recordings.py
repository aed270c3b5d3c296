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
# # From recordings to cell types
#
# You have patched neurons: files of current steps, no table of features, no transcriptomes. Which types are they of? This
# tutorial goes from the files to features, looks at what was measured, and asks a reference of mouse motor cortex
# ([Scala et al., 2021](https://doi.org/10.1038/s41586-020-2907-3)). With six cells of unknown origin that is asking
# much, and the last part says what the answers are worth.
#
# The recordings are six ABF files that come with [pyABF](https://github.com/swharden/pyABF) (MIT licence): different
# rigs, protocols and holding currents. Of one cell it is known what it is, a fast-spiking interneuron, since its file
# is named so. Features need `pip install "scvi-cae[ephys]"`.

# %% tags=["remove-cell"]
import _tutorial  # keeps libraries quiet; leave it out in a notebook of your own

# %%
import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import mudata
import numpy as np
import pandas as pd
import pyabf

import scvi_cae


folder = Path(os.environ["SCVI_CAE_DATA"]) / "recordings"
reference = scvi_cae.datasets.reference("scala2020")

sorted(path.name for path in folder.glob("*.abf"))

# %% [markdown]
# ## Features
#
# One call reads the files, finds the current steps in their commands, and measures. Each file is a cell here; for
# several files of one cell there is `cell=`, for files without a command `command=`.

# %%
ephys = scvi_cae.io.read_recordings(folder)
table = ephys.to_df().T
table.insert(0, "unit", ephys.var["unit"])
table.round(2)

# %% [markdown]
# Features have the names, units and definitions of `scvi_cae.pp.ephys_concepts()`. Some are missing. Two cells fire
# without current, so that what a current elicits cannot be said: no rheobase, no latency. And a latency 20 pA above
# rheobase needs a step of that current.

# %%
ephys.obs

# %% [markdown]
# What was measured where is in a table with a row for each step, and one for each sweep without. Here is what was
# skipped, and why:

# %%
steps = ephys.uns["recordings"]
skipped = steps[steps["skipped"] != ""]
skipped.groupby(["file", "electrode", "skipped"])["sweep"].agg(list).to_frame()

# %% [markdown]
# ## Look at the sweeps
#
# Numbers should be believed when the traces beneath them were seen. For each cell the strongest hyperpolarising step,
# that at rheobase (or the weakest that the cell fires in), and the strongest; the time of the step is grey. Points are
# action potentials as they were found.


# %%
def trace(step):
    """Time in ms and potential in mV of the sweep of a step."""
    abf = pyabf.ABF(str(folder / step["file"]))
    abf.setSweep(int(step["sweep"]))
    return 1000 * abf.sweepX, abf.sweepY


used = steps[steps["skipped"] == ""]
peaks = ephys.uns["action_potentials"]
figure, axes = plt.subplots(2, 3, figsize=(12, 7.5))
for axis, cell in zip(axes.flat, ephys.obs_names):
    of_cell = used[used["cell"] == cell].sort_values("current_pA", kind="stable")
    firing = of_cell[(of_cell["n_spikes"] > 0) & (of_cell["current_pA"] > 0)]
    shown = [of_cell.iloc[0], firing.iloc[0], firing.iloc[-1]]
    for step, color in zip(shown[::-1], ("tab:orange", "tab:green", "tab:blue")):
        time, potential = trace(step)
        axis.plot(time, potential, color=color, lw=0.7, label=f"{step['current_pA']:.0f} pA")
        found = peaks[(peaks["file"] == step["file"]) & (peaks["sweep"] == step["sweep"])]
        axis.plot(found["time_ms"], found["peak_mV"], ".", color="black", ms=4)
        axis.axvspan(step["start_ms"], step["end_ms"], color="#eeeeee", zorder=0)
    start, end = min(step["start_ms"] for step in shown), max(step["end_ms"] for step in shown)
    axis.set_xlim(max(0, start - 100), end + 150)
    axis.set(title=cell, xlabel="time (ms)", ylabel="potential (mV)")
    axis.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False)
for axis in axes.flat[ephys.n_obs :]:
    axis.remove()
figure.tight_layout()

# %% [markdown]
# Every action potential of a step has its point, also where they ride on a plateau above -20 mV (190619B_0003, whose
# small ones suggest a high access resistance), and no synaptic potential has one. In 18711001 the hyperpolarising step
# is at another time of the sweep than those that vary, and is found, too.
#
# ## Look at the fits
#
# The time constant is that of an exponential, fitted to each hyperpolarising step until the largest deflection; the
# feature is the median. Dashed are the fits, and the title says what came of it.

# %%
fitted = used[used["tau_ms"].notna()]
figure, axes = plt.subplots(2, 3, figsize=(12, 6))
for axis, cell in zip(axes.flat, ephys.obs_names):
    for _, step in fitted[fitted["cell"] == cell].head(4).iterrows():
        time, potential = trace(step)
        since = time - step["start_ms"]
        inside = (since > -50) & (time < step["end_ms"])
        axis.plot(since[inside], potential[inside], color="#999999", lw=0.7)
        since = np.linspace(0, step["end_ms"] - step["start_ms"], 300)
        above = step["resting_mV"] + step["jump_mV"] - step["asymptote_mV"]
        axis.plot(since, step["asymptote_mV"] + above * np.exp(-since / step["tau_ms"]), "k--", lw=1)
    values = ephys.to_df().loc[cell]
    axis.set_title(
        f"{cell}: {values['membrane_time_constant']:.1f} ms, {values['input_resistance']:.0f} MOhm",
        fontsize=9,
    )
    axis.set(xlabel="time from the start of the step (ms)", ylabel="potential (mV)")
for axis in axes.flat[ephys.n_obs :]:
    axis.remove()
figure.tight_layout()

# %% [markdown]
# Most fits lie on their traces. Those of File_axon_5 are disturbed by synaptic potentials, and its time constant is
# that of the mean of two that differ, 47 and 75 ms. The sag of 171116sh_0018 shows in each of its strongest steps, and
# in one of them a synaptic potential adds to it. The cells that fire by themselves have no rest to deflect from: their
# input resistance is a slope of potentials over currents.
#
# ## Action potentials, and how rates grow

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
for cell in ephys.obs_names:
    values = ephys.to_df().loc[cell]
    of_cell = used[(used["cell"] == cell) & (used["current_pA"] > 0)].sort_values("current_pA")
    step = of_cell[of_cell["n_spikes"] > 0].iloc[0]
    time, potential = trace(step)
    first = peaks[(peaks["file"] == step["file"]) & (peaks["sweep"] == step["sweep"])]
    since = time - first.loc[first["time_ms"] >= step["start_ms"], "time_ms"].iloc[0]
    (line,) = axes[0].plot(since[abs(since) < 6], potential[abs(since) < 6], label=cell)
    half = values["ap_threshold"] + values["ap_amplitude"] / 2
    left = since[(since < 0) & (potential < half)][-1]
    axes[0].hlines(half, left, left + values["ap_width"], color=line.get_color(), lw=2.5)
    rates = of_cell["n_spikes"] / (of_cell["end_ms"] - of_cell["start_ms"]) * 1000
    axes[1].plot(of_cell["current_pA"], rates, "o-", color=line.get_color(), ms=3)
axes[0].set(
    xlabel="time from the peak (ms)", ylabel="potential (mV)", title="first action potential, with its width"
)
axes[1].set(xlabel="current (pA)", ylabel="action potentials per second (Hz)", title="rate")
axes[0].legend(fontsize=7)
figure.tight_layout()

# %% [markdown]
# One cell stands out, and it is the one whose file says so: narrow action potentials, a deep afterhyperpolarisation,
# up to 128 Hz.
#
# ## The reference's features
#
# `ephys_names` translates to the names of the reference, which has 13 features; all of them can be had from the
# recordings, the sag by a formula. (The warning is caught here to be printed; you would simply see it.)

# %%
mdata = mudata.MuData({"ephys": ephys})
names = scvi_cae.pp.ephys_names(ephys.var_names, "scala2020")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    query = scvi_cae.Ensemble.prepare_query_mudata(mdata, reference, rename={"ephys": names})
print(*(warning.message for warning in caught if issubclass(warning.category, UserWarning)), sep="\n")
report = query.uns["scvi_cae_query"]["ephys"]
print(f"{report['n_matched']} of {query['ephys'].n_vars} features.")
names[["data", "scala2020", "factor"]]

# %% [markdown]
# The warning is right. Beside the reference's cells, in its standard deviations:

# %%
known = reference.adata["ephys"].to_df()
((query["ephys"].to_df() - known.mean()) / known.std()).T.round(1)

# %% [markdown]
# Beyond 3 are time constants, an amplitude, a resistance. No factor explains them: units are right, and each of the
# figures above shows them to be there. These cells are unlike most of those that the reference knows. With 50 cells or
# more, `align_query` could take what they have in common for the rig; six cells say nothing about a rig.
#
# ## Which types?

# %%
mapped = reference.map_query(query)
columns = [column for column in mapped if column.startswith("rna_family") or column.startswith("novelty")]
mapped[columns].round(3)

# %% [markdown]
# The fast-spiking interneuron is called Pvalb, as it should be, and with a novelty of no concern. For the others:
#
# - `rna_family_calibrated` is `False` throughout. A set of classes is said to hold the true one with 90 % for cells like
#   the reference's, which these are not. Calibrated sets need labelled cells of the own laboratory, some 50 of them: a
#   Cre line, or a few that were sequenced.
# - Probabilities are those of a classifier among the reference's families, all of mouse motor cortex. A cell of another
#   region or species gets one of them all the same, and can get a high probability: 17o05028_ic_steps is called Sst
#   with more than .9, and its `novelty_p_ephys` says that hardly any cell of the reference is as far from the others.
# - Two of the cells are called as they are without rheobase and latencies, which are missing; that costs accuracy
#   (the tutorial [another laboratory's cells](other_laboratory.ipynb) measures it).
#
# ## What can be concluded
#
# Of the fast-spiking cell: electrophysiology alone recognises it, across laboratories, protocols and holding currents.
# That is one cell, of the easiest type. Of the other five: their features, which the figures support, and that they are
# not typical of the reference. Not their types: nothing here could show that a call is wrong. More in
# [features from recordings](../docs/recordings.md) and [other data](../docs/queries.md).

# %%
import session_info2

session_info2.session_info(os=False, dependencies=False)
