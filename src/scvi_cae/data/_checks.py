"""Conditions that a MuData or an AnnData must meet; each message names the place and the fix.

Functions take the key of the modality that messages name: ``"rna"`` becomes "Modality 'rna'", and ``None``
becomes "The AnnData", for an AnnData outside a MuData.
"""

from __future__ import annotations

import warnings
from itertools import combinations
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata.abc import CSCDataset
from mudata import MuData
from scipy import sparse

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from anndata import AnnData

    from ._scan import Scan

#: Least maximum of whole numbers that are taken for counts rather than, for example, numbers of branches.
_COUNTS_MAX = 50


def describe(modality: str | None, layer: str | None = None) -> str:
    """What messages call a matrix: ``"Modality 'rna' (layer 'counts')"``, or ``"The AnnData"``."""
    name = "The AnnData" if modality is None else f"Modality {modality!r}"
    return name if layer is None else f"{name} (layer {layer!r})"


def matrix_code(layer: str | None) -> str:
    """Python expression for a matrix, for a message: ``"adata.X"`` or ``"adata.layers['counts']"``."""
    return "adata.X" if layer is None else f"adata.layers[{layer!r}]"


def check_unique(names: pd.Index, what: str, kind: str, fix: str) -> None:
    """Check that names are unique.

    Parameters
    ----------
    names
        Names of cells or features.
    what
        What has these names, for the message.
    kind
        ``"cell"`` or ``"feature"``.
    fix
        What to do if they are not, in a sentence.
    """
    if not names.is_unique:
        duplicated = names[names.duplicated()].unique()
        raise ValueError(f"{what} has duplicate {kind} names: {shorten(duplicated)}. {fix}")


def check_mudata(mdata: MuData) -> None:
    """Check that ``mdata`` is a MuData of cells with unique names."""
    if not isinstance(mdata, MuData):
        raise TypeError(
            f"Expected a MuData, got {type(mdata).__name__}. Wrap modalities by name, also a single one: "
            'mudata.MuData({"rna": adata}).'
        )
    if not mdata.mod:
        raise ValueError(
            "The MuData has no modalities. If it was read from a file, is that a MuData's (.h5mu)?"
        )
    axis = getattr(mdata, "axis", 0)
    if axis != 0:
        what = {1: "share features, not cells", -1: "are not matched by cells"}.get(
            axis, "are not matched by cells"
        )
        raise ValueError(f"The MuData's modalities {what} (axis={axis}); build it with axis=0.")
    nested = [name for name, part in mdata.mod.items() if isinstance(part, MuData)]
    if nested:
        raise ValueError(
            f"Modality {shorten(nested)} is itself a MuData. Put its modalities beside the others: "
            f"mudata.MuData({{**mdata.mod, **mdata[{nested[0]!r}].mod}}), without {nested[0]!r}."
        )
    check_unique(
        mdata.obs_names,
        "The MuData",
        "cell",
        "Make cell names unique in every modality and rebuild the MuData.",
    )


def check_not_view(mdata: MuData) -> None:
    """Refuse views: their values may change, or be copied, behind the model's back."""
    if mdata.is_view:
        raise ValueError("The MuData is a view of another one. Copy it: mdata = mdata.copy().")
    for name, adata in mdata.mod.items():
        check_adata_not_view(adata, name, "Copy it before adding it to the MuData: adata = adata.copy().")


def check_adata_not_view(adata: AnnData, modality: str | None, fix: str) -> None:
    """Refuse an AnnData that is a view."""
    if adata.is_view:
        raise ValueError(f"{describe(modality)} is a view of other data. {fix}")


def check_known(mdata: MuData, modalities: Sequence[str]) -> None:
    """Check that a MuData has these modalities."""
    unknown = [name for name in modalities if name not in mdata.mod]
    if unknown:
        raise ValueError(f"No modality {shorten(unknown)} in the MuData; it has {shorten(list(mdata.mod))}.")


def check_modalities(
    mdata: MuData, modalities: Sequence[str], layers: Mapping[str, str], labels: Sequence[str] = ()
) -> None:
    """Check the names of modalities, layers and labels that a user asks for.

    Parameters
    ----------
    mdata
        The MuData.
    modalities
        Keys of the modalities to couple.
    layers
        Layer of each modality that is not read from ``X``.
    labels
        Columns of labels, each of which is a modality, too.

    Raises
    ------
    ValueError
        If modalities and labels are fewer than two, or none is a matrix; if a key is unknown
        or named twice.
    """
    available = list(mdata.mod)
    check_known(mdata, modalities)
    if len(set(modalities)) < len(modalities):
        raise ValueError(f"A modality is named twice in modalities={list(modalities)}.")
    if len({*mdata.mod, *labels}) < len(mdata.mod) + len(labels):
        raise ValueError(
            f"labels_key={list(labels)} names a column twice, or one that has the name of a modality "
            f"({shorten(available)}). Rename the column."
        )
    if not modalities or len(modalities) + len(labels) < 2:
        raise ValueError(
            f"A coupled autoencoder needs at least two modalities, got {shorten(modalities) or 'none'}. "
            f"The MuData has {shorten(available)}."
        )
    stray = [name for name in layers if name not in modalities]
    if stray:
        raise ValueError(
            f"layers names {shorten(stray)}, which is not among the modalities {shorten(modalities)}."
        )


