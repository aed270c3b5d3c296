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
from scvi_cae.model import CoupledAE

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from mudata import MuData

#: Fractions of training and validation cells. The rest, a tenth, is the test set.
TRAIN_SIZE, VALIDATION_SIZE = 0.8, 0.1
N_GENES = 2000
KEY = "X_cae"


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
    return draw_split(strata, TRAIN_SIZE, VALIDATION_SIZE, np.random.RandomState(seed))


def make_model(mdata: MuData, keys: Keys, seed: int) -> CoupledAE:
    """An untrained model."""
    # numba, which scanpy uses to normalise, sets the number of threads of the whole process. The matrices of
    # this small network are too small for several threads.
    torch.set_num_threads(1)
    scvi.settings.seed = seed
    CoupledAE.setup_mudata(mdata)
    return CoupledAE(mdata)


def score_model(model: CoupledAE, keys: Keys) -> pd.DataFrame:
    """Scores of the model and of baselines on the test cells."""
    return score(model, labels_key=keys.type)


def write_results(folder: Path, model: CoupledAE, scores: pd.DataFrame, keys: Keys, seed: int) -> None:
    """Write all files of the demonstration."""
    mdata = model.adata
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
    parts = {
        name: AnnData(obs=mdata.obs.loc[adata.obs_names, [colour]], obsm={KEY: adata.obsm[KEY]})
        for name, adata in mdata.mod.items()
    }
    points = anndata.concat(parts, label="modality", index_unique=" ")
    sc.pp.neighbors(points, use_rep=KEY, random_state=seed)
    sc.tl.umap(points, random_state=seed)
    return points


def plot_umap(points: AnnData, colour: str, path: Path) -> None:
    """Plot the joint UMAP in two panels, coloured by annotation and by modality."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    # In random order, so that no modality hides the other.
    shuffled = points[np.random.default_rng(0).permutation(points.n_obs)].copy()
    for axis, key in zip(axes, (colour, "modality"), strict=True):
        sc.pl.umap(shuffled, color=key, ax=axis, show=False, title=key.replace("_", " "), size=14)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot_training(model: CoupledAE, path: Path) -> None:
    """Plot reconstruction losses by epoch, and mark the epoch whose weights are kept."""
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    curves = {
        name: model.history[f"reconstruction_loss_{name}"].iloc[:, 0] for name in ("train", "validation")
    }
    for name, loss in curves.items():
        axis.plot(np.arange(1, len(loss) + 1), loss, label=name)
    best = int(np.argmin(curves["validation"].to_numpy())) + 1
    axis.axvline(best, color="0.5", linestyle=":", label=f"kept: epoch {best}")
    axis.set(xlabel="epoch", ylabel="reconstruction loss, own and cross-modal")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def print_scores(scores: pd.DataFrame) -> None:
    """Print the scores as a table on stdout, with one column per method."""
    table = Table(
        title="Scores on held-out cells",
        caption="R2: 1 is perfect, 0 the training mean.\nFOSCTTM: 0 is perfect, 0.5 chance.",
    )
    methods = list(dict.fromkeys(scores["method"]))
    table.add_column("score")
    for heading in ("cells", *methods):
        table.add_column(heading, justify="right")
    for (metric, source, target), rows in scores.groupby(["metric", "source", "target"], sort=False):
        values = dict(zip(rows["method"], rows["value"], strict=True))
        task = f"R2 {source} to {target}" if metric == "r2" else f"FOSCTTM {source}, {target}"
        cells = [f"{values[m]:.3f}" if m in values else "" for m in methods]
        table.add_row(task, str(rows["n_cells"].iloc[0]), *cells)
    Console().print(table)
