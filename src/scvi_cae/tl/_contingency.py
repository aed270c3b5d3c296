"""Contingency tables of two labellings of the same cells: scores of agreement, and matching of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from scvi_cae._arguments import shorten
from scvi_cae.data import category_codes

from ._labels import as_text, label_names

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike


class ContingencyScores(NamedTuple):
    r"""Agreement of two labellings, with :math:`N_{ij}` cells that have the labels :math:`i` and :math:`j`.

    Parameters
    ----------
    reliable_rows
        Fraction of labels :math:`i` with :math:`N_{ii} > 0` and :math:`N_{ii} \ge f N_{ij}` for all
        :math:`j \ne i`, where :math:`f` is ``factor``.
    reliable_columns
        The same for columns: :math:`N_{ii} > 0` and :math:`N_{ii} \ge f N_{ji}`.
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
    """Count the cells with each pair of labels.

    Parameters
    ----------
    a, b
        ``(n_cells,)`` labels, missing where unknown. Two Series must have the same index.
    labels
        Rows and columns of the table, in this order; cells with other labels are not counted. By default,
        rows are the categories of ``a`` and columns those of ``b``, including categories without cells;
        labels that are not categorical are sorted.

    Returns
    -------
    Number of cells with both labels: rows by ``a``, columns by ``b``. Labels are converted to text.

    Raises
    ------
    ValueError
        If ``a`` and ``b`` differ in length, or in index if both are Series, or ``labels`` has duplicates.

    Examples
    --------
    >>> from scvi_cae.tl import contingency
    >>> contingency(["x", "x", "y", None], ["x", "y", "y", "y"]).to_numpy().tolist()
    [[1, 1], [0, 1]]
    """
    if isinstance(a, pd.Series) and isinstance(b, pd.Series) and not a.index.equals(b.index):
        raise ValueError(
            f"The indices of a ({len(a)} cells) and b ({len(b)} cells) differ. Align them: "
            "b.reindex(a.index)."
        )
    first, second = (pd.Series(as_text(x), dtype=object) for x in (a, b))
    if len(first) != len(second):
        raise ValueError(f"a has {len(first)} cells and b {len(second)}. Pass both labels of the same cells.")
    if labels is None:
        rows, columns = label_names(a), label_names(b)
    else:
        rows = columns = [str(label) for label in labels]
        if len(set(rows)) < len(rows):
            raise ValueError(f"labels={shorten(rows, 20)} has duplicates. Name each label once.")
    counts = np.zeros((len(rows), len(columns)), dtype=np.int64)
    i, j = category_codes(first, rows), category_codes(second, columns)
    known = (i >= 0) & (j >= 0)
    np.add.at(counts, (i[known], j[known]), 1)
    return pd.DataFrame(counts, index=pd.Index(rows, dtype=object), columns=pd.Index(columns, dtype=object))


def contingency_scores(table: pd.DataFrame | ArrayLike, factor: float = 1.0) -> ContingencyScores:
    """Score the agreement of the rows and columns of a contingency table.

    For cells labelled by two modalities, a type is reliable if both modalities identify it (Gala et al. 2021,
    Fig. 3c).

    Parameters
    ----------
    table
        Counts, such as those of :func:`contingency`: a data frame whose rows and columns have the same names,
        in any order, or a square array, whose n-th row and n-th column are the same label.
    factor
        Minimum ratio of the diagonal to every other count in its row or column for a label to be reliable.

    Returns
    -------
    The scores. They do not depend on the order of the labels.

    Raises
    ------
    ValueError
        If the labels of rows and columns differ, a count is negative or missing, or ``factor`` is not
        positive.

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
                f"Rows and columns must have the same labels, each once, not {shorten(table.index)} and "
                f"{shorten(table.columns)}. List all labels: contingency(a, b, labels=...). To match rows "
                "and columns by position, pass table.to_numpy()."
            )
        names = list(table.index)
        x = table[names].to_numpy(dtype=float)
    else:
        x = np.asarray(table, dtype=float)
        names = list(range(len(x)))
    if x.ndim != 2 or x.shape[0] != x.shape[1] or not len(x):
        raise ValueError(f"The table has shape {x.shape}; it must be square, with at least one row.")
    if not np.isfinite(x).all() or (x < 0).any():
        raise ValueError("The counts of the table must be finite and at least 0.")
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
    """Match columns to rows one to one, maximising the number of cells in matched pairs (Hungarian method).

    Parameters
    ----------
    table
        Counts of reference labels (rows) by other labels (columns), such as those of :func:`contingency`. The
        numbers of rows and columns may differ.

    Returns
    -------
    The matched row of each column, in the order of rows. Columns without a match, or whose match has no
    cells, are left out.

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
