"""MuData to arrays aligned by cell: the only place that knows which row of a modality is which cell."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scvi_cae._arguments import shorten

from ._checks import infinite_error
from ._rows import MOST_ROWS, on_disk, read_rows
from ._scan import measured_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mudata import MuData

    from ._labels import AlignedLabels


def modality_matrix(mdata: MuData, modality: str, layer: str | None) -> Any:
    """The matrix of a modality as it is stored; masked values are NaN.

    Parameters
    ----------
    mdata
        The MuData.
    modality
        Key of the modality.
    layer
        Layer to read, ``None`` for ``X``.
    """
    adata = mdata.mod[modality]
    matrix = adata.X if layer is None else adata.layers[layer]
    return np.ma.filled(matrix.astype(float), np.nan) if isinstance(matrix, np.ma.MaskedArray) else matrix


class CellBlock:
    """Rows of some cells of one modality, in memory as they are stored: a sparse modality stays sparse.

    Parameters
    ----------
    cells
        Ascending positions of the cells in the MuData.
    stored
        ``(len(cells), n_stored)`` float32 array or CSR matrix; ``None`` if the MuData lacks the modality.
    columns
        Column of each feature in ``stored``, ``None`` if they have the same order.
    n_features
        Number of features.
    """

    def __init__(self, cells: np.ndarray, stored: Any, columns: np.ndarray | None, n_features: int) -> None:
        self.cells = cells
        self._stored = stored
        self._columns = columns
        self._n_features = n_features

    def holds(self, cells: np.ndarray) -> np.ndarray:
        """Boolean ``(len(cells),)``: which cells are in the block."""
        found = np.searchsorted(self.cells, cells)
        inside = found < len(self.cells)
        inside[inside] = self.cells[found[inside]] == cells[inside]
        return inside

    def values(self, cells: np.ndarray) -> np.ndarray:
        """``(len(cells), n_features)`` float32 values of cells in any order, NaN for cells that are not in the block."""
        inside = self.holds(cells)
        if not inside.any():
            return np.full((len(cells), self._n_features), np.nan, dtype=np.float32)
        rows = self._stored[np.searchsorted(self.cells, cells[inside])]
        rows = rows.toarray() if sparse.issparse(rows) else rows
        rows = rows if self._columns is None else rows[:, self._columns]
        if inside.all():
            return rows
        out = np.full((len(cells), self._n_features), np.nan, dtype=np.float32)
        out[inside] = rows
        return out


class AlignedModality:
    """One modality of a MuData, addressed by the MuData's own cells.

    Cells are matched by name, so the order of cells in a modality is free, and a cell may lack it. Nothing is
    copied, or read from a disk, until values are asked for.

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
    batches
        ``(n_cells, n_batches)`` indicators of the technical batches of the MuData's cells, a row of 0 where one is not
        known; ``None`` for a modality without batches.

    Raises
    ------
    ValueError
        If features are missing from the modality or it has others.
    """

    def __init__(
        self,
        mdata: MuData,
        modality: str,
        layer: str | None,
        features: Sequence[str],
        batches: np.ndarray | None = None,
    ) -> None:
        self.n_features = len(features)
        self._batches = batches
        self._columns: np.ndarray | None = None
        if modality not in mdata.mod:
            self._rows = np.full(mdata.n_obs, -1)
            self._matrix = None
            return
        adata = mdata.mod[modality]
        self._modality, self._cells = modality, mdata.obs_names
        self._rows = adata.obs_names.astype(str).get_indexer(mdata.obs_names.astype(str))
        self._matrix = modality_matrix(mdata, modality, layer)
        names = adata.var_names.astype(str)
        self._stored_features = names
        features = [str(name) for name in features]
        columns = names.get_indexer(features)
        missing = [name for name, column in zip(features, columns, strict=True) if column < 0]
        unknown = names.difference(features)
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

    @property
    def on_disk(self) -> bool:
        """Whether the values are read from a file whenever they are asked for."""
        return self._matrix is not None and on_disk(self._matrix)

    @property
    def rows(self) -> np.ndarray:
        """``(n_cells,)`` row of each cell of the MuData in the modality, -1 if it has none."""
        return self._rows

    def batch(self, cells: np.ndarray) -> np.ndarray | None:
        """``(len(cells), n_batches)`` indicators of cells' batches, if the modality has any."""
        return None if self._batches is None else self._batches[cells]

    def read(self, cells: np.ndarray) -> CellBlock:
        """Rows of some cells, read in the order of the modality.

        Parameters
        ----------
        cells
            Positions of cells in the MuData, in any order; those without a row are left out.

        Raises
        ------
        ValueError
            If a value is infinite, also as float32.
        """
        cells = np.unique(cells)
        cells = cells[self._rows[cells] >= 0]
        if self._matrix is None or not len(cells):
            return CellBlock(cells[:0], None, None, self.n_features)
        rows = self._rows[cells]
        order = np.argsort(rows)
        in_order = bool((order[1:] > order[:-1]).all())
        stored = read_rows(self._matrix, rows if in_order else rows[order])
        entries = stored.data if sparse.issparse(stored) else stored
        if np.isinf(entries).any():
            row, column = stored.tocoo().coords if sparse.issparse(stored) else np.indices(stored.shape)
            where = np.isinf(entries)
            raise infinite_error(
                self._modality,
                int(where.sum()),
                self._cells[cells[order[row[where][0]]]],
                self._stored_features[column[where][0]],
            )
        return CellBlock(
            cells, stored if in_order else stored[np.argsort(order)], self._columns, self.n_features
        )

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
        return self.read(cells).values(cells)

    def chunks(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Values of many cells, a few thousand at a time, in the order in which they are stored.

        Parameters
        ----------
        cells
            Positions of cells in the MuData.

        Yields
        ------
        Places in ``cells``, ``(n,)``, and the values of the cells there, as :meth:`values` gives them.
        """
        return chunks_of(self, cells)


def chunks_of(
    modality: AlignedModality | AlignedLabels, cells: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Values of many cells, a few thousand at a time; see :meth:`AlignedModality.chunks`."""
    order = np.argsort(modality.rows[cells], kind="stable")
    for start in range(0, len(order), MOST_ROWS):
        places = order[start : start + MOST_ROWS]
        yield places, modality.values(cells[places])
