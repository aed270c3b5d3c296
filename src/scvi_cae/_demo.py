"""Steps of the command ``scvi-cae demo``, from data to figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anndata
import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
import scvi
import torch
from anndata import AnnData
from rich.console import Console
from rich.table import Table

from scvi_cae._assembly import join_modalities
from scvi_cae._mudata import write_mudata
from scvi_cae.data import Split, draw_split, has_values, presence_pattern
from scvi_cae.datasets import scala2020, simulate_patchseq
from scvi_cae.evaluate import score
from scvi_cae.model import Ensemble

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from mudata import MuData

#: Fraction of training cells; the others are held out. An ensemble needs no validation cells.
TRAIN_SIZE = 0.9
N_GENES = 2000
KEY = "X_cae"
#: Baseline that knows the type of the cells that it predicts, and others, with which the ensemble is compared.
TYPE_MEAN, REGRESSIONS = "type mean", ("ridge", "tuned kernel ridge")
#: No family, but what the data have in place of one.
UNASSIGNED = "low quality"


class Keys(NamedTuple):
    """Columns of ``.obs``: for the baseline "type mean", and for colours, which need few categories."""

    type: str
    colour: str


def load(name: str, seed: int) -> tuple[MuData, Keys, Split]:
    """A data set with two modalities, and its split. Genes are selected on the training cells."""
    if name == "simulated":
        mdata, keys = simulate_patchseq(n_morph=0), Keys("cell_type", "family")
        return mdata, keys, split_cells(mdata, keys, seed)
    full, keys = scala2020(), Keys("rna_type", "rna_family")
    family = full.obs[keys.colour]
    full.obs[keys.colour] = family.where(family != UNASSIGNED).cat.remove_unused_categories()
    mdata = join_modalities({name: full[name] for name in ("rna", "ephys")}, full.obs)
    split = split_cells(mdata, keys, seed)
    training = mdata["rna"][mdata["rna"].obs_names.isin(mdata.obs_names[split.train])].copy()
    sc.pp.filter_genes(training, min_cells=10)
    if training.n_vars > N_GENES:
        sc.pp.highly_variable_genes(training, n_top_genes=N_GENES)
        training = training[:, training.var["highly_variable"]]
    rna = mdata["rna"][:, training.var_names].copy()
    return join_modalities({"rna": rna, "ephys": mdata["ephys"]}, full.obs), keys, split


def split_cells(mdata: MuData, keys: Keys, seed: int) -> Split:
    """Split of the cells, stratified by type and by combination of modalities."""
    present = {name: has_values(mdata, name) for name in mdata.mod}
    strata = [presence_pattern(present), mdata.obs[keys.type]]
    return draw_split(strata, TRAIN_SIZE, 0.0, np.random.RandomState(seed))


def make_model(mdata: MuData, seed: int) -> Ensemble:
    """An untrained ensemble."""
    # numba, which scanpy uses to normalise, sets the number of threads of the whole process. The matrices of
    # these small networks are too small for several threads.
    torch.set_num_threads(1)
    scvi.settings.seed = seed
    Ensemble.setup_mudata(mdata)
    return Ensemble(mdata)


def score_model(model: Ensemble, keys: Keys, data: str, seed: int) -> pd.DataFrame:
    """Scores of the ensemble and of baselines on the held-out cells, to three decimals, and what they are of."""
    scores = score(model, labels_key=keys.type, baselines=[*REGRESSIONS, TYPE_MEAN])
    scores["value"] = scores["value"].round(3)
    return scores.assign(knows_type=scores["method"] == TYPE_MEAN, data=data, seed=seed)


def write_results(folder: Path, model: Ensemble, scores: pd.DataFrame, keys: Keys, seed: int) -> None:
    """Write all files of the demonstration."""
    mdata = model.adata
    assert mdata is not None
    model.write_latent(key=KEY)
    points = joint_umap(mdata, keys.colour, seed)
    for name in mdata.mod:
        # One point per cell and modality: a paired cell has two points.
        mdata[name].obsm["X_umap"] = points[points.obs["modality"] == name].obsm["X_umap"]
    plot_umap(points, keys.colour, folder / "umap.png")
    plot_training(model, folder / "training.png")
    scores.to_csv(folder / "scores.csv", index=False)
    model.save(folder / "model")
    write_mudata(mdata, folder / "latent.h5mu")


def joint_umap(mdata: MuData, colour: str, seed: int) -> AnnData:
    """Joint UMAP of the latents of all modalities; an observation is a cell in one modality."""
    sets = f"{KEY}_set"
    parts = {
        name: AnnData(obs=mdata.obs.loc[adata.obs_names, [colour, sets]], obsm={KEY: adata.obsm[KEY]})
        for name, adata in mdata.mod.items()
    }
    points = anndata.concat(parts, label="modality", index_unique=" ")
    points.obs["held out"] = points.obs.pop(sets) == "test"
    sc.pp.neighbors(points, use_rep=KEY, random_state=seed)
    sc.tl.umap(points, random_state=seed)
    return points


def plot_umap(points: AnnData, colour: str, path: Path) -> None:
    """Plot the joint UMAP in two panels, coloured by annotation and by modality, with rings around held-out cells."""
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 4.8), layout="constrained")
    # In random order, so that no modality hides the other.
    shuffled = points[np.random.default_rng(0).permutation(points.n_obs)].copy()
    palettes = {colour: sc.pl.palettes.default_20, "modality": sc.pl.palettes.zeileis_28[::10]}
    for axis, (key, palette) in zip(axes, palettes.items(), strict=True):
        n_groups = shuffled.obs[key].astype("category").cat.categories.size
        sc.pl.umap(
            shuffled,
            color=key,
            palette=list(palette[:n_groups]),
            ax=axis,
            show=False,
            title=key.replace("_", " "),
            size=18,
        )
        x, y = shuffled.obsm["X_umap"][shuffled.obs["held out"].to_numpy()].T
        axis.scatter(x, y, s=18, facecolors="none", edgecolors="black", linewidths=0.6, label="held out")
        legend = axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        for text in legend.get_texts():
            text.set_text("unassigned" if text.get_text() == "NA" else text.get_text())
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot_training(model: Ensemble, path: Path) -> None:
    """Plot each model's reconstruction losses by epoch, and their means."""
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    shown = {"train": "training cells", "validation": "the fifth that each is trained without"}
    for name, colour, label in zip(shown, sc.pl.palettes.default_20, shown.values(), strict=False):
        curves = np.stack([m.history[f"reconstruction_loss_{name}"].to_numpy()[:, 0] for m in model.models])
        epochs = np.arange(1, curves.shape[1] + 1)
        axis.plot(epochs, curves.T, color=colour, alpha=0.3, linewidth=0.8)
        axis.plot(epochs, curves.mean(0), color=colour, label=label)
    axis.set(
        xlabel="epoch", ylabel="reconstruction loss, own and cross-modal", title=f"{len(model.models)} models"
    )
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def print_scores(scores: pd.DataFrame) -> None:
    """Print the scores as a table on stdout, with one column per method, and what it shows."""
    data, seed = scores["data"].iloc[0], scores["seed"].iloc[0]
    methods = list(dict.fromkeys(scores["method"]))
    table = Table(
        title=f"Scores on held-out cells (data: {data}, seed: {seed})",
        caption="R2: 1 is perfect, 0 the training mean.\nFOSCTTM: 0 is perfect, 0.5 chance.\n"
        "* knows the type of the held-out cells.",
    )
    table.add_column("score", no_wrap=True)
    for heading in ("cells", *(f"{method} *" if method == TYPE_MEAN else method for method in methods)):
        table.add_column(heading, justify="right")
    for (metric, source, target), rows in scores.groupby(["metric", "source", "target"], sort=False):
        values = dict(zip(rows["method"], rows["value"], strict=True))
        task = f"R2 {source} to {target}" if metric == "r2" else f"FOSCTTM {source}, {target}"
        cells = [f"{values[m]:.3f}" if m in values else "" for m in methods]
        table.add_row(task, str(rows["n_cells"].iloc[0]), *cells)
    console = Console()
    console.print(table)
    console.print(what_it_shows(scores), soft_wrap=True)


def what_it_shows(scores: pd.DataFrame) -> str:
    """One sentence on the predictions across modalities, beside the best regression, whichever is better."""
    across = scores[(scores["metric"] == "r2") & (scores["source"] != scores["target"])]
    parts = []
    for (source, target), rows in across.groupby(["source", "target"], sort=False):
        values = dict(zip(rows["method"], rows["value"], strict=True))
        best = max(REGRESSIONS, key=lambda name: values[name])
        parts.append(f"{target} from {source} with R2 {values['Ensemble']:.3f} ({best}: {values[best]:.3f})")
    return f"Of cells that took no part in the training, the ensemble predicts {' and '.join(parts)}."