def check_modality(mdata: MuData, modality: str, layer: str | None) -> None:
    """Check names and shape of one modality, and that the MuData's index of cells is up to date."""
    adata = mdata.mod[modality]
    check_matrix_exists(adata, modality, layer, f"layers={{{modality!r}: ...}}")
    check_unique(
        adata.obs_names, describe(modality), "cell", f"See mdata[{modality!r}].obs_names_make_unique()."
    )
    check_features_unique(adata, modality)
    check_cells_known(mdata, modality)


def check_matrix_exists(adata: AnnData, modality: str | None, layer: str | None, argument: str) -> None:
    """Check that an AnnData has the matrix to read.

    Parameters
    ----------
    adata
        The AnnData.
    modality
        Its key in a MuData, ``None`` outside one.
    layer
        Layer to read, ``None`` for ``X``.
    argument
        How the user names a layer, such as ``"layer=..."``, for the message.
    """
    if layer is not None and layer not in adata.layers:
        known = [name for name in adata.layers if name is not None]  # anndata 0.13 lists X too
        raise ValueError(
            f"{describe(modality)} has no layer {layer!r}; its layers: {shorten(known) or 'none'}."
        )
    if layer is None and adata.X is None:
        raise ValueError(f"{describe(modality)} has no X; fill it, or name a layer: {argument}.")


def check_features_unique(adata: AnnData, modality: str | None) -> None:
    """Check that feature names are unique."""
    code = "adata" if modality is None else f"mdata[{modality!r}]"
    check_unique(adata.var_names, describe(modality), "feature", f"See {code}.var_names_make_unique().")


def check_cells_known(mdata: MuData, modality: str) -> None:
    """Check that a MuData lists all cells of a modality."""
    unknown = mdata.mod[modality].obs_names.difference(mdata.obs_names)
    if len(unknown):
        raise ValueError(
            f"Cells of modality {modality!r} are not in mdata.obs: {shorten(unknown)}. Run mdata.update() "
            "after changing a modality."
        )


def check_not_empty(mdata: MuData, modality: str) -> None:
    """Check that a modality has cells and features to learn from."""
    n_cells, n_features = mdata.mod[modality].shape
    if n_cells == 0 or n_features == 0:
        raise ValueError(
            f"Modality {modality!r} is empty ({n_cells} cells, {n_features} features). Leave it out: "
            "modalities=[...]."
        )


def check_not_backed(adata: AnnData, modality: str | None) -> None:
    """Refuse an AnnData that is backed by a file."""
    if adata.isbacked:
        raise ValueError(
            f"{describe(modality)} is backed by a file. Read it into memory: adata = adata.to_memory()."
        )


def check_in_memory(matrix: Any, modality: str | None, layer: str | None) -> None:
    """Check that a matrix is a numpy array or a scipy sparse matrix, without a mask."""
    if isinstance(matrix, np.ma.MaskedArray) or not (
        isinstance(matrix, np.ndarray) or sparse.issparse(matrix)
    ):
        raise TypeError(
            f"{describe(modality, layer)} is a {type(matrix).__name__}. Make it a numpy array with NaN for "
            "missing values, or a scipy sparse matrix."
        )


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


def check_paired(present: Mapping[str, np.ndarray], hint: str = "") -> list[tuple[str, str]]:
    """Check that every modality shares cells with another one.

    Parameters
    ----------
    present
        Boolean mask over all cells for each modality and column of labels.
    hint
        What may be wrong with names of cells, for the message.

    Returns
    -------
    Pairs that share cells.

    Raises
    ------
    ValueError
        If a modality shares no cell with another.

    Warns
    -----
    UserWarning
        If some pairs share no cell.
    """
    all_pairs = list(combinations(present, 2))
    paired = [(i, j) for i, j in all_pairs if (present[i] & present[j]).any()]
    for name in present:
        if not any(name in pair for pair in paired):
            raise ValueError(
                f"No cell of modality {name!r} has another modality: nothing couples it to the others. Cells "
                "are matched by obs_names; "
                + (hint or f"check that {shorten(list(present))} use the same ones in mdata[...].obs_names.")
            )
    unpaired = [pair for pair in all_pairs if pair not in paired]
    if unpaired:
        warnings.warn(
            "No cell has both modalities of "
            + " or ".join(f"{i!r} and {j!r}" for i, j in unpaired)
            + "; they are coupled only through other modalities.",
            UserWarning,
            stacklevel=2,
        )
    return paired
