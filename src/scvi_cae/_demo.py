"""What the command ``scvi-cae demo`` does, from data to figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
import scvi
import torch
from anndata import AnnData
from rich.console import Console
from rich.table import Table

from scvi_cae.data import Split, draw_split, presence_pattern
from scvi_cae.datasets import scala2020, simulate_patchseq
from scvi_cae.datasets._assemble import join_modalities
from scvi_cae.evaluate import score
from scvi_cae.model import CoupledAE

if TYPE_CHECKING:
    from pathlib import Path

    from mudata import MuData

#: A tenth of the cells chooses the best epoch, a tenth is for the scores.
TRAIN_SIZE, VALIDATION_SIZE = 0.8, 0.1
N_GENES = 2000
KEY = "X_cae"


class Keys(NamedTuple):
    """Columns of cells' annotations: for the type mean, and for the colours, which must be few."""

    type: str
    colour: str


def load(name: str, seed: int) -> tuple[MuData, Keys, Split]:
    """A data set of two modalities, and which of its cells train; genes are chosen by these."""
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
    """Training, validation and test cells, with each type and each combination of modalities in proportion."""
    present = {name: mdata.obs_names.isin(mdata[name].obs_names) for name in mdata.mod}
    strata = [presence_pattern(present), mdata.obs[keys.type]]
    return draw_split(strata, TRAIN_SIZE, VALIDATION_SIZE, np.random.RandomState(seed))


def make_model(mdata: MuData, keys: Keys, seed: int) -> CoupledAE:
    """An untrained model."""
    # numba, with which scanpy normalises, sets the number of threads of the whole process; the matrices of so
    # small a network are too small to share out.
    torch.set_num_threads(1)
    scvi.settings.seed = seed
    CoupledAE.setup_mudata(mdata)
    return CoupledAE(mdata)


def score_model(model: CoupledAE, keys: Keys) -> pd.DataFrame:
    """Scores on the test cells."""
    return score(model, labels_key=keys.type)


def write_results(folder: Path, model: CoupledAE, scores: pd.DataFrame, keys: Keys, seed: int) -> None:
    """Everything that the demonstration leaves behind."""
    mdata = model.adata
    model.write_latent(key=KEY)
    mdata.obs["split"] = _split(model)
    points = joint_umap(mdata, keys.colour, seed)
    for name in mdata.mod:
        # One point per cell and modality: a paired cell has two.
        mdata[name].obsm["X_umap"] = points[points.obs["modality"] == name].obsm["X_umap"]
    plot_umap(points, keys.colour, folder / "umap.png")
    plot_training(model, folder / "training.png")
    scores.to_csv(folder / "scores.csv", index=False)
    model.save(folder / "model")
    mdata.write_h5mu(folder / "latent.h5mu")


def _split(model: CoupledAE) -> pd.Series:
    split = np.full(model.adata.n_obs, "train", dtype=object)
    split[model.validation_indices] = "validation"
    split[model.test_indices] = "test"
    return pd.Series(split, index=model.adata.obs_names, dtype="category")


def joint_umap(mdata: MuData, colour: str, seed: int) -> AnnData:
    """UMAP of the latents of all modalities together; an observation is a cell in one modality."""
    parts = {name: adata.obsm[KEY] for name, adata in mdata.mod.items()}
    cells = np.concatenate([mdata[name].obs_names for name in parts])
    modality = np.repeat(list(parts), [len(z) for z in parts.values()])
    obs = pd.DataFrame(
        {
            colour: mdata.obs[colour].reindex(cells).to_numpy(),
            "modality": pd.Categorical(modality, list(parts)),
        },
        index=[f"{cell} {name}" for cell, name in zip(cells, modality, strict=True)],
    )
    obs[colour] = pd.Categorical(obs[colour], mdata.obs[colour].cat.categories)
    points = AnnData(obs=obs, obsm={KEY: np.concatenate(list(parts.values()))})
    sc.pp.neighbors(points, use_rep=KEY, random_state=seed)
    sc.tl.umap(points, random_state=seed)
    return points


def plot_umap(points: AnnData, colour: str, path: Path) -> None:
    """Two panels: what the cells are, and which modality a point comes from."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    # In a random order, or the modality drawn last would hide the other.
    shuffled = points[np.random.default_rng(0).permutation(points.n_obs)].copy()
    for axis, key, title in zip(
        axes, (colour, "modality"), (colour.replace("_", " "), "modality"), strict=True
    ):
        sc.pl.umap(shuffled, color=key, ax=axis, show=False, title=title, size=14)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot_training(model: CoupledAE, path: Path) -> None:
    """Reconstruction loss of training and validation cells by epoch, and the epoch whose weights were kept."""
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
    """The scores as a table on stdout, methods beside each other."""
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
