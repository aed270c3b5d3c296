"""Properties of a matrix found in one pass over its rows."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ._rows import MAX_VALUE, any_nan, row_chunks

#: Largest distance from a whole number, relative to it, that is rounding error of arithmetic with counts.
_ROUNDING = 1e-9
#: Distance of a feature from 0, relative to its range, at which single precision has few digits left for the range.
FAR_FROM_ZERO = 1e3


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
    """Least and greatest value of each column, NaN where it has none."""
    if sparse.issparse(block):
        columns = block.astype(np.float64, copy=False).tocsc()
        low, high = (np.asarray(x.todense()).ravel() for x in (columns.nanmin(0), columns.nanmax(0)))
        return low, high
    low, high = np.fmin.reduce(block, axis=0), np.fmax.reduce(block, axis=0)
    return low.astype(np.float64), high.astype(np.float64)


class Scan(NamedTuple):
    """Properties of a matrix.

    Parameters
    ----------
    measured
        Boolean ``(n_rows,)``: which rows hold a value that is not NaN.
    low, high
        ``(n_features,)`` least and greatest value of each feature, NaN where all are.
    n_infinite
        Number of values that are infinite, or beyond :data:`~scvi_cae.data._rows.MAX_VALUE`.
    first_infinite
        Row and column of the first one, if any.
    whole
        Whether all values are whole numbers, up to rounding error, or NaN.
    gaps
        Whether any value is NaN.
    digests
        ``(n_rows,)`` bytes that are the same for rows with the same values; none if not asked for.
    """

    measured: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_infinite: int
    first_infinite: tuple[int, int] | None
    whole: bool
    gaps: bool
    digests: np.ndarray


def _digests(block: Any) -> list[bytes]:
    """Digest of each row of a matrix in memory."""
    if sparse.issparse(block):
        # Rows of a matrix in memory share its arrays, which the following would change.
        rows = block.tocsr(copy=True)
        rows.sum_duplicates()
        rows.eliminate_zeros()
        pieces = [
            rows.indices[start:stop].tobytes() + rows.data[start:stop].tobytes()
            for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
        ]
    else:
        pieces = [row.tobytes() for row in np.ascontiguousarray(block)]
    return [blake2b(piece, digest_size=8).digest() for piece in pieces]


def origins(found: Scan) -> np.ndarray | None:
    """Values to subtract from features before they are cast to single precision.

    Parameters
    ----------
    found
        Properties of a matrix.

    Returns
    -------
    ``(n_features,)``: the middle of a feature that lies farther from 0 than :data:`FAR_FROM_ZERO` times its range, of
    which single precision would keep less than four digits; 0 for others. ``None`` if there are no such features.
    """
    far = np.fmax(np.abs(found.low), np.abs(found.high)) > FAR_FROM_ZERO * (found.high - found.low)
    far &= found.high > found.low
    return np.where(far, (found.low + found.high) / 2, 0.0) if far.any() else None


def scan(matrix: Any, digests: bool = True) -> Scan:
    """Read all values of a matrix once, a few thousand rows at a time.

    Parameters
    ----------
    matrix
        ``(n_rows, n_features)`` matrix of real numbers, dense or sparse, in memory or on disk.
    digests
        Whether rows are compared, which takes as long as all else.
    """
    n_features = matrix.shape[1]
    measured = []
    low, high = np.full((2, n_features), np.nan)
    n_infinite, first, whole, gaps = 0, None, True, False
    found: list[bytes] = []
    # Networks compute with float32, in which larger values are infinite.
    with np.errstate(over="ignore"):
        for start, block in row_chunks(matrix):
            entries = block.data if sparse.issparse(block) else block
            infinite = np.abs(entries) > MAX_VALUE
            n = int(infinite.sum())
            if n and first is None:
                # COO keeps the order of the stored values of the format that it is made from.
                row, column = block.tocoo().coords if sparse.issparse(block) else np.indices(block.shape)
                first = int(row[infinite][0]) + start, int(column[infinite][0])
            n_infinite += n
            measured.append(_measured(block))
            if digests:
                found += _digests(block)
            if block.shape[0] and n_features:
                least, greatest = _extremes(block)
                low, high = np.fmin(low, least), np.fmax(high, greatest)
            if block.dtype.kind == "f":
                if whole:
                    finite = entries[~infinite]
                    apart = np.abs(finite - np.rint(finite))
                    whole = not np.any(apart > _ROUNDING * np.maximum(np.abs(finite), 1))
                gaps = gaps or bool(np.isnan(entries).any())
    return Scan(
        np.concatenate([np.empty(0, dtype=bool), *measured]),
        low,
        high,
        n_infinite,
        first,
        bool(whole),
        gaps,
        np.array(found, dtype=object),
    )
