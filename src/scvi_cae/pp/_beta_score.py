"""Genes that some cell types express and others do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from scvi_cae._arguments import check_whole, shorten
from scvi_cae.data import obs_column
from scvi_cae.data._checks import check_cells_known

from ._parameters import describe_reader
from ._target import Target, open_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_EPSILON = 1e-10  # as published; without differences, the score is 0
_MIN_SCORE = 0.4


@describe_reader
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
    r"""Score how binary the expression of genes is across cell types, and select genes (Gala et al., 2021).

    With :math:`p_{tg}` the fraction of the cells of type :math:`t` in which gene :math:`g` exceeds
    ``min_value``, and :math:`d_{tug} = |p_{tg} - p_{ug}|`,

    .. math:: \beta_g = \frac{\sum_{t < u} d_{tug}^2}{\sum_{t < u} d_{tug} + \epsilon},
        \qquad \epsilon = 10^{-10},

    a mean of the differences between types in which large differences weigh more. The score is 1 if each
    type expresses the gene in all of its cells or in none, and types differ; it is 0 if all types express it
    alike. Genes with a score above ``min_score`` are selected. The data are not subset; to subset them, also
    for other cells, use ``rna = rna[:, rna.var["beta_score_selected"]].copy()``.

    The score uses labels. If labels of test cells are predicted later, pass the training cells only.

    The matrix holds cells by genes, dense or sparse (CSR, CSC), without missing values: raw counts, or any
    transform of them that maps 0 to 0.

    Parameters
    ----------
    %(data)s
    groupby
        Column of types in ``.obs``; for a MuData, in ``mdata.obs`` or else in the ``.obs`` of a modality,
        matched by cell names. Cells whose type is missing are left out. Fractions of a type with few cells
        are imprecise; set such a type to missing to leave it out.
    %(modality)s
    %(layer)s
    min_value
        Value above which a cell expresses a gene, at least 0. By default 0: any count.
    min_score
        Score above which a gene is selected; by default 0.4, as published.
    n_top
        Number of genes with the highest scores to select instead of those above ``min_score``. Ties go to the
        first genes.
    %(cells)s
    %(key_added)s
    %(copy)s

    Returns
    -------
    ``None``, or the copy. Written are

    ``.var[key_added]``
        Score of each gene, from 0 to 1.
    ``.var[f"{key_added}_selected"]``
        Boolean: whether a gene is selected.
    ``.uns[key_added]``
        The arguments; ``groups``, the types compared, as text; and ``n_cells``, the number of cells of each.

    Raises
    ------
    KeyError
        If column ``groupby`` does not exist.
    ValueError
        If the cells have fewer than two types, a value is missing or infinite, no gene is selected, or a key
        to be written exists.

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
        raise ValueError("min_score and n_top are alternative ways to select genes. Use one of them.")
    if not min_value >= 0:
        raise ValueError(
            f"min_value={min_value} must be at least 0, which is the value of a gene that was not detected."
        )
    target = open_target(data, modality, layer, copy)
    selected_key = f"{key_added}_selected"
    target.check_new(
        var=[key_added, selected_key],
        uns=[key_added],
        why="Delete these to compute them anew, or use another key_added.",
    )
    n_genes = target.adata.n_vars
    check_whole(n_top, "n_top", 1, n_genes, "the number of genes", optional=True)
    types = _types(target, groupby)
    values = target.read()
    fit = target.positions(cells)

    codes, groups = pd.factorize(types.iloc[fit])
    if len(groups) < 2:
        raise ValueError(
            f"{target.name}: the score compares at least two types, but in {groupby!r} the {len(fit)} cells "
            f"have {'only ' + shorten(groups) if len(groups) else 'none'}. Choose other cells or another "
            "column."
        )
    n_cells = np.bincount(codes[codes >= 0])
    target.check_complete(values, "Whether a cell expresses them is unknown; leave these genes out.")
    score = _beta(_proportions(values, [fit[codes == code] for code in range(len(groups))], min_value))

    if n_top is None:
        min_score = _MIN_SCORE if min_score is None else min_score
        selected = score > min_score
        if not selected.any():
            raise ValueError(
                f"{target.name}: no gene has a score above min_score={min_score}; the highest is "
                f"{score.max():.3g}, of {str(target.adata.var_names[score.argmax()])!r}. Lower it, or use "
                "n_top."
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
        check_cells_known(target.data, str(target.modality))
        return obs_column(target.data, groupby).loc[target.adata.obs_names]
    if groupby not in target.adata.obs:
        raise KeyError(
            f"No column {groupby!r} in .obs; it has {shorten(target.adata.obs.columns, 20) or 'none'}."
        )
    return target.adata.obs[groupby]


def _proportions(values: Any, cells_of_types: list[np.ndarray], min_value: float) -> np.ndarray:
    """``(n_types, n_genes)`` fraction of each type's cells whose value exceeds ``min_value``."""
    if sparse.issparse(values):
        values = values.tocsr()
    # One type at a time, without a dense matrix of all cells.
    return np.array(
        [np.asarray((values[cells] > min_value).sum(axis=0)).ravel() / len(cells) for cells in cells_of_types]
    )


def _beta(proportions: np.ndarray) -> np.ndarray:
    """``(n_genes,)`` score from ``(n_types, n_genes)`` fractions, without a loop over pairs of types."""
    n_types = len(proportions)
    ordered = np.sort(proportions, axis=0)
    # A gap between adjacent values counts once for each pair of types on its two sides.
    below = np.arange(1, n_types)[:, None]
    absolute = np.sum(np.diff(ordered, axis=0) * below * (n_types - below), axis=0)
    # Relative to the lowest, so that equal fractions give exactly 0.
    above_lowest = ordered - ordered[0]
    squared = n_types * np.sum((above_lowest - above_lowest.mean(axis=0)) ** 2, axis=0)
    return squared / (absolute + _EPSILON)
