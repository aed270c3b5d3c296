"""Counts of full-length protocols, comparable between genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import shorten

from ._target import floating, open_target, stored_columns

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def normalize_gene_length(
    data: AnnData | MuData,
    lengths: str | pd.Series,
    *,
    modality: str | None = None,
    layer: str | None = None,
    key_added: str = "gene_length_divisor",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Divide counts by the length of the gene in kilobases, for full-length protocols such as Smart-seq2.

    There, a long gene yields more reads than a short one of as many transcripts. Counts by molecule (UMI), and
    reads of one end only, do not depend on length and need no such division. It comes first in the chain to
    the logarithm of transcripts per million (TPM), of which the rest is scanpy's::

        scvi_cae.pp.normalize_gene_length(rna, "length")
        scanpy.pp.normalize_total(rna, target_sum=1e6)
        scanpy.pp.log1p(rna)

    Nothing is fitted to cells.

    Parameters
    ----------
    data
        AnnData, or MuData of which ``modality`` is used. Cells by genes, counts, dense or sparse (CSR, CSC). The
        values are replaced: keep raw counts in a layer. Floating-point values keep their precision; whole
        numbers become float32, as in scanpy.
    lengths
        Length of each gene in base pairs, best of its exons together: a column of ``.var``, or a Series indexed by
        the names of genes, which may have others, too.
    modality
        Key of the modality, for a MuData only.
    layer
        Layer to read and write; ``X`` by default.
    key_added
        Column of ``.var`` to write, which marks the counts as divided.
    copy
        Return a changed copy rather than work in place.

    Returns
    -------
    ``None``, or the copy. ``X`` or the layer is replaced, and ``.var[key_added]`` written: what each gene was
    divided by, its length in kilobases.

    Raises
    ------
    KeyError
        If there is no column ``lengths``.
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
        why="Its counts have been divided by gene length. Start from raw counts; to divide another layer too, give "
        "another key_added.",
    )
    if layer is None and "log1p" in adata.uns:
        raise ValueError(
            f"{target.name}: X has been log-transformed (.uns['log1p']). Start from counts: layer=... names a layer "
            "of them. If X does hold counts, del adata.uns['log1p'] first."
        )
    if isinstance(lengths, str):
        lengths = target.var_column(lengths, "lengths")
    kilobases = _kilobases(lengths, adata.var_names, target.name)
    values = target.read()
    stored = values.data if sparse.issparse(values) else values
    if (stored < 0).any():
        raise ValueError(
            f"{target.name} has values below 0, which are no counts. Start from raw counts: layer=... names a layer "
            "of them."
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
    """``(n_genes,)`` lengths, checked."""
    if not isinstance(lengths, pd.Series) or not pd.api.types.is_numeric_dtype(lengths):
        kind = lengths.dtype if isinstance(lengths, pd.Series) else type(lengths).__name__
        raise TypeError(
            f"lengths must be a column of .var or a Series indexed by gene, of numbers, not {kind}. Convert it: "
            "pd.to_numeric(lengths), or pd.Series(lengths, index=genes)."
        )
    if not lengths.index.is_unique:
        duplicated = lengths.index[lengths.index.duplicated()].unique()
        raise ValueError(f"lengths names genes more than once: {shorten(duplicated)}. Keep one length each.")
    base_pairs = lengths.reindex(genes).to_numpy(dtype=float, na_value=np.nan)
    wrong = ~((base_pairs > 0) & np.isfinite(base_pairs))
    if wrong.any():
        raise ValueError(
            f"{name}: the length of {wrong.sum()} of {len(genes)} genes is missing or not above 0: "
            f"{shorten(genes[wrong])}. Give their lengths, or leave the genes out."
        )
    return base_pairs / 1000
