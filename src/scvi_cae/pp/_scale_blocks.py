"""Blocks of principal components, each weighing as many as it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten

from ._fitted import check_exclusive, stored_parameters
from ._target import Target, floating, open_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


def scale_blocks(
    data: AnnData | MuData,
    blocks: str | None = None,
    *,
    modality: str | None = None,
    layer: str | None = None,
    cells: Sequence[int] | np.ndarray | None = None,
    fitted: AnnData | None = None,
    key_added: str = "block_scale",
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Scale blocks of features so that the variance of each is its number of features (Gala et al., 2021).

    Meant for components of principal component analyses, one analysis a block. Within a block, components
    keep the proportions of their variances; between blocks, units no longer matter. Each value of a block of
    :math:`k` features with variances :math:`v_1, \dots, v_k` is multiplied by

    .. math:: \sqrt{k \Big/ \textstyle\sum_{j=1}^{k} v_j}.

    Features are not centred, as published. Variances are those of the population (divided by n), over the
    values of the fitted cells that are not missing.

    Parameters
    ----------
    data
        AnnData, or MuData of which ``modality`` is used. Cells by features, dense; NaN where not measured, which
        stays. Floating-point values keep their precision; whole numbers become float32, as in scanpy.
    blocks
        Column of ``.var`` that says which block a feature belongs to. Features without a block (missing) are left
        as they are. Required, unless ``fitted`` is given.
    modality
        Key of the modality, for a MuData only.
    layer
        Layer to read and write; ``X`` by default.
    cells
        Cells to fit on, by default all: positions among the modality's own cells (not those of the MuData), or a
        mask over them, for example ``mdata["ephys"].obs_names.isin(names_of_training_cells)``. All cells are
        scaled.
    fitted
        AnnData that an earlier call with the same ``key_added`` has scaled. Its factors are applied, by the names
        of features; nothing is fitted.
    key_added
        Column of ``.var`` to write.
    copy
        Return a changed copy rather than work in place.

    Returns
    -------
    ``None``, or the copy. ``X`` or the layer is replaced, and ``.var[key_added]`` written: the factor of each
    feature, NaN for those left as they are.

    Raises
    ------
    KeyError
        If there is no column ``blocks``.
    TypeError
        If the matrix is sparse.
    ValueError
        If a block has no variance, a feature no value among the fitted cells, or a value is infinite; if
        ``.var[key_added]`` exists, since the values are scaled already; if ``fitted`` lacks features; if both
        ``fitted`` and what to fit are given.

    References
    ----------
    Gala R, Budzillo A, Baftizadeh F, et al. Consistent cross-modal identification of cortical neurons with
    coupled autoencoders. Nature Computational Science 1, 120-127 (2021).
    https://doi.org/10.1038/s43588-021-00030-1. There, the blocks are 12 sparse principal component analyses of
    electrophysiology with 44 components together.

    Examples
    --------
    >>> import anndata, numpy as np, pandas as pd
    >>> from scvi_cae.pp import scale_blocks
    >>> ephys = anndata.AnnData(
    ...     np.array([[30, 1, 5], [-30, 1, 6], [30, -1, 7], [-30, -1, 9]], dtype="float32"),
    ...     var=pd.DataFrame({"block": ["first_ap", "first_ap", None]}, index=["pc0", "pc1", "tau"]),
    ... )
    >>> train, test = ephys[:2].copy(), ephys[2:].copy()
    >>> scale_blocks(train, "block")
    >>> train.var["block_scale"].round(4).tolist()  # sqrt(2 / 900)
    [0.0471, 0.0471, nan]
    >>> scale_blocks(test, fitted=train)
    >>> test.X[0].round(4).tolist() == [np.float32(1.4142), np.float32(-0.0471), 7.0]
    True
    """
    check_exclusive(fitted, blocks=blocks, cells=cells)
    target = open_target(data, modality, layer, copy)
    target.check_new(
        var=[key_added],
        why="Its blocks have been scaled. Start from unscaled values, without this column; to scale another layer or "
        "other blocks, give another key_added.",
    )
    values = target.read_dense()
    if fitted is not None:
        (factors,) = stored_parameters(fitted, [key_added], target.adata.var_names)
    elif blocks is not None:
        block = target.var_column(blocks, "blocks")
        factors = _factors(target, values[target.positions(cells)], block)
    else:
        raise ValueError("Name the column of .var that holds the blocks (blocks=...), or give fitted=...")

    out = values.astype(floating(values.dtype))
    scaled = ~np.isnan(factors)
    out[:, scaled] = values[:, scaled] * factors[scaled]
    target.write(out)
    target.adata.var[key_added] = factors
    return target.data if copy else None


def _factors(target: Target, values: np.ndarray, block: pd.Series) -> np.ndarray:
    """``(n_features,)`` factors, NaN for features without a block."""
    codes, blocks = pd.factorize(block)
    if not len(blocks):
        raise ValueError(f"{target.name}: no feature has a block in .var[{block.name!r}]; all are missing.")
    in_block = codes >= 0
    unmeasured = in_block & np.isnan(values).all(axis=0)
    if unmeasured.any():
        raise ValueError(
            f"{target.name}: features without a value in the {len(values)} fitted cells: "
            f"{shorten(target.adata.var_names[unmeasured])}. Drop them (drop_features), or leave them out of their block."
        )
    variance = np.full(len(codes), np.nan)
    variance[in_block] = np.nanvar(values[:, in_block].astype(float), axis=0)
    # a mean rounded to double precision leaves a constant some variance
    constant = np.fmin.reduce(values, axis=0) == np.fmax.reduce(values, axis=0)
    variance[constant & in_block] = 0

    total = np.bincount(codes[in_block], weights=variance[in_block])
    if not total.all():
        raise ValueError(
            f"{target.name}: blocks in which no feature varies among the {len(values)} fitted cells: "
            f"{shorten(blocks[total == 0])}. Leave them out: set .var[{block.name!r}] of their features to missing."
        )
    factors = np.full(len(codes), np.nan)
    factors[in_block] = np.sqrt(np.bincount(codes[in_block]) / total)[codes[in_block]]
    return factors
