"""Rows of a matrix, wherever it is: in memory, in a backed AnnData, or in a zarr store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr
from anndata.abc import CSCDataset, CSRDataset
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Largest number of rows read at once: the cost of a read is negligible, and the rows are small in memory.
MAX_ROWS = 4096
#: Largest number of unneeded rows to read rather than start another read, which costs as much (2 ms in anndata).
MAX_GAP = 1024
#: Largest absolute value: the sum of a few thousand squares of such values is finite in single precision.
MAX_VALUE = 1e15
#: Largest number of stored values of a sparse matrix that are checked together.
_MAX_STORED = 4_000_000


def on_disk(matrix: Any) -> bool:
    """Whether a matrix is read from a file whenever rows are asked for."""
    return isinstance(matrix, (h5py.Dataset, zarr.Array, CSRDataset, CSCDataset))


def read_slice(matrix: Any, start: int, stop: int) -> Any:
    """Rows from ``start`` up to ``stop``: an array or a sparse matrix in memory, a view if it can be one."""
    return matrix[start:stop]


def row_chunks(matrix: Any) -> Iterator[tuple[int, Any]]:
    """All rows in turn, at most :data:`MAX_ROWS` at once.

    Parameters
    ----------
    matrix
        Dense or sparse matrix, in memory or on disk.

    Yields
    ------
    Number of the first row, and the rows. A matrix in memory that is stored by columns is yielded in one piece, since
    taking rows of it costs as much as reading it all.
    """
    if sparse.issparse(matrix) and matrix.format == "csc":
        yield 0, matrix
        return
    matrix = matrix.tocsr() if sparse.issparse(matrix) else matrix
    for start in range(0, matrix.shape[0], MAX_ROWS):
        yield start, read_slice(matrix, start, min(start + MAX_ROWS, matrix.shape[0]))


def _runs(rows: np.ndarray) -> list[np.ndarray]:
    """Sorted rows in groups, each read in one piece from its first to its last row."""
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > MAX_GAP) + 1)
    return [
        run
        for group in groups
        for run in np.split(group, np.flatnonzero(np.diff((group - group[0]) // MAX_ROWS)) + 1)
    ]


def read_rows(matrix: Any, rows: np.ndarray, origin: np.ndarray | None = None) -> Any:
    """Some rows, in memory as float32.

    Parameters
    ----------
    matrix
        Dense or sparse matrix, in memory or on disk.
    rows
        Numbers of the rows, ascending.
    origin
        ``(n_features,)`` values to subtract before the cast to float32.

    Returns
    -------
    ``(len(rows), n_features)`` array, or sparse matrix if ``matrix`` is one and has no origin. Values beyond the range of float32 are
    infinite.
    """
    if not on_disk(matrix) or not len(rows):
        found = matrix[rows] if not on_disk(matrix) else read_slice(matrix, 0, 0)
    else:
        parts = []
        for run in _runs(rows):
            block = read_slice(matrix, int(run[0]), int(run[-1]) + 1)
            parts.append(block if len(run) == block.shape[0] else block[run - run[0]])
        found = (
            parts[0]
            if len(parts) == 1
            else sparse.vstack(parts, format="csr")
            if sparse.issparse(parts[0])
            else np.concatenate(parts)
        )
    if sparse.issparse(found):
        found = found.tocsr() if origin is None else found.toarray()
    if origin is not None:
        found = found - origin
    with np.errstate(over="ignore"):
        return found.astype(np.float32, copy=False)


def dense(rows: Any) -> np.ndarray:
    """Rows in memory as an array."""
    return rows.toarray() if sparse.issparse(rows) else np.asarray(rows)


def any_nan(matrix: Any) -> bool:
    """Whether a matrix holds NaN; only the stored values of a sparse matrix on disk are read."""
    if matrix.dtype.kind != "f":
        return False
    if sparse.issparse(matrix):
        return bool(np.isnan(matrix.data).any())
    if isinstance(matrix, (CSRDataset, CSCDataset)):
        stored = matrix.group["data"]
        starts = range(0, stored.shape[0], _MAX_STORED)
        return any(np.isnan(stored[start : start + _MAX_STORED]).any() for start in starts)
    return any(np.isnan(block).any() for _, block in row_chunks(matrix))
