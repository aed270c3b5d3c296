"""What references are trained on: cells with a family, and features that other laboratories can have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import scanpy as sc

from scvi_cae._assembly import join_modalities
from scvi_cae.pp import ephys_names

from ._scala2020 import scala2020

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData

#: Columns of labels.
LABELS = ["rna_family", "rna_type"]
#: Conventions of names in which features of a query may be.
CONVENTIONS = ["gouwens2020", "ipfx", "lee2023", "efel"]
#: Number of genes, and of cells in which a gene is found.
N_GENES, MIN_CELLS = 1000, 10
#: Fewest cells of a type; those of rarer ones have a family only.
MIN_OF_TYPE = 10


def shared_ephys(convention: str) -> pd.Series:
    """Features of a convention that another one has in the same definition, or can calculate.

    Parameters
    ----------
    convention
        Convention of the names.

    Returns
    -------
    Concepts of the features by their names.
    """
    own = ephys_names(convention, "concepts").set_index(convention)["concept"]
    others = {concept for other in CONVENTIONS for concept in ephys_names(other, "concepts")["concept"]}
    # A formula of other features would only repeat them.
    return own[~own.index.str.contains("`", regex=False) & own.isin(others)]


def scala2020_to_refer_to(directory: str | Path | None = None) -> MuData:
    """Cells and features of :func:`~scvi_cae.datasets.scala2020` that a reference is trained on.

    Parameters
    ----------
    directory
        As of the loader.
    """
    full = scala2020(directory)
    family = full.obs["rna_family"]
    cells = full.obs_names[family.notna() & (family != "low quality")]
    labels = {key: full.obs.loc[cells, key].cat.remove_unused_categories() for key in LABELS}
    labels["rna_type"] = _frequent(labels["rna_type"])
    modalities = {
        "rna": _variable(_those(full["rna"], cells)),
        "ephys": _shared(_those(full["ephys"], cells), "scala2020"),
    }
    return join_modalities(modalities, full.obs.loc[cells].assign(**labels))


def _those(adata: AnnData, cells: pd.Index) -> AnnData:
    return adata[adata.obs_names.isin(cells)].copy()


def _frequent(types: pd.Series) -> pd.Series:
    counts = types.value_counts()
    return types.cat.remove_categories(counts.index[counts < MIN_OF_TYPE])


def _variable(rna: AnnData) -> AnnData:
    """The most variable of the genes, whose values remain per total of all genes."""
    sc.pp.filter_genes(rna, min_cells=MIN_CELLS)
    if rna.n_vars > N_GENES:
        sc.pp.highly_variable_genes(rna, n_top_genes=N_GENES)
        rna = rna[:, rna.var["highly_variable"]]
    rna.var = rna.var[[]]
    return rna.copy()


def _shared(ephys: AnnData, convention: str) -> AnnData:
    """The features that others can have, with their concepts as ``var["concept"]``."""
    concepts = shared_ephys(convention)
    out = ephys[:, ephys.var_names.isin(concepts.index)].copy()
    out.var["concept"] = pd.Categorical(concepts.loc[out.var_names])
    return out
