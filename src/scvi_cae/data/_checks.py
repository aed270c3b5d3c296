"""Conditions that a MuData or an AnnData must meet; each message names the place and the fix.

Functions take the key of the modality that messages name: ``"rna"`` becomes "Modality 'rna'", and ``None``
becomes "The AnnData", for an AnnData outside a MuData.
"""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from mudata import MuData
from scipy import sparse

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData


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
