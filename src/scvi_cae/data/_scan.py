"""Properties of a matrix found in one pass over its rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ._rows import any_nan, row_chunks


def _measured(block: Any) -> np.ndarray:
    """Boolean ``(n_rows,)``: which rows of a matrix in memory hold a value."""
    stored = block.data if sparse.issparse(block) else block
    if block.dtype.kind != "f" or not np.isnan(stored).any():
        return np.full(block.shape[0], block.shape[1] > 0)
    if sparse.issparse(block):
        missing = block.tocsr(copy=True)
        missing.data = np.isnan(missing.data)
        return np.asarray(missing.sum(1)).ravel() < block.shape[1]
    return ~np.isnan(block).all(1)


def measured_rows(matrix: Any) -> np.ndarray:
    """Boolean ``(n_rows,)``: which rows of a matrix, in memory or on disk, hold a value."""
    if not any_nan(matrix):
        return np.full(matrix.shape[0], matrix.shape[1] > 0)
    return np.concatenate([_measured(block) for _, block in row_chunks(matrix)])


def _extremes(block: Any) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value of each column, as float32, NaN where it has none."""
    values = block.astype(np.float32, copy=False)
    if sparse.issparse(values):
        columns = values.tocsc()
        low, high = (np.asarray(x.todense()).ravel() for x in (columns.nanmin(0), columns.nanmax(0)))
        return low, high
    return np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)


class Scan(NamedTuple):
    """Properties of a matrix.

    Parameters
    ----------
    measured
        Boolean ``(n_rows,)``: which rows hold a value that is not NaN.
    low, high
        ``(n_features,)`` float32 least and greatest value of each feature, NaN where all are.
    n_infinite
        Number of values that are infinite as float32.
    first_infinite
        Row and column of the first one, if any.
    whole
        Whether all values are whole numbers or NaN.
    gaps
        Whether any value is NaN.
    """

    measured: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_infinite: int
    first_infinite: tuple[int, int] | None
    whole: bool
    gaps: bool


def scan(matrix: Any) -> Scan:
    """Read all values of a matrix once, a few thousand rows at a time.

    Parameters
    ----------
    matrix
        ``(n_rows, n_features)`` matrix of real numbers, dense or sparse, in memory or on disk.
    """
    n_features = matrix.shape[1]
    measured = []
    low, high = np.full((2, n_features), np.nan, dtype=np.float32)
    n_infinite, first, whole, gaps = 0, None, True, False
    # Networks compute with float32, in which larger values are infinite.
    with np.errstate(over="ignore"):
        for start, block in row_chunks(matrix):
            entries = block.data if sparse.issparse(block) else block
            infinite = np.isinf(entries.astype(np.float32, copy=False))
            n = int(infinite.sum())
            if n and first is None:
                # COO keeps the order of the stored values of the format that it is made from.
                row, column = block.tocoo().coords if sparse.issparse(block) else np.indices(block.shape)
                first = int(row[infinite][0]) + start, int(column[infinite][0])
            n_infinite += n
            measured.append(_measured(block))
            if block.shape[0] and n_features:
                least, greatest = _extremes(block)
                low, high = np.fmin(low, least), np.fmax(high, greatest)
            if block.dtype.kind == "f":
                fractions = entries[~infinite] % 1
                whole = whole and not np.any(fractions > 0)
                gaps = gaps or bool(np.isnan(fractions).any())
    return Scan(
        np.concatenate([np.empty(0, dtype=bool), *measured]), low, high, n_infinite, first, bool(whole), gaps
    )
