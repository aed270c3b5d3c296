"""Transcriptomes: counts recognised, kept and normalised, before genes are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import check_whole, shorten
from scvi_cae._assembly import normalize
from scvi_cae._normalization import NORMALIZATION, Normalization
from scvi_cae.data import find_normalization

if TYPE_CHECKING:
    from anndata import AnnData

#: Logarithms of counts per million are below this, also those of base 2.
_LARGEST_LOG = 25
_SPIKE_IN = r"^ERCC[-_.]\d+$"
_VERSION = r"^(ENS[A-Z]*G\d{11})\.\d+$"


@dataclass(frozen=True)
class Preparation:
    """What is done to transcriptomes; the arguments of :func:`~scvi_cae.io.read_tables`."""

    target_sum: float
    genes: Sequence[str] | int | None
    round_counts: bool
    strip_versions: bool
    drop_spike_ins: bool
    drop_zero_genes: bool

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not self.target_sum > 0:
            raise ValueError(f"target_sum={self.target_sum!r} must be a number above 0, such as 1e6.")
        if isinstance(self.genes, str):
            raise ValueError(f"genes={self.genes!r} must be a list of names, or a number of genes.")
        if self.genes is not None and not isinstance(self.genes, Sequence | np.ndarray | pd.Index):
            check_whole(self.genes, "genes")


def prepare(
    rna: AnnData, source: str, how: Preparation, library_size: pd.Series | None, notes: list[str]
) -> AnnData:
    """Keep counts in a layer, normalise them, and choose genes afterwards.

    Parameters
    ----------
    rna
        Values ``(n_cells, n_genes)``.
    source
        The file, for messages.
    how
        What is done.
    library_size
        Counts of each cell over all genes, by name; ``None`` for the sum over those of ``rna``.
    notes
        Takes note of what was found.

    Returns
    -------
    AnnData with logarithms in ``X``, counts in ``layers["counts"]`` if these are known.

    Raises
    ------
    ValueError
        If a count is missing, or an argument does not fit the data.
    """
    rna = _named(rna, source, how, notes)
    values = rna.X.data if sparse.issparse(rna.X) else np.asarray(rna.X).ravel()
    kind = _kind(rna, values, how.round_counts)
    if kind is None:
        told = find_normalization({}, rna.X, source, rna.var_names)
        if told is None:
            notes.append(
                "values are negative or look like logarithms, and are left as they are; .uns has no record of how they "
                "were made"
            )
        else:
            notes.append(f"values are {told}, as their sums and multiples tell; they are left as they are")
            rna.uns[NORMALIZATION] = told.to_uns()
        if library_size is not None:
            raise ValueError(
                f"{source}: library_size= needs counts, but the values look like logarithms. Leave it out."
            )
        rna.X = rna.X.astype(np.float32)
    else:
        if np.isnan(values).any():
            _refuse_missing(rna, source)
        _normalize(rna, source, kind, how, library_size, notes)
    return _chosen(rna, source, how.genes, notes)


def _named(rna: AnnData, source: str, how: Preparation, notes: list[str]) -> AnnData:
    """Genes with the names they are to have, without those that are to be left out."""
    versions = rna.var_names.str.match(_VERSION)
    if versions.any() and how.strip_versions:
        names = rna.var_names.str.replace(_VERSION, r"\1", regex=True)
        if len(twice := names[names.duplicated()].unique()):
            raise ValueError(
                f"{source}: {len(twice)} genes have the same name without versions: {shorten(twice)}. Keep the versions, "
                "or one of each."
            )
        rna.var_names = names
        notes.append(f"versions of {int(versions.sum()):,} Ensembl identifiers removed")
    elif versions.any():
        shown = shorten(rna.var_names[versions], 1)
        notes.append(
            f"{int(versions.sum()):,} Ensembl identifiers have versions, such as {shown}: strip_versions=True removes them"
        )
    spikes = rna.var_names.str.match(_SPIKE_IN)
    empty = np.asarray(abs(rna.X).sum(axis=0)).ravel() == 0
    for found, what, argument, wanted in (
        (spikes, "spike-ins", "drop_spike_ins", how.drop_spike_ins),
        (empty & ~spikes, "genes without a count in any cell", "drop_zero_genes", how.drop_zero_genes),
    ):
        if found.any():
            listed = f"{int(found.sum()):,} {what} ({shorten(rna.var_names[found], 3)})"
            notes.append(f"{listed} left out" if wanted else f"{listed}: {argument}=True leaves them out")
    keep = ~((spikes & how.drop_spike_ins) | (empty & how.drop_zero_genes))
    return rna if keep.all() else rna[:, keep].copy()


def _kind(rna: AnnData, values: np.ndarray, round_counts: bool) -> str | None:
    """``"counts"``, ``"per_total"``, ``"expected"`` counts or others that are not logarithms; ``None`` for logarithms."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() < 0:
        return None
    if (known == np.rint(known)).all():
        return "counts"
    totals = np.asarray(rna.X.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    if len(totals) > 1 and np.ptp(totals) <= 1e-3 * totals.mean():
        return "per_total"
    if known.max() <= _LARGEST_LOG:
        return None
    return "rounded" if round_counts else "expected"


def _normalize(
    rna: AnnData,
    source: str,
    kind: str,
    how: Preparation,
    library_size: pd.Series | None,
    notes: list[str],
) -> None:
    counts: Any = sparse.csr_matrix(rna.X)
    if kind in ("counts", "rounded"):
        whole = counts.copy()
        whole.data = np.rint(whole.data)
        limits = np.iinfo(np.int32)
        counts = whole.astype(np.int32 if whole.data.max(initial=0) <= limits.max else np.int64)
        counts.eliminate_zeros()
        rna.layers["counts"] = counts
    zeros = 1 - counts.nnz / max(1, counts.shape[0] * counts.shape[1])
    notes.append(
        {
            "counts": f'counts, {zeros:.0%} of them 0, kept in layers["counts"]',
            "rounded": f'expected counts, rounded, {zeros:.0%} of them 0, kept in layers["counts"]',
            "per_total": f"each cell's values sum to {np.median(np.asarray(counts.sum(axis=1))):,.6g}: no counts",
            "expected": "values are no whole numbers and differ in their sums, as expected counts do (round_counts=True "
            "makes counts of them) and values per gene length",
        }[kind]
    )
    rna.X = counts.astype(np.float32)
    sizes = None if library_size is None else _sizes(rna, counts, source, library_size)
    normalize(rna, how.target_sum, sizes)
    notes.append(f"X: {Normalization.from_uns(rna.uns[NORMALIZATION])}")


def _sizes(rna: AnnData, counts: Any, source: str, library_size: pd.Series) -> np.ndarray:
    sizes = library_size.reindex(rna.obs_names).to_numpy(dtype=float)
    column, bad = library_size.name, ~(sizes > 0)
    if bad.any():
        raise ValueError(
            f"{source}: library_size={column!r} has no number above 0 for {int(bad.sum())} cells: "
            f"{shorten(rna.obs_names[bad])}. Fill them in, or leave library_size out."
        )
    totals = np.asarray(counts.sum(axis=1)).ravel()
    bad = totals > sizes * (1 + 1e-6)
    if bad.any():
        raise ValueError(
            f"{source}: {int(bad.sum())} cells have more counts than library_size={column!r} says, such as "
            f"{rna.obs_names[bad][0]!r} ({totals[bad][0]:,.0f}, and {sizes[bad][0]:,.0f}). Correct the column, or leave "
            "library_size out: counts are then divided by their own sum."
        )
    return sizes


def _refuse_missing(rna: AnnData, source: str) -> None:
    missing = np.isnan(rna.X.toarray() if sparse.issparse(rna.X) else np.asarray(rna.X))
    cell, gene = np.argwhere(missing)[0]
    raise ValueError(
        f"{source}: {int(missing.sum()):,} values of {int(missing.any(axis=1).sum())} cells are missing, the first of gene "
        f"{rna.var_names[gene]!r} in cell {rna.obs_names[cell]!r}. A cell's sum needs all of its counts: write 0 where a gene "
        "was not found, and delete cells that were not sequenced."
    )


def _chosen(rna: AnnData, source: str, genes: Sequence[str] | int | None, notes: list[str]) -> AnnData:
    """Some of the genes, in the order of the table."""
    if genes is None:
        return rna
    if isinstance(genes, Sequence | np.ndarray | pd.Index):
        keep = rna.var_names.isin(list(genes))
        unknown = [gene for gene in genes if gene not in rna.var_names]
        if unknown:
            raise ValueError(
                f"{source}: genes= names {len(unknown)} that it does not have: {shorten(unknown)}; it has names such as "
                f"{shorten(rna.var_names, 3)}. Correct or leave out these."
            )
        how = "by the list"
    else:
        check_whole(genes, "genes", maximum=rna.n_vars, of="the number of genes")
        matrix: Any = sparse.csr_matrix(rna.X, dtype=np.float64)
        mean = np.asarray(matrix.mean(axis=0)).ravel()
        variance = np.asarray(matrix.multiply(matrix).mean(axis=0)).ravel() - mean**2
        keep = np.zeros(rna.n_vars, dtype=bool)
        keep[np.argsort(-variance, kind="stable")[:genes]] = True
        how = "of largest variance"
    notes.append(f"{int(keep.sum()):,} of {rna.n_vars:,} genes {how}, chosen after normalising")
    return rna[:, keep].copy()
