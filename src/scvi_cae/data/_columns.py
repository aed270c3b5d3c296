"""Columns of annotations: of cells, in a MuData or its modalities, and of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from mudata import MuData


def gene_lengths(adata: AnnData, modality: str, key: str) -> np.ndarray:
    """``(n_vars,)`` lengths of genes, from a column of ``.var``.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If a length is missing or not above 0.
    """
    if key not in adata.var:
        raise KeyError(
            f"No column {key!r} in mdata[{modality!r}].var; there are: {shorten(adata.var.columns, 20)}."
        )
    lengths = np.asarray(adata.var[key], dtype=float)
    bad = ~(np.isfinite(lengths) & (lengths > 0))
    if bad.any():
        raise ValueError(
            f"Modality {modality!r}: lengths in .var[{key!r}] must be above 0; they are not for "
            f"{shorten(adata.var_names[bad])}. Leave these genes out, or give a length: the median of the others."
        )
    return lengths


def obs_column(mdata: MuData, key: str, modality: str | None = None) -> pd.Series:
    """A column of cells' annotations: of the MuData, or else of its modalities.

    Parameters
    ----------
    mdata
        The MuData.
    key
        Name of a column in ``mdata.obs``, else in any modality's ``.obs`` (the first that knows a cell wins).
    modality
        Modality whose own ``.obs`` comes first.

    Returns
    -------
    Series over ``mdata.obs_names``, missing where no modality that has the column has the cell.

    Raises
    ------
    KeyError
        If no table has the column.
    ValueError
        If a table has it twice.
    """
    if modality is not None and modality in mdata.mod and key in mdata[modality].obs:
        return (
            _column(mdata[modality].obs, key, f"mdata[{modality!r}].obs")
            .astype(object)
            .reindex(mdata.obs_names)
        )
    if key in mdata.obs:
        return _column(mdata.obs, key, "mdata.obs")
    tables = [
        _column(adata.obs, key, f"mdata[{name!r}].obs").astype(object)
        for name, adata in mdata.mod.items()
        if key in adata.obs
    ]
    if not tables:
        known = sorted({*mdata.obs, *(name for adata in mdata.mod.values() for name in adata.obs)})
        raise KeyError(
            f"No column {key!r} in mdata.obs or in a modality's .obs; there are: {shorten(known, 20)}."
        )
    column = tables[0].reindex(mdata.obs_names)
    for other in tables[1:]:
        column = column.where(column.notna(), other.reindex(mdata.obs_names))
    return column


def _column(table: Any, key: str, where: str) -> pd.Series:
    """A column that a table has once."""
    column = table[key]
    if column.ndim > 1:
        raise ValueError(
            f"{where} has {column.shape[1]} columns named {key!r}. Keep one: "
            f"{where} = {where}.loc[:, ~{where}.columns.duplicated()]."
        )
    return column


def has_column(mdata: MuData, key: str) -> bool:
    """Whether :func:`obs_column` finds a column.

    Parameters
    ----------
    mdata
        The MuData.
    key
        Name of the column.
    """
    return key in mdata.obs or any(key in adata.obs for adata in mdata.mod.values())
