"""What a function works on: one matrix of an AnnData, which may be a modality of a MuData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from mudata import MuData
from scipy import sparse

from scvi_cae._arguments import shorten
from scvi_cae.data import check_mudata, positions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd


@dataclass(frozen=True)
class Target:
    """The AnnData to work on, and where it comes from.

    Parameters
    ----------
    data
        What the user gave, or its copy.
    adata
        The AnnData: ``data`` itself, or one of its modalities.
    layer
        Layer to work on, ``None`` for ``X``.
    name
        What errors call the AnnData.
    """

    data: AnnData | MuData
    adata: AnnData
    layer: str | None
    name: str

    def read(self) -> Any:
        """The matrix, dense or sparse: real numbers, none of them infinite.

        Raises
        ------
        TypeError
            If it is something else, or is not in memory.
        ValueError
            If a value is infinite.
        """
        values = self.adata.X if self.layer is None else self.adata.layers[self.layer]
        matrix = "X" if self.layer is None else f"layers[{self.layer!r}]"
        if isinstance(values, np.ma.MaskedArray) or not (
            isinstance(values, np.ndarray) or sparse.issparse(values)
        ):
            raise TypeError(
                f"{self.name}: {matrix} is a {type(values).__name__}. Make it a numpy array with NaN for missing "
                "values, or a scipy sparse matrix."
            )
        if values.dtype.kind not in "fiub":
            raise TypeError(
                f"{self.name}: {matrix} must hold real numbers, not {values.dtype}. Convert it: "
                f"adata.{matrix} = adata.{matrix}.astype('float32')."
            )
        infinite = np.isinf(values.data if sparse.issparse(values) else values)
        if infinite.any():
            column = stored_columns(values)[infinite] if sparse.issparse(values) else np.where(infinite)[1]
            raise ValueError(
                f"{self.name}: {matrix} has {infinite.sum()} infinite values, in "
                f"{shorten(self.adata.var_names[np.unique(column)])}. Replace them by NaN if they are missing."
            )
        return values

    def read_dense(self) -> np.ndarray:
        """The matrix, which must be dense."""
        values = self.read()
        if sparse.issparse(values):
            matrix = "X" if self.layer is None else f"layers[{self.layer!r}]"
            raise TypeError(
                f"{self.name}: {matrix} is sparse, but features that may be missing or get centred need a dense "
                f"matrix: adata.{matrix} = adata.{matrix}.toarray()."
            )
        return values

    def write(self, values: Any) -> None:
        """Replace the matrix."""
        if self.layer is None:
            self.adata.X = values
        else:
            self.adata.layers[self.layer] = values

    def positions(self, cells: Sequence[int] | np.ndarray | None) -> np.ndarray:
        """Positions of the cells to fit on: all by default, at least one, none twice."""
        n_cells = self.adata.n_obs
        if cells is None:
            chosen = np.arange(n_cells)
        else:
            chosen = positions(cells, n_cells, f"cells (of {self.name[0].lower() + self.name[1:]})")
        if not len(chosen):
            raise ValueError(f"{self.name}: there are no cells to fit on. Choose others: cells=...")
        twice = np.flatnonzero(np.bincount(chosen, minlength=n_cells) > 1)
        if len(twice):
            raise ValueError(
                f"{self.name}: cells names positions {shorten(twice)} more than once. Name each cell once."
            )
        return chosen

    def var_column(self, key: str, argument: str) -> pd.Series:
        """A column of the features' annotations, which the user names in ``argument``."""
        if key not in self.adata.var:
            raise KeyError(
                f"{self.name}: no column {key!r} in .var ({argument}); there are: "
                f"{shorten(self.adata.var.columns, 20) or 'none'}."
            )
        return self.adata.var[key]

    def check_new(self, var: Iterable[str] = (), uns: Iterable[str] = (), *, why: str) -> None:
        """Check that nothing would be overwritten.

        Parameters
        ----------
        var, uns
            Keys that will be written.
        why
            What it means if they exist, and what to do.
        """
        taken = [f".var[{key!r}]" for key in var if key in self.adata.var]
        taken += [f".uns[{key!r}]" for key in uns if key in self.adata.uns]
        if taken:
            raise ValueError(f"{self.name} already has {', '.join(taken)}. {why}")


def open_target(data: AnnData | MuData, modality: str | None, layer: str | None, copy: bool) -> Target:
    """Find the AnnData to work on, and check what holds it.

    Parameters
    ----------
    data
        An AnnData, or a MuData of which ``modality`` is meant.
    modality
        Key of the modality; ``None`` for an AnnData.
    layer
        Layer to work on, ``None`` for ``X``.
    copy
        Work on a copy of ``data``.

    Raises
    ------
    TypeError
        If ``data`` is neither an AnnData nor a MuData.
    ValueError
        If the modality or the layer does not exist, ``data`` is a view or on disk, there are no features, or names of features are not
        unique.
    """
    if isinstance(data, MuData):
        check_mudata(data)
        if modality not in data.mod:
            problem = (
                "Name the modality to work on" if modality is None else f"There is no modality {modality!r}"
            )
            raise ValueError(f"{problem}: modality=...; the MuData has {shorten(list(data.mod))}.")
        adata, name = data.mod[modality], f"Modality {modality!r}"
    elif isinstance(data, AnnData):
        if modality is not None:
            raise ValueError(f"modality={modality!r} is for a MuData, but this is an AnnData. Leave it out.")
        adata, name = data, "The AnnData"
    else:
        raise TypeError(f"Expected an AnnData or a MuData, got {type(data).__name__}.")

    if adata.isbacked:
        raise ValueError(f"{name} is backed by a file. Read it into memory: adata.to_memory().")
    if layer is not None and layer not in adata.layers:
        known = [key for key in adata.layers if key is not None]  # anndata 0.13 lists X too
        raise ValueError(f"{name} has no layer {layer!r}; its layers: {shorten(known) or 'none'}.")
    if layer is None and adata.X is None:
        raise ValueError(f"{name} has no X. Fill it, or name a layer: layer=...")
    if not adata.n_vars:
        raise ValueError(f"{name} has no features.")
    if not adata.var_names.is_unique:
        duplicated = adata.var_names[adata.var_names.duplicated()].unique()
        raise ValueError(
            f"{name} has duplicate names of features: {shorten(duplicated)}. Make them unique: "
            "adata.var_names_make_unique()."
        )
    if copy:
        data = data.copy()
        adata = data.mod[modality] if isinstance(data, MuData) else data
    elif adata.is_view:
        # writing to a view would quietly make it a copy, also of a modality that its MuData does not hold
        raise ValueError(
            f"{name} is a view of other data, which cannot be changed in place. Copy it first "
            "(.copy()), or let copy=True return a changed copy."
        )
    return Target(data, adata, layer, name)


def stored_columns(values: Any) -> np.ndarray:
    """Column of each stored value of a CSR or CSC matrix, in the order of ``values.data``."""
    if values.format == "csr":
        return values.indices
    return np.repeat(np.arange(values.shape[1]), np.diff(values.indptr))


def floating(dtype: np.dtype) -> np.dtype:
    """What a matrix of ``dtype`` becomes if it cannot stay whole numbers: as in scanpy, single precision."""
    return dtype if dtype.kind == "f" else np.dtype(np.float32)
