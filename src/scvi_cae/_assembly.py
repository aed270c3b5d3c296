"""Assembly of a MuData from counts and tables, for published data sets and those of laboratories alike."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
from mudata import MuData
from scipy import sparse

from scvi_cae._mudata import annotations_apart
from scvi_cae._normalization import NORMALIZATION, Normalization

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


def rna_modality(counts: sparse.csr_matrix, obs: pd.DataFrame, var: pd.DataFrame) -> AnnData:
    """AnnData with raw counts in ``layers["counts"]`` and log1p counts per million in ``X``, of which ``.uns`` has a record."""
    rna = anndata.AnnData(counts.astype(np.float32), obs=obs, var=var, layers={"counts": counts})
    normalize(rna)
    return rna


def feature_modality(features: pd.DataFrame, obs: pd.DataFrame | None = None, **var: list[str]) -> AnnData:
    """AnnData of features (dense, float32) with annotations of cells, and of features as categorical columns of ``var``."""
    return anndata.AnnData(
        features.to_numpy(np.float32),
        obs=pd.DataFrame(index=features.index) if obs is None else obs,
        var=pd.DataFrame(
            {name: pd.Categorical(values) for name, values in var.items()}, index=features.columns
        ),
    )


def normalize(rna: AnnData, target_sum: float = 1e6, library_size: np.ndarray | None = None) -> None:
    """Replace counts in ``X`` by log1p counts per total, and record it in ``.uns``.

    Parameters
    ----------
    rna
        AnnData with sparse counts ``(n_cells, n_genes)`` in ``X``. Cells without a count keep their zeros.
    target_sum
        The total.
    library_size
        Counts of each cell over all genes ``(n_cells,)``, of which ``rna`` may have some; by default the sum over those
        that it has.
    """
    if library_size is None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Some cells have zero counts")
            sc.pp.normalize_total(rna, target_sum=target_sum)
    else:
        rna.X = sparse.csr_matrix(sparse.diags(target_sum / library_size) @ rna.X, dtype=np.float32)
    sc.pp.log1p(rna)
    genes = tuple(rna.var_names) if library_size is None else None
    rna.uns[NORMALIZATION] = Normalization("log", target_sum, genes=genes).to_uns()


def units(names: pd.Index) -> pd.Categorical:
    """Units of features, which their names end with: ms of "AP width (ms)"; empty where they do not.

    Parameters
    ----------
    names
        Names of the features.
    """
    return pd.Categorical(names.str.extract(r"\(([^()]*)\)$", expand=False).fillna(""))


def join_modalities(modalities: Mapping[str, AnnData], obs: pd.DataFrame) -> MuData:
    """Join modalities by cell name, with the rows of ``obs`` matched by name; cells without a row have missing values."""
    with annotations_apart(), warnings.catch_warnings():
        # Features of two modalities may have the same name.
        warnings.filterwarnings("ignore", message="var_names are not unique")
        mdata = MuData(dict(modalities))
    mdata.obs = obs.reindex(mdata.obs_names)
    return mdata


def categorical(table: pd.DataFrame) -> pd.DataFrame:
    """Make columns categorical, with categories sorted by their leading numbers (1, 2/3, 5, 10)."""

    def key(label: str) -> tuple[float, str]:
        number = re.match(r"\d+", label)
        return (int(number[0]) if number else np.inf, label)

    return table.apply(
        lambda column: column.astype(pd.CategoricalDtype(sorted(column.dropna().unique(), key=key)))
    )
