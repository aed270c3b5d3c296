"""Values that can be read but are probably not what was measured; each warning names the place and the fix."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.module import NARROW, OUTLIER, robust_limits

from ._rows import MAX_ROWS, dense, read_rows, row_chunks
from ._scan import origins

if TYPE_CHECKING:
    from ._scan import Scan

#: Ratio of a value to the typical greatest value of a feature beyond which it is reported, in a wide modality.
FAR_RATIO = 100.0
#: Number of cells with the same values that are no coincidence, and of features that may not all be discrete.
ALIKE_CELLS, ALIKE_FEATURES = 3, 5
#: Largest number of cells whose values are compared with the limits.
_MAX_CELLS = 10 * MAX_ROWS


class _Far(NamedTuple):
    """Values far outside the spread of their feature: their rows, columns, sizes, and how far outside they are."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    excess: np.ndarray


def warn_if_far(matrix: Any, scan: Scan, modality: str, cells: pd.Index, features: pd.Index) -> None:
    """Warn of values far outside the spread of their feature.

    Parameters
    ----------
    matrix
        ``(n_cells, n_features)`` matrix of the modality.
    scan
        Properties of the matrix.
    modality
        Key of the modality.
    cells, features
        Names of its rows and columns.

    Notes
    -----
    In a narrow modality the limits are :func:`~scvi_cae.module.robust_limits`. In a wide one, all of whose features
    are in the same unit, a value is far that exceeds 100 times the median of the features' greatest absolute values.
    """
    if matrix.shape[1] <= NARROW:
        far = _outside_limits(matrix, scan)
        what = f"more than {OUTLIER:g} robust standard deviations from the median of their feature"
        advice = "By default, models do not learn from them."
    else:
        far = _giants(matrix, scan)
        what = f"more than {FAR_RATIO:g} times the typical greatest value of a feature"
        advice = "Models take them as they are."
    if not len(far.rows):
        return
    shown = "; ".join(
        f"{str(features[far.columns[i]])!r} of cell {str(cells[far.rows[i]])!r} is {far.values[i]:g}"
        for i in np.argsort(-far.excess, kind="stable")[:3]
    )
    n_features, n_cells = len(np.unique(far.columns)), len(np.unique(far.rows))
    warnings.warn(
        f"Modality {modality!r}: {len(far.rows)} values, in {n_features} features and {n_cells} cells, are {what}: "
        f"{shown}. {advice} If they are failed measurements, replace them by NaN.",
        UserWarning,
        stacklevel=2,
    )


def _outside_limits(matrix: Any, scan: Scan) -> _Far:
    """Values outside the robust limits, of some cells if there are very many."""
    origin = origins(scan)
    rows = np.arange(0, matrix.shape[0], -(-matrix.shape[0] // _MAX_CELLS))
    values = dense(read_rows(matrix, rows, origin))
    lower, upper = robust_limits(values, OUTLIER)
    outside = np.fmax(lower - values, values - upper)
    row, column = np.nonzero(outside > 0)
    found = values[row, column] + (0.0 if origin is None else origin[column])
    return _Far(rows[row], column, found, outside[row, column] / (upper - lower)[column])


def _giants(matrix: Any, scan: Scan) -> _Far:
    """Values that are much larger than the greatest values of most features."""
    size = np.fmax(np.abs(scan.low), np.abs(scan.high))
    limit = FAR_RATIO * np.nanmedian(size)
    columns = np.flatnonzero(size > limit) if limit > 0 else np.empty(0, dtype=np.int64)
    rows, places, values = [np.empty(0, dtype=np.int64)], [columns[:0]], [np.empty(0)]
    for start, block in row_chunks(matrix) if len(columns) else ():
        part = dense(block[:, columns])
        row, column = np.nonzero(np.abs(part) > limit)
        rows.append(row + start)
        places.append(columns[column])
        values.append(part[row, column])
    found = np.concatenate(values)
    return _Far(np.concatenate(rows), np.concatenate(places), found, np.abs(found))


def warn_if_alike(scan: Scan, modality: str, cells: pd.Index, n_features: int) -> None:
    """Warn of cells with the same values in every feature, such as failed measurements filled with zeros.

    Parameters
    ----------
    scan
        Properties of the matrix.
    modality
        Key of the modality.
    cells
        Names of its cells.
    n_features
        Number of its features.
    """
    if n_features < ALIKE_FEATURES:
        return
    digests = pd.Series(scan.digests)[scan.measured]
    n_alike = digests.map(digests.value_counts())
    alike = np.flatnonzero(scan.measured)[(n_alike >= ALIKE_CELLS).to_numpy()]
    if len(alike):
        warnings.warn(
            f"Modality {modality!r}: {len(alike)} cells have exactly the same values as others in all {n_features} "
            f"features: {shorten(cells[alike])}. If their measurement failed and was filled with a number, replace it by NaN; "
            "if they are copies, keep one.",
            UserWarning,
            stacklevel=2,
        )
