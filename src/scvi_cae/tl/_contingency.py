"""Two labels of the same cells: how often they go together, and where they agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from scvi_cae._arguments import shorten
from scvi_cae.data import category_codes, category_names

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike


class ContingencyScores(NamedTuple):
    """Where two labels agree.

    Parameters
    ----------
    reliable_rows
        Fraction of labels that most cells of the row share: on the diagonal is at least one cell, and no other column
        has as many cells, times ``factor``.
    reliable_columns
        The same of columns.
    reliable
        Fraction of labels that are reliable by row and by column.
    unreliable
        The other labels.
    consistency
        Fraction of cells on the diagonal; NaN without cells.
    occupancy
        Fraction of labels with a cell on the diagonal.
    """

    reliable_rows: float
    reliable_columns: float
    reliable: float
    unreliable: list[Hashable]
    consistency: float
    occupancy: float


def contingency(
    a: pd.Series | ArrayLike, b: pd.Series | ArrayLike, labels: Sequence[str] | None = None
) -> pd.DataFrame:
    """Count the cells of each pair of labels.

    Parameters
    ----------
    a, b
        ``(n_cells,)`` labels, missing where unknown. Two Series must have the same index.
    labels
        Rows and columns of the table, in this order; cells of other labels are not counted. By default the categories
        of ``a`` and those of ``b``, also those that no cell has; of labels that are not categorical, those that occur,
        sorted.

    Returns
    -------
    Numbers of cells that have both labels: rows by ``a``, columns by ``b``. Names of labels are text.

    Raises
    ------
    ValueError
        If numbers of cells, or the indices of two Series, differ; if ``labels`` names one twice.

    Examples
    --------
    >>> from scvi_cae.tl import contingency
    >>> contingency(["x", "x", "y", None], ["x", "y", "y", "y"]).to_numpy().tolist()
    [[1, 1], [0, 1]]
    """
    if isinstance(a, pd.Series) and isinstance(b, pd.Series) and not a.index.equals(b.index):
        raise ValueError(
            f"a and b are of different cells, or in another order ({len(a)} and {len(b)} cells). Align them: "
            "b.reindex(a.index)."
        )
    first, second = (pd.Series(as_labels(x), dtype=object) for x in (a, b))
    if len(first) != len(second):
        raise ValueError(f"a has {len(first)} cells and b {len(second)}; give both labels of the same cells.")
    if labels is None:
        rows, columns = label_names(a), label_names(b)
    else:
        rows = columns = [str(label) for label in labels]
        if len(set(rows)) < len(rows):
            raise ValueError(f"labels={shorten(rows, 20)} names a label twice.")
    counts = np.zeros((len(rows), len(columns)), dtype=np.int64)
    i, j = category_codes(first, rows), category_codes(second, columns)
    known = (i >= 0) & (j >= 0)
    np.add.at(counts, (i[known], j[known]), 1)
    return pd.DataFrame(counts, index=pd.Index(rows, dtype=object), columns=pd.Index(columns, dtype=object))


def as_labels(labels: pd.Series | ArrayLike) -> np.ndarray:
    """``(n_cells,)`` names as text, ``None`` where missing or blank."""
    series = (
        labels if isinstance(labels, pd.Series) else pd.Series(np.asarray(labels, dtype=object), dtype=object)
    )
    return category_names(series).to_numpy(dtype=object)


def label_names(labels: pd.Series | ArrayLike) -> list[str]:
    """Names of labels: categories in their order, or else those that occur, sorted."""
    dtype = getattr(labels, "dtype", None)
    if isinstance(dtype, pd.CategoricalDtype):
        names = category_names(pd.Series(list(dtype.categories), dtype=object))
        return [name for name in names if name is not None]
    return sorted({name for name in as_labels(labels) if name is not None})


def contingency_scores(table: pd.DataFrame | ArrayLike, factor: float = 1.0) -> ContingencyScores:
    """Say on which labels the rows and columns of a contingency table agree.

    With labels of the same cells by two modalities, a reliable type is one that the other modality finds again
    (Gala et al. 2021, Fig. 3c).

    Parameters
    ----------
    table
        Counts, such as those of :func:`contingency`: a data frame whose rows and columns have the same names, in any
        order, or a square array, whose n-th row goes with the n-th column.
    factor
        How many times as many cells as elsewhere in its row or column the diagonal must have.

    Returns
    -------
    The scores. The order of labels does not matter.

    Raises
    ------
    ValueError
        If rows and columns do not go together, a count is negative or missing, or ``factor`` is not above 0.

    Examples
    --------
    >>> from scvi_cae.tl import contingency_scores
    >>> scores = contingency_scores([[10, 2, 0], [3, 5, 6], [0, 0, 0]])
    >>> [round(x, 3) for x in (scores.reliable_rows, scores.reliable_columns, scores.consistency)]
    [0.333, 0.667, 0.577]
    >>> scores.unreliable
    [1, 2]
    """
    names: list[Hashable]
    if isinstance(table, pd.DataFrame):
        if not (table.index.is_unique and table.columns.is_unique and set(table.index) == set(table.columns)):
            raise ValueError(
                f"Rows and columns must have the same labels; there are {shorten(table.index)} and "
                f"{shorten(table.columns)}. Name all: contingency(a, b, labels=...). If they go together by position, "
                "give table.to_numpy()."
            )
        names = list(table.index)
        x = table[names].to_numpy(dtype=float)
    else:
        x = np.asarray(table, dtype=float)
        names = list(range(len(x)))
    if x.ndim != 2 or x.shape[0] != x.shape[1] or not len(x):
        raise ValueError(
            f"The table has shape {x.shape}; it must have as many rows as columns, at least one."
        )
    if not np.isfinite(x).all() or (x < 0).any():
        raise ValueError("The table must hold counts of at least 0, none of them missing.")
    if not factor > 0:
        raise ValueError(f"factor={factor!r} must be above 0.")
    diagonal = np.diag(x)
    others = x.copy()
    np.fill_diagonal(others, 0)
    by_row = (diagonal > 0) & (diagonal >= factor * others.max(1))
    by_column = (diagonal > 0) & (diagonal >= factor * others.max(0))
    both = by_row & by_column
    return ContingencyScores(
        reliable_rows=float(by_row.mean()),
        reliable_columns=float(by_column.mean()),
        reliable=float(both.mean()),
        unreliable=[name for name, good in zip(names, both, strict=True) if not good],
        consistency=float(diagonal.sum() / x.sum()) if x.sum() else np.nan,
        occupancy=float((diagonal > 0).mean()),
    )


def match_labels(table: pd.DataFrame) -> dict[str, str]:
    """Pair rows with columns so that as many cells as possible are in pairs (the Hungarian method).

    Parameters
    ----------
    table
        Counts of reference labels (rows) by other labels (columns), such as those of :func:`contingency`. There may
        be more of the one than of the other.

    Returns
    -------
    Row of each column that has one, in the order of rows. Pairs without any cell are left out.

    See Also
    --------
    scipy.optimize.linear_sum_assignment

    Examples
    --------
    >>> from scvi_cae.tl import contingency, match_labels
    >>> match_labels(contingency(["x", "x", "y"], ["2", "2", "1"]))
    {'2': 'x', '1': 'y'}
    """
    counts = table.to_numpy()
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return {table.columns[j]: table.index[i] for i, j in zip(rows, columns, strict=True) if counts[i, j] > 0}
