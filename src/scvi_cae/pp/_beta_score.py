"""Genes that are on in some types and off in others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from scvi_cae._arguments import shorten
from scvi_cae.data import obs_column

from ._target import Target, open_target, stored_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_EPSILON = 1e-10  # published; a gene without differences has score 0
_MIN_SCORE = 0.4


def beta_score(
    data: AnnData | MuData,
    groupby: str,
    *,
    modality: str | None = None,
    layer: str | None = None,
    min_value: float = 0.0,
    min_score: float | None = None,
    n_top: int | None = None,
    cells: Sequence[int] | np.ndarray | None = None,
    key_added: str = "beta_score",
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Score how binary each gene is across types of cells, and select the best (Gala et al., 2021).

    With :math:`p_{tg}` the proportion of the cells of type :math:`t` in which gene :math:`g` exceeds
    ``min_value``, and :math:`d_{tug} = |p_{tg} - p_{ug}|`,

    .. math:: \beta_g = \frac{\sum_{t < u} d_{tug}^2}{\sum_{t < u} d_{tug} + \epsilon},

    :math:`\epsilon = 10^{-10}`: a mean of the differences in which large ones weigh more. It is 1 if every type
    has the gene in all of its cells or in none, and not every type the same; it is 0 if all types have it alike.
    Genes with a score above ``min_score`` are selected. Nothing is subset: ``rna =
    rna[:, rna.var["beta_score_selected"]].copy()`` does that, also of other cells.

    The score uses labels. Where labels of test cells are predicted later, give the training cells only.

    Parameters
    ----------
    data
        AnnData, or MuData of which ``modality`` is used. Cells by genes, dense or sparse (CSR, CSC), no value
        missing; raw counts, or any transform of them that keeps zero.
    groupby
        Column of types in ``.obs``; for a MuData, in ``mdata.obs``, or else in the ``.obs`` of a modality, matched
        by the names of cells. Cells without a type (missing) are left out. A type of few cells has rough
        proportions; set it to missing to leave it out.
    modality
        Key of the modality, for a MuData only.
    layer
        Layer to read; ``X`` by default.
    min_value
        Value above which a gene is on, at least 0. By default 0: any count.
    min_score
        Score above which a gene is selected; by default 0.4, as published.
    n_top
        Instead of those above ``min_score``, select this many genes of the highest scores; of equal ones, the
        first.
    cells
        Cells to compute the score of: positions among the modality's own cells, or a mask over them. All by
        default.
    key_added
        Key of what is written.
    copy
        Return a changed copy rather than work in place.

    Returns
    -------
    ``None``, or the copy. Written are

    ``.var[key_added]``
        Score of each gene, from 0 to 1.
    ``.var[f"{key_added}_selected"]``
        Boolean, which genes are selected.
    ``.uns[key_added]``
        The arguments; ``groups``, the types compared, as text; and ``n_cells``, how many cells each has.

    Raises
    ------
    KeyError
        If there is no column ``groupby``.
    ValueError
        If the cells have fewer than two types, a value is missing or infinite, no gene is selected, or a key to be
        written exists.

    References
    ----------
    Gala R, Budzillo A, Baftizadeh F, et al. Consistent cross-modal identification of cortical neurons with
    coupled autoencoders. Nature Computational Science 1, 120-127 (2021).
    https://doi.org/10.1038/s43588-021-00030-1. There, 1252 genes have a score above 0.4.

    Examples
    --------
    >>> import anndata, numpy as np, pandas as pd
    >>> from scvi_cae.pp import beta_score
    >>> rna = anndata.AnnData(
    ...     np.array([[5, 1, 3], [7, 0, 0], [0, 2, 1], [0, 0, 0]], dtype="float32"),
    ...     obs=pd.DataFrame({"type": ["Sst", "Sst", "Vip", "Vip"]}, index=["a", "b", "c", "d"]),
    ...     var=pd.DataFrame(index=["marker", "noise", "other"]),
    ... )
    >>> beta_score(rna, "type", cells=[0, 1, 2, 3])
    >>> rna.var["beta_score"].round(2).tolist()
    [1.0, 0.0, 0.0]
    >>> rna = rna[:, rna.var["beta_score_selected"]].copy()
    >>> rna.var_names.tolist()
    ['marker']
    """
    if min_score is not None and n_top is not None:
        raise ValueError("min_score and n_top are two ways to select genes. Give either.")
    if not min_value >= 0:
        raise ValueError(
            f"min_value={min_value} must be at least 0: a gene that was not detected has value 0."
        )
    target = open_target(data, modality, layer, copy)
    selected_key = f"{key_added}_selected"
    target.check_new(
        var=[key_added, selected_key],
        uns=[key_added],
        why="Delete these to compute them anew, or give another key_added.",
    )
    n_genes = target.adata.n_vars
    if n_top is not None and (not isinstance(n_top, (int, np.integer)) or not 1 <= n_top <= n_genes):
        raise ValueError(f"n_top={n_top} must be a whole number from 1 to {n_genes}, the number of genes.")
    types = _types(target, groupby)
    values = target.read()
    fit = target.positions(cells)

    codes, groups = pd.factorize(types.iloc[fit])
    if len(groups) < 2:
        raise ValueError(
            f"{target.name}: two types or more can be compared, but in {groupby!r} the {len(fit)} cells have "
            f"{'only ' + shorten(groups) if len(groups) else 'none'}. Choose other cells or another column."
        )
    n_cells = np.bincount(codes[codes >= 0])
    _check_measured(target, values)
    score = _beta(_proportions(values, [fit[codes == code] for code in range(len(groups))], min_value))

    if n_top is None:
        min_score = _MIN_SCORE if min_score is None else min_score
        selected = score > min_score
        if not selected.any():
            raise ValueError(
                f"{target.name}: no gene has a score above min_score={min_score}; the highest is "
                f"{score.max():.3g}, of {str(target.adata.var_names[score.argmax()])!r}. Lower it, or give n_top."
            )
        chosen_by = {"min_score": float(min_score)}
    else:
        selected = np.zeros(n_genes, dtype=bool)
        selected[np.argsort(-score, kind="stable")[:n_top]] = True
        chosen_by = {"n_top": int(n_top)}

    target.adata.var[key_added] = score
    target.adata.var[selected_key] = selected
    target.adata.uns[key_added] = {
        "groupby": groupby,
        "min_value": float(min_value),
        **chosen_by,
        "groups": np.array([str(group) for group in groups], dtype=object),
        "n_cells": n_cells,
    }
    return target.data if copy else None


