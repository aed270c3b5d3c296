"""Conditions that the values of a matrix must meet; each message names the place and the fix."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata.abc import CSCDataset
from scipy import sparse

from scvi_cae._arguments import shorten

from ._checks import describe

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from anndata import AnnData

    from ._scan import Scan

#: Least maximum of whole numbers that are taken for counts rather than, for example, numbers of branches.
_COUNTS_MAX = 50


def check_numbers(
    matrix: Any, modality: str | None, layer: str | None = None, features: pd.Index | None = None
) -> None:
    """Check that a matrix holds real numbers and that its rows can be read.

    Parameters
    ----------
    matrix
        The matrix.
    modality, layer
        Its names for the message.
    features
        Names of its columns, to name those that hold other things than numbers.
    """
    name = describe(modality, layer)
    if type(matrix).__module__.partition(".")[0] == "dask":
        raise TypeError(
            f"{name} is a dask array. Use the array on disk itself: "
            "AnnData(anndata.io.sparse_dataset(group['X']), obs=..., var=...), or group['X'] if it is dense."
        )
    dtype = getattr(matrix, "dtype", None)
    if dtype is None or dtype.kind not in "fiub":
        adata = "adata" if modality is None else f"mdata[{modality!r}]"
        frame = f"{adata}.to_df({'' if layer is None else repr(layer)})"
        code = f"{adata}.X" if layer is None else f"{adata}.layers[{layer!r}]"
        raise TypeError(
            f"{name} must hold real numbers, not {dtype}{_strange_values(matrix, features)}. Convert it, with NaN for "
            f"missing values and for text: {code} = {frame}.apply(pandas.to_numeric, errors='coerce')"
            ".to_numpy('float64', na_value=numpy.nan)."
        )
    if isinstance(matrix, CSCDataset):
        raise ValueError(
            f"{name} is stored by features on disk (CSC), so that no cell can be read without reading "
            "all. Read it into memory (adata.to_memory()), and write it by cells if it does not stay there: "
            "adata.X = adata.X.tocsr()."
        )


def _strange_values(matrix: Any, features: pd.Index | None) -> str:
    """Which columns of a matrix of objects hold what other than numbers, in words."""
    if features is None or not isinstance(matrix, np.ndarray) or matrix.ndim != 2:
        return ""
    found = {}
    for feature, column in zip(features, matrix.T, strict=True):
        strange = [x for x in column.tolist() if isinstance(x, bool) or not isinstance(x, Real)]
        if strange:
            found[str(feature)] = strange[0]
    parts = [f"{feature!r} has {value!r}" for feature, value in list(found.items())[:5]]
    more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    return f" ({'; '.join(parts)}{more})" if parts else ""


def check_finite(scan: Scan, modality: str, obs_names: pd.Index, var_names: pd.Index) -> None:
    """Check that a matrix holds finite numbers or NaN."""
    if scan.first_infinite is not None:
        row, column = scan.first_infinite
        raise infinite_error(modality, scan.n_infinite, obs_names[row], var_names[column])


def check_finite_in_memory(matrix: Any, adata: AnnData, modality: str | None, layer: str | None) -> None:
    """Check that a matrix in memory holds finite numbers or NaN, in its own precision.

    Parameters
    ----------
    matrix
        ``(n_cells, n_features)`` dense or sparse matrix.
    adata
        What it is of: names of cells and features.
    modality
        Key of the modality; ``None`` for an AnnData by itself.
    layer
        Key of the layer; ``None`` for ``X``.

    Raises
    ------
    ValueError
        If a value is infinite; the first is named.
    """
    infinite = np.isinf(matrix.data if sparse.issparse(matrix) else matrix)
    if not infinite.any():
        return
    if sparse.issparse(matrix):
        rows, columns = (index[infinite] for index in matrix.tocoo().coords)  # in the order of matrix.data
    else:
        rows, columns = np.nonzero(infinite)
    raise infinite_error(modality, len(rows), adata.obs_names[rows[0]], adata.var_names[columns[0]], layer)


def infinite_error(
    modality: str | None, n: int, cell: object, feature: object, layer: str | None = None
) -> ValueError:
    """The error for ``n`` infinite values, of which the first is of ``cell`` and ``feature``."""
    return ValueError(
        f"{describe(modality, layer)} has {n} infinite values; the first: cell {str(cell)!r}, feature "
        f"{str(feature)!r}. Replace them by NaN if they are missing. A value beyond 1e15 counts as infinite."
    )


def check_features_vary(scan: Scan, modality: str, var_names: pd.Index) -> None:
    """Check that every feature is measured in some cell, and some feature varies; warn of those that do not."""
    missing, constant = np.isnan(scan.low), scan.low == scan.high
    if missing.any():
        raise ValueError(
            f"Modality {modality!r}: {missing.sum()} of {len(var_names)} features are measured in no cell (all NaN): "
            f"{shorten(var_names[missing])}. Remove them: keep = ~numpy.isnan(mdata[{modality!r}].X).all(0); "
            f"mdata.mod[{modality!r}] = mdata[{modality!r}][:, keep].copy(); mdata.update()."
        )
    if constant.all():
        raise ValueError(
            f"Modality {modality!r}: every feature is the same in every cell, so that nothing can be learnt from it. "
            "Leave it out: modalities=[...]."
        )
    if constant.any():
        warnings.warn(
            f"Modality {modality!r}: {constant.sum()} of {len(var_names)} features are the same in every cell: "
            f"{shorten(var_names[constant])}. They inform nothing, and are predicted as their constant.",
            UserWarning,
            stacklevel=2,
        )


def warn_if_unmeasured(measured: np.ndarray, modality: str, obs_names: pd.Index) -> None:
    """Warn of cells that are listed in a modality but have no value in it."""
    if not measured.all():
        warnings.warn(
            f"Modality {modality!r}: {np.sum(~measured)} cells have no value (all NaN) and are treated "
            f"as lacking it: {shorten(obs_names[~measured])}.",
            UserWarning,
            stacklevel=2,
        )


def check_counts(scan: Scan, modality: str, layer: str | None, layers: Iterable[str | None]) -> None:
    """Check that values are raw counts.

    Parameters
    ----------
    scan
        Properties of the matrix.
    modality
        Key of the modality.
    layer
        Layer that is read, ``None`` for ``X``.
    layers
        Layers of the modality.
    """
    lowest = np.nanmin(scan.low) if len(scan.low) else 0
    if not scan.whole or lowest < 0:
        matrix = "X" if layer is None else f"layer {layer!r}"
        code = f"mdata[{modality!r}].X" if layer is None else f"mdata[{modality!r}].layers[{layer!r}]"
        advice = "Normalised values cannot be turned back into counts by rounding."
        if lowest >= 0:
            advice = f"Expected counts, as of RSEM or kallisto, can be rounded: {code} = numpy.rint({code})."
        what = f"negative values (down to {lowest:g})" if lowest < 0 else "values that are not whole numbers"
        others = [key for key in layers if key is not None and key != layer]
        elsewhere = ""
        if others:
            elsewhere = f"Name the layer that holds the counts: layers={{{modality!r}: {others[0]!r}}}. "
        elif layer is None:
            elsewhere = f"Keep the counts in a layer and name it: layers={{{modality!r}: 'counts'}}. "
        raise ValueError(
            f"Modality {modality!r}: likelihood 'negative_binomial' is for raw counts, but {matrix} has {what}. "
            f"{elsewhere}{advice}"
        )


def warn_if_counts(scan: Scan, modality: str) -> None:
    """Warn where log-transformed values are expected and the matrix holds counts."""
    if scan.whole and not scan.gaps and np.min(scan.low) >= 0 and np.max(scan.high) >= _COUNTS_MAX:
        warnings.warn(
            f"Modality {modality!r} looks like raw counts (whole numbers from 0 to {np.max(scan.high):g}), "
            "but the model fits standardised values by squared error. Normalise first: "
            "sc.pp.normalize_total(adata, target_sum=1e6); sc.pp.log1p(adata). Or fit the counts: "
            f"setup_mudata(mdata, likelihoods={{{modality!r}: 'negative_binomial'}}).",
            UserWarning,
            stacklevel=2,
        )
