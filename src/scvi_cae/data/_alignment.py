"""MuData to arrays aligned by cell: the only place that knows which row of a modality is which cell."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ._checks import infinite_error, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData


def modality_matrix(mdata: MuData, modality: str, layer: str | None) -> Any:
    """The matrix of a modality as it is stored: its ``X``, or a layer; masked values are NaN."""
    adata = mdata.mod[modality]
    matrix = adata.X if layer is None else adata.layers[layer]
    return np.ma.filled(matrix.astype(float), np.nan) if isinstance(matrix, np.ma.MaskedArray) else matrix


def measured_rows(matrix: Any) -> np.ndarray:
    """Boolean ``(n_rows,)``: which rows of a dense or sparse matrix hold anything but NaN."""
    stored = matrix.data if sparse.issparse(matrix) else matrix
    if matrix.dtype.kind != "f" or not np.isnan(stored).any():
        return np.full(matrix.shape[0], matrix.shape[1] > 0)
    if sparse.issparse(matrix):
        missing = matrix.tocsr(copy=True)
        missing.data = np.isnan(missing.data)
        return np.asarray(missing.sum(1)).ravel() < matrix.shape[1]
    return ~np.isnan(matrix).all(1)


class AlignedModality:
    """One modality of a MuData, addressed by the MuData's own cells.

    Cells are matched by name, so the order of cells in a modality is free, and a cell may lack it. Nothing is
    copied until :meth:`values` is called.

    Parameters
    ----------
    mdata
        The MuData.
    modality
        Key of the modality; it may be absent, then no cell has it.
    layer
        Layer to read, ``None`` for ``X``.
    features
        Names of the features to read, in this order.

    Raises
    ------
    ValueError
        If features are missing from the modality or it has others.
    """

    def __init__(self, mdata: MuData, modality: str, layer: str | None, features: Sequence[str]) -> None:
        self.n_features = len(features)
        self._columns: np.ndarray | None = None
        if modality not in mdata.mod:
            self._rows = np.full(mdata.n_obs, -1)
            self._matrix = None
            return
        adata = mdata.mod[modality]
        self._modality, self._cells, self._features = modality, mdata.obs_names, [str(x) for x in features]
        self._rows = adata.obs_names.astype(str).get_indexer(mdata.obs_names.astype(str))
        self._matrix = modality_matrix(mdata, modality, layer)
        names = adata.var_names.astype(str)
        columns = names.get_indexer(self._features)
        missing = [name for name, column in zip(self._features, columns, strict=True) if column < 0]
        unknown = names.difference(self._features)
        if missing or len(unknown):
            problems = [f"lacks {len(missing)} features of the model: {shorten(missing)}"] if missing else []
            problems += (
                [f"has {len(unknown)} features unknown to it: {shorten(unknown)}"] if len(unknown) else []
            )
            raise ValueError(
                f"Modality {modality!r} {' and '.join(problems)}. Its features must be the {self.n_features} that "
                "the model was set up with, in any order; select or rename them by var_names."
            )
        if not np.array_equal(columns, np.arange(self.n_features)):
            self._columns = columns

    @cached_property
    def present(self) -> np.ndarray:
        """Boolean ``(n_cells,)``: which cells of the MuData have a value in the modality."""
        present = self._rows >= 0
        if self._matrix is not None:
            present[present] = measured_rows(self._matrix)[self._rows[present]]
        return present

    def values(self, cells: np.ndarray) -> np.ndarray:
        """Values of some cells.

        Parameters
        ----------
        cells
            Positions of cells in the MuData.

        Returns
        -------
        ``(len(cells), n_features)`` float32 array, NaN where a cell lacks the modality or the value.

        Raises
        ------
        ValueError
            If a value is infinite, also as float32.
        """
        rows = self._rows[cells]
        has_row = rows >= 0
        out = np.full((len(rows), self.n_features), np.nan, dtype=np.float32)
        if self._matrix is not None and has_row.any():
            block = self._matrix[rows[has_row]]
            block = block.toarray() if sparse.issparse(block) else np.asarray(block)
            with np.errstate(over="ignore"):
                out[has_row] = block if self._columns is None else block[:, self._columns]
            infinite = np.argwhere(np.isinf(out))
            if len(infinite):
                raise infinite_error(
                    self._modality,
                    len(infinite),
                    self._cells[cells[infinite[0, 0]]],
                    self._features[infinite[0, 1]],
                )
        return out
