"""Values that can be read but are probably not what was measured; each warning names the place and the fix."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import shorten
from scvi_cae.module import NARROW, robust_limits

from ._rows import MAX_ROWS, read_rows
from ._scan import origins

if TYPE_CHECKING:
    from ._scan import Scan

#: Robust standard deviations beyond which a value is reported.
FAR = 8.0
#: Ratio of a value to the typical greatest value of a feature beyond which it is reported, in a wide modality.
FAR_RATIO = 100.0
#: Number of cells with the same values that are no coincidence, and of features that may not all be discrete.
ALIKE_CELLS, ALIKE_FEATURES = 3, 5
#: Largest number of cells whose values are compared with the limits.
_MAX_CELLS = 10 * MAX_ROWS


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
    shift = np.zeros(len(features))
    if matrix.shape[1] <= NARROW:
        origin = origins(scan)
        rows = np.arange(0, matrix.shape[0], -(-matrix.shape[0] // _MAX_CELLS))
        values = read_rows(matrix, rows, origin)
        values = values.toarray() if sparse.issparse(values) else np.asarray(values)
        shift = shift if origin is None else origin
        lower, upper = robust_limits(values, FAR)
        row, column = np.nonzero((values < lower) | (values > upper))
        what = f"more than {FAR:g} robust standard deviations from the median of their feature"
    else:
        size = np.fmax(np.abs(scan.low), np.abs(scan.high))
        limit = FAR_RATIO * np.nanmedian(size)
        columns = np.flatnonzero(size > limit) if limit > 0 else np.empty(0, dtype=int)
        if not len(columns):
            return
        rows = np.arange(matrix.shape[0])
        values = read_rows(matrix, rows)[:, columns]
        values = values.toarray() if sparse.issparse(values) else np.asarray(values)
        row, column = np.nonzero(np.abs(values) > limit)
        what = f"more than {FAR_RATIO:g} times the typical greatest value of a feature"
        features = features[columns]
    if not len(row):
        return
    order = np.argsort(-np.abs(values[row, column]), kind="stable")[:3]
    shown = "; ".join(
        f"{str(features[column[i]])!r} of cell {str(cells[rows[row[i]]])!r} is {values[row[i], column[i]] + shift[column[i]]:g}"
        for i in order
    )
    n_features, n_cells = len(np.unique(column)), len(np.unique(row))
    warnings.warn(
        f"Modality {modality!r}: {len(row)} values, in {n_features} features and {n_cells} cells, are {what}: {shown}. "
        "If they are failed measurements, replace them by NaN.",
        UserWarning,
        stacklevel=2,
    )


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
