"""Normalisation of counts by gene length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import shorten

from ._parameters import describe_writer
from ._target import floating, open_target, stored_columns

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@describe_writer
def normalize_gene_length(
    data: AnnData | MuData,
    lengths: str | pd.Series,
    *,
    modality: str | None = None,
    layer: str | None = None,
    key_added: str = "gene_length_divisor",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Divide counts by gene length in kilobases, for full-length protocols such as Smart-seq2.

    In these protocols, a long gene yields more reads than a short gene with as many transcripts. Counts of
    unique molecular identifiers (UMI) and of 3' or 5' reads do not depend on length and need no such
    division. The division is the first of the steps to the logarithm of transcripts per million (TPM)::

        scvi_cae.pp.normalize_gene_length(rna, "length")
        scanpy.pp.normalize_total(rna, target_sum=1e6)
        scanpy.pp.log1p(rna)

    Nothing is fitted to cells.

    The matrix holds counts, cells by genes, dense or sparse (CSR, CSC). It is replaced: keep raw counts in a
    layer.

    Parameters
    ----------
    %(data)s
    lengths
        Length of each gene in base pairs, preferably the total length of its exons: a column of ``.var``, or
        a Series indexed by gene name, which may have additional genes.
    %(modality)s
    %(layer)s
    key_added
        Column of ``.var`` for the divisors, which marks the counts as divided.
    %(copy)s

    Returns
    -------
    ``None``, or the copy. ``X`` or the layer is replaced, and ``.var[key_added]`` is written: the divisor of
    each gene, its length in kilobases.

    Raises
    ------
    KeyError
        If column ``lengths`` does not exist.
    TypeError
        If lengths are not numbers.
    ValueError
        If the length of a gene is missing or not above 0, a count is negative or infinite, ``X`` has been
        log-transformed, or ``.var[key_added]`` exists.

    References
    ----------
    Wagner GP, Kin K, Lynch VJ. Measurement of mRNA abundance using RNA-seq data: RPKM measure is inconsistent
    among samples. Theory in Biosciences 131, 281-285 (2012). https://doi.org/10.1007/s12064-012-0162-3

    Examples
    --------
    >>> import anndata, numpy as np, pandas as pd, scanpy as sc
    >>> from scvi_cae.pp import normalize_gene_length
    >>> rna = anndata.AnnData(
    ...     np.array([[10, 40], [30, 0]], dtype="float32"),
    ...     var=pd.DataFrame({"length": [500, 2000]}, index=["short", "long"]),
    ... )
    >>> normalize_gene_length(rna, "length")
    >>> rna.X.tolist()
    [[20.0, 20.0], [60.0, 0.0]]
    >>> sc.pp.normalize_total(rna, target_sum=1e6)
    >>> rna.X.tolist()
    [[500000.0, 500000.0], [1000000.0, 0.0]]
    """
    target = open_target(data, modality, layer, copy)
    adata = target.adata
    target.check_new(
        var=[key_added],
        why="Its counts have been divided by gene length. Start from raw counts; to divide another layer "
        "too, use another key_added.",
    )
    if layer is None and "log1p" in adata.uns:
        raise ValueError(
            f"{target.name}: X has been log-transformed (.uns['log1p']). Start from counts: layer=... names "
            "their layer. If X does hold counts, del adata.uns['log1p'] first."
        )
    if isinstance(lengths, str):
        lengths = target.var_column(lengths, "lengths")
    kilobases = _kilobases(lengths, adata.var_names, target.name)
    values = target.read()
    stored = values.data if sparse.issparse(values) else values
    if (stored < 0).any():
        raise ValueError(
            f"{target.name} has values below 0, which are not counts. Start from raw counts: layer=... names "
            "their layer."
        )

    out = values.astype(floating(values.dtype))
    if sparse.issparse(out):
        out.data /= kilobases[stored_columns(out)].astype(out.dtype)
    else:
        out /= kilobases.astype(out.dtype)
    target.write(out)
    adata.var[key_added] = kilobases
    return target.data if copy else None


def _kilobases(lengths: pd.Series, genes: pd.Index, name: str) -> np.ndarray:
    """``(n_genes,)`` lengths in kilobases, checked."""
    if not isinstance(lengths, pd.Series) or not pd.api.types.is_numeric_dtype(lengths):
        kind = lengths.dtype if isinstance(lengths, pd.Series) else type(lengths).__name__
        raise TypeError(
            f"lengths must be a column of .var or a Series of numbers indexed by gene, not {kind}. Convert "
            "it: pd.to_numeric(lengths), or pd.Series(lengths, index=genes)."
        )
    if not lengths.index.is_unique:
        duplicated = lengths.index[lengths.index.duplicated()].unique()
        raise ValueError(
            f"lengths names genes more than once: {shorten(duplicated)}. Keep one length per gene."
        )
    base_pairs = lengths.reindex(genes).to_numpy(dtype=float, na_value=np.nan)
    wrong = ~((base_pairs > 0) & np.isfinite(base_pairs))
    if wrong.any():
        raise ValueError(
            f"{name}: the length of {wrong.sum()} of {len(genes)} genes is missing or not above 0: "
            f"{shorten(genes[wrong])}. Add their lengths, or leave the genes out."
        )
    return base_pairs / 1000
