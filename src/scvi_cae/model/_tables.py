"""Tables of predictions, wide and tidy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence


def quantile_table(
    values: np.ndarray, quantiles: np.ndarray, features: Sequence[str], cells: pd.Index
) -> pd.DataFrame:
    """``(n_cells, n_features, n_quantiles)`` values as a float32 data frame with columns by feature and quantile."""
    columns = pd.MultiIndex.from_product([list(features), quantiles.tolist()], names=["feature", "quantile"])
    return pd.DataFrame(values.reshape(len(values), len(columns)), index=cells, columns=columns)


def tidy_table(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each value of a table of cells, which a csv file holds without loss: one line of headings, no index.

    Parameters
    ----------
    table
        Cells by features, or by features and quantiles.

    Returns
    -------
    Data frame with columns ``cell``, ``feature``, ``quantile`` if there are any, and ``value``.
    """
    levels = table.columns.to_frame(index=False)
    if not isinstance(table.columns, pd.MultiIndex):
        levels.columns = ["feature"]
    return pd.DataFrame(
        {
            "cell": np.repeat(table.index.to_numpy(), table.shape[1]),
            **{name: np.tile(level.to_numpy(), len(table)) for name, level in levels.items()},
            "value": table.to_numpy().ravel(),
        }
    )
