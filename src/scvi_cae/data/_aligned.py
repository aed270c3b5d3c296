"""What aligned data are: the values of one arm, addressed by the cells of a MuData."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ._rows import MAX_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator


class CellBlock:
    """Rows of some cells of one arm, in memory as they are stored: a sparse modality stays sparse.

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
        """``(len(cells), n_features)`` float32 values of cells in any order, NaN for cells outside the block."""
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


class Aligned(ABC):
    """Values of one arm: a matrix of a modality, or labels.

    Cells are positions in the MuData. Nothing is copied, or read from a disk, until values are asked for.

    Attributes
    ----------
    n_features
        Number of features; of classes, for labels.
    on_disk
        Whether values are read from a file whenever they are asked for.
    """

    n_features: int
    on_disk: bool = False

    @property
    @abstractmethod
    def present(self) -> np.ndarray:
        """Boolean ``(n_cells,)``: which cells have a value."""

    @property
    @abstractmethod
    def rows(self) -> np.ndarray:
        """``(n_cells,)`` row in which each cell is stored, -1 if it has none."""

    @abstractmethod
    def read(self, cells: np.ndarray) -> CellBlock:
        """Rows of some cells, read in the order in which they are stored.

        Parameters
        ----------
        cells
            Positions of cells, in any order; those without a row are left out.

        Raises
        ------
        ValueError
            If a value is infinite, also as float32.
        """

    def batch_indicators(self, cells: np.ndarray) -> np.ndarray | None:
        """``(len(cells), n_batches)`` indicators of technical batches, all 0 where unknown; ``None`` without batches."""
        return None

    def values(self, cells: np.ndarray) -> np.ndarray:
        """Values of some cells.

        Parameters
        ----------
        cells
            Positions of cells.

        Returns
        -------
        ``(len(cells), n_features)`` float32 array, NaN where missing.

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
            Positions of cells.

        Yields
        ------
        Places in ``cells``, ``(n,)``, and the values of the cells there, as :meth:`values` returns them.
        """
        order = np.argsort(self.rows[cells], kind="stable")
        for start in range(0, len(order), MAX_ROWS):
            places = order[start : start + MAX_ROWS]
            yield places, self.values(cells[places])
