"""A table as it was read, before it is known which of its names are those of cells."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Table:
    """Rows and columns, of which either may be cells.

    Parameters
    ----------
    name
        The modality, or ``"obs"``.
    source
        The file, for messages.
    header
        Names of the columns.
    numbers
        Values ``(n_rows, n_numeric)`` of the columns that are numbers in each row, NaN where missing; sparse or dense.
    numeric
        Positions of these columns in ``header``.
    text
        The other columns, as text; columns are positions in ``header``. Columns of whole numbers that differ from row to
        row are among these, too, since they may be names: as text they keep their zeros.
    index
        Names of the rows beside the columns, of a data frame or an AnnData; ``None`` if it has none.
    decimal
        Decimal mark of the text.
    adata
        The table as AnnData, if it was one.
    notes
        What is to be said of it.
    """

    name: str
    source: str
    header: pd.Index
    numbers: Any
    numeric: np.ndarray
    text: pd.DataFrame
    index: pd.Index | None = None
    decimal: str = "."
    adata: AnnData | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.numbers.shape[0]


def distinct_whole(numbers: Any) -> np.ndarray:
    """Which columns are whole numbers that differ from row to row, as only names and few features are.

    Parameters
    ----------
    numbers
        Values ``(n_rows, n_columns)``.
    """
    n = numbers.shape[0]
    if sparse.issparse(numbers):
        columns = sparse.csc_matrix(numbers)
        possible = np.flatnonzero(np.diff(columns.indptr) >= n - 1)
    else:
        columns, possible = numbers, np.arange(numbers.shape[1])
    found = np.zeros(numbers.shape[1], dtype=bool)
    for i in possible:
        values = columns[:, [i]].toarray().ravel() if sparse.issparse(columns) else columns[:, i]
        found[i] = bool((values == np.rint(values)).all()) and len(np.unique(values)) == n
    return found


def from_frame(name: str, frame: pd.DataFrame, source: str = "data frame") -> Table:
    """A data frame as a table.

    Parameters
    ----------
    name
        The modality.
    frame
        The data frame. Its index holds names unless it merely counts the rows from 0.
    source
        The file.
    """
    if isinstance(frame.columns, pd.MultiIndex) or isinstance(frame.index, pd.MultiIndex):
        raise ValueError(
            f"{name}: the {source} has several levels of names. Leave one: frame.reset_index(), or "
            "frame.columns = frame.columns.get_level_values(-1)."
        )
    numeric = np.array(
        [pd.api.types.is_numeric_dtype(d) and not pd.api.types.is_bool_dtype(d) for d in frame.dtypes], bool
    )
    positions = np.flatnonzero(numeric)
    numbers = np.empty((len(frame), len(positions)))
    for i, position in enumerate(positions.tolist()):
        numbers[:, i] = _column(frame, position).to_numpy(dtype=float, na_value=np.nan)
    ids = positions[distinct_whole(numbers)] if len(frame) else positions
    text = {
        i: as_text(_column(frame, i)) for i in sorted({*np.flatnonzero(~numeric).tolist(), *ids.tolist()})
    }
    counts_rows = pd.api.types.is_integer_dtype(frame.index) and np.array_equal(
        frame.index, np.arange(len(frame))
    )
    return Table(
        name,
        source,
        pd.Index(frame.columns.map(str), dtype=object),
        numbers,
        positions,
        pd.DataFrame(text, index=range(len(frame)), columns=list(text)),
        None if counts_rows else pd.Index(as_text(frame.index.to_series()), dtype=object),
    )


def from_anndata(name: str, adata: AnnData, source: str = "AnnData") -> Table:
    """An AnnData as a table.

    Parameters
    ----------
    name
        The modality.
    adata
        The AnnData.
    source
        The file.
    """
    values: Any = adata.X
    if values is None:
        raise ValueError(f"{name}: {source} has no X. Give one: adata.X = adata.layers[...].")
    return Table(
        name,
        source,
        pd.Index(adata.var_names.astype(str), dtype=object),
        values,
        np.arange(adata.n_vars),
        pd.DataFrame(index=range(adata.n_obs)),
        pd.Index(adata.obs_names.astype(str), dtype=object),
        adata=adata,
    )


def without_repeats(table: Table, names: pd.Index) -> Table:
    """A table without rows that repeat another row of the same name, value by value, of which it takes note.

    Parameters
    ----------
    table
        The table.
    names
        Names of its rows.
    """
    repeats = np.zeros(table.n_rows, dtype=bool)
    for rows in (np.flatnonzero(names == name) for name in names[names.duplicated()].unique()):
        numbers = table.numbers[rows]
        numbers = numbers.toarray() if sparse.issparse(numbers) else numbers
        text = table.text.iloc[rows].to_numpy(dtype=object)
        if (text == text[0]).all() and np.array_equal(
            numbers, np.broadcast_to(numbers[0], numbers.shape), equal_nan=True
        ):
            repeats[rows[1:]] = True
    if not repeats.any():
        return table
    table.notes.append(
        f"left out: rows that repeat another one, value by value: {shorten(names[repeats], 3)}"
    )
    return replace(
        table,
        numbers=table.numbers[~repeats],
        text=table.text[~repeats].reset_index(drop=True),
        index=None if table.index is None else table.index[~repeats],
    )


def _column(frame: pd.DataFrame, position: int) -> pd.Series:
    """A column by its position, since names may be there twice."""
    column: Any = frame.iloc[:, position]
    return column


def as_text(column: pd.Series) -> np.ndarray:
    """A column as text, empty where it is missing."""
    missing = column.isna().to_numpy()
    values = np.array([str(value) for value in column.tolist()], dtype=object)
    values[missing] = ""
    return values