def _types(target: Target, groupby: str) -> pd.Series:
    """Type of each cell of the AnnData."""
    if isinstance(target.data, MuData):
        strange = target.adata.obs_names.difference(target.data.obs_names)
        if len(strange):
            raise ValueError(
                f"{target.name}: cells are not in mdata.obs: {shorten(strange)}. Run mdata.update()."
            )
        return obs_column(target.data, groupby).loc[target.adata.obs_names]
    if groupby not in target.adata.obs:
        raise KeyError(
            f"No column {groupby!r} in .obs; there are: {shorten(target.adata.obs.columns, 20) or 'none'}."
        )
    return target.adata.obs[groupby]


def _check_measured(target: Target, values: Any) -> None:
    missing = np.isnan(values.data if sparse.issparse(values) else values)
    if missing.any():
        column = stored_columns(values)[missing] if sparse.issparse(values) else np.where(missing)[1]
        raise ValueError(
            f"{target.name}: values are missing (NaN) of genes {shorten(target.adata.var_names[np.unique(column)])}, "
            "so that it is unknown whether they are on. Leave these genes out."
        )


def _proportions(values: Any, cells_of_types: list[np.ndarray], min_value: float) -> np.ndarray:
    """``(n_types, n_genes)`` proportion of each type's cells whose value exceeds ``min_value``."""
    if sparse.issparse(values):
        values = values.tocsr()
    # Type by type, so that no dense matrix of all cells is made.
    return np.array(
        [np.asarray((values[cells] > min_value).sum(axis=0)).ravel() / len(cells) for cells in cells_of_types]
    )


def _beta(proportions: np.ndarray) -> np.ndarray:
    """``(n_genes,)`` score from ``(n_types, n_genes)`` proportions, without forming the pairs of types."""
    n_types = len(proportions)
    ordered = np.sort(proportions, axis=0)
    # A gap between neighbours in order counts for every pair of types on either side of it.
    below = np.arange(1, n_types)[:, None]
    absolute = np.sum(np.diff(ordered, axis=0) * below * (n_types - below), axis=0)
    # From the lowest, so that equal proportions give exactly 0.
    above_lowest = ordered - ordered[0]
    squared = n_types * np.sum((above_lowest - above_lowest.mean(axis=0)) ** 2, axis=0)
    return squared / (absolute + _EPSILON)
