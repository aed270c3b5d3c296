"""The matrix that a function works on: ``X`` or a layer of an AnnData, or of a modality of a MuData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from mudata import MuData
from scipy import sparse

from scvi_cae._arguments import shorten
from scvi_cae.data import check_mudata, positions
from scvi_cae.data._checks import (
    check_adata_not_view,
    check_features_unique,
    check_in_memory,
    check_known,
    check_matrix_exists,
    check_not_backed,
    describe,
    matrix_code,
)
from scvi_cae.data._value_checks import check_finite_in_memory, check_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd


@dataclass(frozen=True)
class Target:
    """The AnnData to work on, and where it is from.

    Parameters
    ----------
    data
        The object that the user passed, or its copy.
    adata
        The AnnData: ``data`` itself, or one of its modalities.
    modality
        Key of the modality, ``None`` if ``data`` is an AnnData.
    layer
        Layer to work on, ``None`` for ``X``.
    """

    data: AnnData | MuData
    adata: AnnData
    modality: str | None
    layer: str | None

    @property
    def name(self) -> str:
        """What messages call the AnnData."""
        return describe(self.modality)

    def read(self) -> Any:
        """The matrix, dense or sparse.

        Raises
        ------
        TypeError
            If it is not in memory or does not hold real numbers.
        ValueError
            If a value is infinite.
        """
        matrix = self.adata.X if self.layer is None else self.adata.layers[self.layer]
        check_in_memory(matrix, self.modality, self.layer)
        check_numbers(matrix, self.modality, self.layer)
        check_finite_in_memory(matrix, self.adata, self.modality, self.layer)
        return matrix

    def read_dense(self) -> np.ndarray:
        """The matrix, which must be dense."""
        matrix = self.read()
        if sparse.issparse(matrix):
            code = matrix_code(self.layer)
            raise TypeError(
                f"{describe(self.modality, self.layer)} is sparse, but features with missing values or "
                f"features to be centred need a dense matrix: {code} = {code}.toarray()."
            )
        return matrix

    def write(self, matrix: Any) -> None:
        """Replace the matrix."""
        if self.layer is None:
            self.adata.X = matrix
        else:
            self.adata.layers[self.layer] = matrix

    def positions(self, cells: Sequence[int] | np.ndarray | None) -> np.ndarray:
        """Positions of the cells to fit on: all by default, at least one, no duplicates."""
        n_cells = self.adata.n_obs
        if cells is None:
            chosen = np.arange(n_cells)
        else:
            chosen = positions(cells, n_cells, f"cells (of {self.name[0].lower() + self.name[1:]})")
        if not len(chosen):
            raise ValueError(f"{self.name}: no cells to fit on. Choose others: cells=...")
        duplicates = np.flatnonzero(np.bincount(chosen, minlength=n_cells) > 1)
        if len(duplicates):
            raise ValueError(
                f"{self.name}: cells names positions {shorten(duplicates)} more than once. Name each cell "
                "once."
            )
        return chosen

    def var_column(self, key: str, argument: str) -> pd.Series:
        """A column of ``.var``, which the user names in ``argument``."""
        if key not in self.adata.var:
            raise KeyError(
                f"{self.name}: no column {key!r} in .var ({argument}); it has "
                f"{shorten(self.adata.var.columns, 20) or 'none'}."
            )
        return self.adata.var[key]

    def check_new(self, var: Iterable[str] = (), uns: Iterable[str] = (), *, why: str) -> None:
        """Check that no key would be overwritten.

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

    def check_complete(self, values: Any, fix: str) -> None:
        """Check that a matrix of this AnnData's features, dense or sparse, has no missing value (NaN)."""
        missing = np.isnan(values.data if sparse.issparse(values) else values)
        if missing.any():
            columns = stored_columns(values)[missing] if sparse.issparse(values) else np.nonzero(missing)[1]
            features = self.adata.var_names[np.unique(columns)]
            raise ValueError(
                f"{self.name}: {len(features)} features have missing values (NaN): {shorten(features)}. {fix}"
            )

    def check_measured(self, values: np.ndarray, features: np.ndarray, fix: str) -> None:
        """Check that each feature of a mask has a value in ``values``, the matrix of the fitted cells."""
        unmeasured = features & np.isnan(values).all(axis=0)
        if unmeasured.any():
            raise ValueError(
                f"{self.name}: features without a value in the {len(values)} fitted cells: "
                f"{shorten(self.adata.var_names[unmeasured])}. Drop them (drop_features), or {fix}"
            )


def open_target(data: AnnData | MuData, modality: str | None, layer: str | None, copy: bool) -> Target:
    """Find the AnnData to work on, and check its structure.

    Parameters
    ----------
    data
        An AnnData, or a MuData that has ``modality``.
    modality
        Key of the modality; ``None`` for an AnnData.
    layer
        Layer to work on, ``None`` for ``X``.
    copy
        Whether to work on a copy of ``data``.

    Raises
    ------
    TypeError
        If ``data`` is neither an AnnData nor a MuData.
    ValueError
        If the modality or the layer does not exist, ``data`` is backed by a file or a view that is not
        copied, or it has no features or duplicate feature names.
    """
    if isinstance(data, MuData):
        check_mudata(data)
        if modality is None:
            raise ValueError(f"Name the modality: modality=...; the MuData has {shorten(list(data.mod))}.")
        check_known(data, [modality])
        adata = data.mod[modality]
    elif isinstance(data, AnnData):
        if modality is not None:
            raise ValueError(f"modality={modality!r} is for a MuData, but this is an AnnData. Leave it out.")
        adata = data
    else:
        raise TypeError(f"Expected an AnnData or a MuData, got {type(data).__name__}.")

    check_not_backed(adata, modality)
    check_matrix_exists(adata, modality, layer, "layer=...")
    if not adata.n_vars:
        raise ValueError(f"{describe(modality)} has no features.")
    check_features_unique(adata, modality)
    if copy:
        data = data.copy()
        adata = data.mod[modality] if isinstance(data, MuData) else data
    else:
        # Writing to a view would silently copy it, and a MuData would not hold the copy.
        check_adata_not_view(
            adata,
            modality,
            "It cannot be changed in place. Copy it first (.copy()), or get a changed copy by copy=True.",
        )
    return Target(data, adata, modality, layer)


def stored_columns(values: Any) -> np.ndarray:
    """Column of each stored value of a CSR or CSC matrix, in the order of ``values.data``."""
    if values.format == "csr":
        return values.indices
    return np.repeat(np.arange(values.shape[1]), np.diff(values.indptr))


def floating(dtype: np.dtype) -> np.dtype:
    """Type of results for values of ``dtype``: floats keep it, others become float32, as in scanpy."""
    return dtype if dtype.kind == "f" else np.dtype(np.float32)
