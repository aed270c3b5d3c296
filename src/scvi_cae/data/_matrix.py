"""A modality's matrix by the cells of a MuData: the only place that knows which row of a modality is which cell."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import shorten

from ._aligned import Aligned, CellBlock
from ._rows import MAX_VALUE, on_disk, read_rows
from ._scan import measured_rows
from ._value_checks import infinite_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData


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


def match_features(names: pd.Index, features: Sequence[str], modality: str) -> np.ndarray:
    """Column of each feature of a model in a modality.

    Parameters
    ----------
    names
        Names of the modality's features.
    features
        Names of the model's features.
    modality
        Key of the modality, for the message.

    Raises
    ------
    ValueError
        If the modality lacks some of the model's features, or has others.
    """
    names, wanted = names.astype(str), [str(name) for name in features]
    columns = names.get_indexer(pd.Index(wanted))
    missing = [name for name, column in zip(wanted, columns, strict=True) if column < 0]
    unknown = names.difference(wanted)
    if missing or len(unknown):
        problems = [f"lacks {len(missing)} features of the model: {shorten(missing)}"] if missing else []
        problems += [f"has {len(unknown)} features unknown to it: {shorten(unknown)}"] if len(unknown) else []
        raise ValueError(
            f"Modality {modality!r} {' and '.join(problems)}. Its features must be the {len(wanted)} that "
            "the model was set up with, in any order. Data with others are brought to them by "
            "CoupledAE.prepare_query_mudata(mdata, model), with rename= for other names."
        )
    return columns


class AlignedMatrix(Aligned):
    """The matrix of one modality of a MuData.

    Cells are matched by name, so that their order in the modality is free, and a cell may lack it. A cell has the
    modality if at least one of its values is not NaN.

    Parameters
    ----------
    mdata
        The MuData.
    modality
        Key of the modality; if the MuData lacks it, no cell has it.
    layer
        Layer to read, ``None`` for ``X``.
    features
        Names of the features to read, in this order.
    batches
        ``(n_cells, n_batches)`` indicators of the technical batches of the MuData's cells, a row of 0 where unknown;
        ``None`` for a modality without technical batches.
    origin
        ``(n_features,)`` values to subtract from features that lie far from 0; ``None`` if none does.
    measured
        Boolean ``(n_rows,)``: which rows of the modality hold a value, if a scan of the matrix has found that already.

    Raises
    ------
    ValueError
        If the modality lacks features or has others.
    """

    def __init__(
        self,
        mdata: MuData,
        modality: str,
        layer: str | None,
        features: Sequence[str],
        batches: np.ndarray | None = None,
        origin: np.ndarray | None = None,
        measured: np.ndarray | None = None,
    ) -> None:
        self.n_features = len(features)
        self._batches = batches
        self._measured = measured
        self._columns: np.ndarray | None = None
        self._origin: np.ndarray | None = None
        if modality not in mdata.mod:
            self._rows = np.full(mdata.n_obs, -1)
            self._matrix = None
            return
        adata = mdata.mod[modality]
        self._modality, self._cells, self._stored_features = modality, mdata.obs_names, adata.var_names
        self._rows = adata.obs_names.astype(str).get_indexer(mdata.obs_names.astype(str))
        self._matrix = modality_matrix(mdata, modality, layer)
        self.on_disk = on_disk(self._matrix)
        columns = match_features(adata.var_names, features, modality)
        if not np.array_equal(columns, np.arange(self.n_features)):
            self._columns = columns
        if origin is not None:
            self._origin = np.zeros(len(columns))
            self._origin[columns] = origin

    @cached_property
    def present(self) -> np.ndarray:
        """Boolean ``(n_cells,)``: which cells of the MuData have a value in the modality."""
        present = self._rows >= 0
        if self._matrix is not None:
            measured = measured_rows(self._matrix) if self._measured is None else self._measured
            present[present] = measured[self._rows[present]]
        return present

    @property
    def rows(self) -> np.ndarray:
        """``(n_cells,)`` row of each cell of the MuData in the modality, -1 if it has none."""
        return self._rows

    def batch_indicators(self, cells: np.ndarray) -> np.ndarray | None:
        """``(len(cells), n_batches)`` indicators of technical batches; ``None`` without batches."""
        return None if self._batches is None else self._batches[cells]

    def read(self, cells: np.ndarray) -> CellBlock:
        """Rows of some cells, read in the order of the modality."""
        cells = np.unique(cells)
        cells = cells[self._rows[cells] >= 0]
        if self._matrix is None or not len(cells):
            return CellBlock(cells[:0], None, None, self.n_features)
        rows = self._rows[cells]
        order = np.argsort(rows)
        in_order = bool((order[1:] > order[:-1]).all())
        stored = read_rows(self._matrix, rows if in_order else rows[order], self._origin)
        entries = stored.data if sparse.issparse(stored) else stored
        infinite = np.abs(entries) > MAX_VALUE
        if infinite.any():
            row, column = stored.tocoo().coords if sparse.issparse(stored) else np.indices(stored.shape)
            raise infinite_error(
                self._modality,
                int(infinite.sum()),
                self._cells[cells[order[row[infinite][0]]]],
                self._stored_features[column[infinite][0]],
            )
        return CellBlock(
            cells, stored if in_order else stored[np.argsort(order)], self._columns, self.n_features
        )


def has_values(mdata: MuData, modality: str) -> np.ndarray:
    """Cells that have a modality, for data that no model has been set up with.

    Parameters
    ----------
    mdata
        The MuData.
    modality
        Key of the modality. Its ``X`` is read, or its first layer if it has none.

    Returns
    -------
    Boolean ``(n_cells,)``.
    """
    adata = mdata.mod[modality]
    layer = next((key for key in adata.layers if key is not None), None) if adata.X is None else None
    return AlignedMatrix(mdata, modality, layer, adata.var_names).present
