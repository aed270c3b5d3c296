"""Categorical annotations of cells: technical batches, and labels as data of an arm."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._aligned import Aligned, CellBlock

if TYPE_CHECKING:
    from collections.abc import Sequence


#: Words that ``astype(str)`` makes of missing values.
MISSING_WORDS = ("nan", "NaN", "None", "<NA>", "NaT")


def category_names(column: pd.Series) -> pd.Series:
    """Names of categories as text.

    Parameters
    ----------
    column
        ``(n_cells,)`` categories of any type.

    Returns
    -------
    Their names, ``None`` where missing or blank. Whole numbers have no decimals, since pandas converts 3 to 3.0 where
    another cell's value is missing.
    """

    def name(value: Any) -> str | None:
        if pd.isna(value) or not str(value).strip():
            return None
        return (
            str(int(value))
            if isinstance(value, (float, np.floating)) and float(value).is_integer()
            else str(value)
        )

    return pd.Series([name(value) for value in column.tolist()], index=column.index, dtype=object)


def label_names(column: pd.Series) -> pd.Series:
    """:func:`category_names`, ``None`` also for a word that ``astype(str)`` makes of a missing value.

    Parameters
    ----------
    column
        ``(n_cells,)`` categories of any type.
    """
    names = category_names(column)
    return names.where(~names.isin(MISSING_WORDS), None)


def category_codes(column: pd.Series, categories: Sequence[str]) -> np.ndarray:
    """Number of each cell's category.

    Parameters
    ----------
    column
        ``(n_cells,)`` categories of any type, missing where unknown.
    categories
        The categories.

    Returns
    -------
    ``(n_cells,)``, -1 where a category is missing or not among ``categories``.
    """
    numbers = {name: number for number, name in enumerate(categories)}
    # None is not among them.
    return np.array([numbers.get(name, -1) for name in label_names(column)], dtype=np.int64)


def indicators(codes: np.ndarray, n_categories: int) -> np.ndarray:
    """Categories as rows of 0 and 1.

    Parameters
    ----------
    codes
        ``(n_cells,)`` number of each cell's category; -1 for a row of 0.
    n_categories
        Number of categories.

    Returns
    -------
    ``(n_cells, n_categories)`` float32 array.
    """
    out = np.zeros((len(codes), n_categories), dtype=np.float32)
    known = np.flatnonzero(codes >= 0)
    out[known, codes[known]] = 1
    return out


class AlignedLabels(Aligned):
    """Labels of cells as indicators: one feature for each class.

    Parameters
    ----------
    codes
        ``(n_cells,)`` number of each cell's class, -1 where unknown.
    n_classes
        Number of classes.
    """

    def __init__(self, codes: np.ndarray, n_classes: int) -> None:
        self._codes = codes
        self.n_features = n_classes

    @cached_property
    def present(self) -> np.ndarray:
        """Boolean ``(n_cells,)``: which cells have a label."""
        return self._codes >= 0

    @property
    def rows(self) -> np.ndarray:
        """``(n_cells,)`` position of each cell, -1 if it has no label."""
        return np.where(self.present, np.arange(len(self._codes)), -1)

    def read(self, cells: np.ndarray) -> CellBlock:
        """Indicators of the cells that have a label: 1 for a cell's class, 0 for the others."""
        cells = np.unique(cells)
        cells = cells[self.present[cells]]
        return CellBlock(cells, indicators(self._codes[cells], self.n_features), None, self.n_features)
