"""What the values of a transcriptome are: as ``.uns`` states, or as the values themselves tell."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scvi_cae._normalization import NORMALIZATION, Normalization

from ._rows import dense, read_rows, row_chunks

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

#: Smallest number of features whose sums and whole numbers tell anything of a transcriptome.
MIN_GENES = 50
#: Largest numbers of cells and of values that are looked at, and smallest number of cells with a count.
_MAX_CELLS, _MAX_VALUES, _MIN_CELLS = 1000, 10_000_000, 3
#: Bases of logarithms that are tried.
_BASES = (math.e, 2.0, 10.0)
#: Largest relative deviation of a sum that is the same in all cells, and share of the cells in which it is.
_SAME, _MOST = 1e-3, 0.98
#: Least maximum of whole numbers that are counts.
_MAX_COUNT = 20
#: Largest number, and its distance from a whole one, by which counts are told: single precision keeps no more.
_SMALL_COUNT, _WHOLE = 300, 0.02
#: Largest value that can be a logarithm of counts per total.
_MAX_LOG = 60


def find_normalization(
    uns: Mapping[str, Any], matrix: Any, modality: str, names: pd.Index
) -> Normalization | None:
    """What the values of a modality are.

    Parameters
    ----------
    uns
        ``.uns`` of the modality, whose ``"normalization"`` may say so.
    matrix
        ``(n_cells, n_genes)`` its values, dense or sparse, in memory or on disk; NaN where missing.
    modality
        Key of the modality, for warnings.
    names
        Names of the genes.

    Returns
    -------
    What is stated, if it agrees with the values; else what the values tell; ``None`` if they are not recognised, such
    as electrophysiological features, and genes that were centred.

    Warns
    -----
    UserWarning
        If what is stated does not agree with the values.

    Notes
    -----
    A thousand cells are looked at. Values are counts if they are whole numbers, none below 0, of at least 50 features.
    They are counts per total, or logarithms of them, if they, or their inverse under one of the bases e, 2 and 10, sum
    to the same in all cells. Where genes were chosen after the normalisation, sums differ, but values of a cell before
    the logarithm are whole multiples of the smallest one, which tells the base, and leaves the total unknown.
    """
    values = _sample(matrix)
    record = uns.get(NORMALIZATION)
    stated = None if record is None else Normalization.from_uns(record)
    if stated is not None and not _contradicts(stated, values, names):
        return stated
    inferred = infer_normalization(values, names, _hinted_base(uns))
    if stated is not None:
        seem = "not recognised" if inferred is None else str(inferred)
        warnings.warn(
            f"Modality {modality!r}: .uns[{NORMALIZATION!r}] says that values are {stated}, but they seem to be {seem}, "
            "which is what counts here. If they were changed since, correct or delete the record: "
            f"del mdata[{modality!r}].uns[{NORMALIZATION!r}].",
            UserWarning,
            stacklevel=2,
        )
    return inferred


def _sample(matrix: Any) -> np.ndarray:
    """Values of some cells, evenly spaced, in double precision."""
    n_cells, n_genes = matrix.shape
    n_kept = max(min(_MAX_CELLS, _MAX_VALUES // max(n_genes, 1)), 1)
    rows = np.arange(0, n_cells, max(1, -(-n_cells // n_kept)))
    return dense(read_rows(matrix, rows)).astype(np.float64)


def _hinted_base(uns: Mapping[str, Any]) -> float | None:
    """Base of the logarithm that scanpy recorded, if it took one."""
    if "log1p" not in uns:
        return None
    base = uns["log1p"].get("base")
    return math.e if base is None else float(base)


def _contradicts(stated: Normalization, values: np.ndarray, names: pd.Index) -> bool:
    """Whether values cannot be what is stated."""
    if not values.size or np.isnan(values).all():
        return False
    if np.nanmin(values) < 0:
        return True
    if stated.is_log and np.nanmax(values) > _MAX_LOG:
        return True
    whole = _whole(values)
    if stated.kind == "counts" and not whole:
        return True
    if stated.total is None:
        return False
    sums = np.nansum(stated.linear(values), axis=1)
    if (sums > stated.total * (1 + 10 * _SAME)).mean() > 1 - _MOST:
        return True
    complete = stated.genes is not None and set(stated.genes) <= set(names.astype(str))
    if not complete or np.isnan(values).any() or (sums > 0).sum() < _MIN_CELLS:
        return False
    same = _same_sum(sums)
    return same is None or not math.isclose(same, stated.total, rel_tol=10 * _SAME)


def _whole(values: np.ndarray) -> bool:
    return bool(np.all((values == np.rint(values)) | np.isnan(values)))


def _same_sum(sums: np.ndarray) -> float | None:
    """What sums of cells agree on, those of cells without counts aside; ``None`` if they differ."""
    sums = sums[sums > 0]
    if len(sums) < _MIN_CELLS:
        return None
    middle = float(np.median(sums))
    return middle if (np.abs(sums / middle - 1) < _SAME).mean() >= _MOST else None


def infer_normalization(
    values: np.ndarray, names: pd.Index, hinted_base: float | None = None
) -> Normalization | None:
    """What values are, by themselves.

    Parameters
    ----------
    values
        ``(n_cells, n_genes)``, NaN where missing.
    names
        Names of the genes.
    hinted_base
        Base of the logarithm that something else states.

    Returns
    -------
    ``None`` if they are not recognised; see :func:`find_normalization`.
    """
    finite = values[np.isfinite(values)]
    if values.shape[1] < MIN_GENES or not len(finite) or finite.min() < 0:
        return None
    genes = tuple(str(name) for name in names)
    sums = np.nansum(values, axis=1)
    highest = finite.max()
    if (total := _same_sum(sums)) is not None:
        return Normalization("per_total", _round(total), genes=genes)
    if _whole(values):
        return Normalization("counts") if highest >= _MAX_COUNT else None
    if highest > _MAX_LOG:
        return Normalization("per_total") if _multiples(values, _smallest(values)) else None
    bases = _BASES if hinted_base is None else (hinted_base,)
    for base in bases:
        if (total := _same_sum(np.nansum(np.power(base, values) - 1, axis=1))) is not None:
            return Normalization("log", _round(total), base, genes)
    for base in bases:
        linear = np.power(base, values) - 1
        if _multiples(linear, np.ones(len(linear))):
            return Normalization("log_counts", base=base)
        if _multiples(linear, _smallest(linear)):
            return Normalization("log", None, base)
    return None if hinted_base is None else Normalization("log", None, hinted_base)


def _round(total: float) -> float:
    """A total without the errors of single precision and of printed values, which leave 999,999.9 of a million."""
    short = float(f"{total:.3g}")
    return short if math.isclose(short, total, rel_tol=1e-4) else total


def _smallest(linear: np.ndarray) -> np.ndarray:
    """``(n_cells,)`` smallest value of each cell above 0."""
    return np.nanmin(np.where(linear > 0, linear, np.inf), axis=1)


def _multiples(linear: np.ndarray, units: np.ndarray) -> bool:
    """Whether values of a cell are whole multiples of its unit, those that are small multiples, in most cells."""
    with np.errstate(divide="ignore", invalid="ignore"):
        multiples = linear / units[:, None]
    tested = (linear > 0) & (multiples < _SMALL_COUNT)
    enough = tested.sum(1) >= 10
    if enough.sum() < _MIN_CELLS:
        return False
    apart = np.where(tested, np.abs(multiples - np.rint(multiples)), 0.0)
    # A unit of 2 or 3 counts leaves halves and thirds.
    return bool((((apart > _WHOLE).sum(1) <= 0.02 * tested.sum(1))[enough]).mean() >= 0.7)


def linear_sums(matrix: Any, columns: np.ndarray, normalization: Normalization) -> np.ndarray:
    """``(n_cells,)`` sum of each cell's values, before the logarithm, over some genes.

    Parameters
    ----------
    matrix
        ``(n_cells, n_genes)`` values, dense or sparse, in memory or on disk.
    columns
        Boolean ``(n_genes,)``: the genes.
    normalization
        What the values are.
    """
    parts = [np.empty(0)]
    for _, block in row_chunks(matrix):
        kept = block[:, columns]
        if sparse.issparse(kept):
            kept = kept.astype(np.float64)  # a copy
            kept.data = np.nan_to_num(normalization.linear(kept.data))
            parts.append(np.asarray(kept.sum(1)).ravel())
        else:
            parts.append(np.nansum(normalization.linear(kept), axis=1))
    return np.concatenate(parts)
