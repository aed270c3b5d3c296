"""Scaling of blocks of principal components to the same variance per component."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten

from ._fitted import check_exclusive, stored_parameters
from ._parameters import describe_writer
from ._target import Target, floating, open_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


@describe_writer
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
    r"""Scale blocks of features to a total variance equal to their numbers of features (Gala et al., 2021).

    Each value of a block of :math:`k` features with variances :math:`v_1, \dots, v_k` is multiplied by

    .. math:: \sqrt{k \Big/ \textstyle\sum_{j=1}^{k} v_j}.

    Use it for scores of several principal component analyses, one block for each analysis. Within a block,
    the ratios of variances are kept; between blocks, units no longer matter. Features are not centred, as
    published. Variances are those of the population (divided by n), over the values of the fitted cells that
    are not missing. All cells are scaled.

    The matrix holds cells by features, dense, with NaN for missing values, which stay missing.

    Parameters
    ----------
    %(data)s
    blocks
        Column of ``.var`` with the block of each feature. Features whose block is missing are left as they
        are. Required unless ``fitted`` is given.
    %(modality)s
    %(layer)s
    %(cells)s
    fitted
        AnnData that an earlier call has scaled with the same ``key_added``. Its factors are applied, matched
        by feature name; nothing is fitted.
    key_added
        Column of ``.var`` for the factors.
    %(copy)s

    Returns
    -------
    ``None``, or the copy. ``X`` or the layer is replaced, and ``.var[key_added]`` is written: the factor of
    each feature, NaN for features that are not scaled.

    Raises
    ------
    KeyError
        If column ``blocks`` does not exist.
    TypeError
        If the matrix is sparse.
    ValueError
        If a block has no variance or a feature no value in the fitted cells; if a value is infinite; if
        ``.var[key_added]`` exists, since the values are scaled already; if ``fitted`` lacks features; if
        ``fitted`` is given together with ``blocks`` or ``cells``.

    References
    ----------
    Gala R, Budzillo A, Baftizadeh F, et al. Consistent cross-modal identification of cortical neurons with
    coupled autoencoders. Nature Computational Science 1, 120-127 (2021).
    https://doi.org/10.1038/s43588-021-00030-1. There, the blocks are 12 sparse principal component analyses
    of electrophysiology with 44 components in total.

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
        why="Its blocks have been scaled. Start from unscaled values, without this column; to scale another "
        "layer or other blocks, use another key_added.",
    )
    values = target.read_dense()
    if fitted is not None:
        (factors,) = stored_parameters(fitted, [key_added], target.adata.var_names)
    elif blocks is not None:
        block = target.var_column(blocks, "blocks")
        factors = _factors(target, values[target.positions(cells)], block)
    else:
        raise ValueError("Name the column of .var that holds the blocks (blocks=...), or pass fitted=...")

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
    target.check_measured(values, in_block, "leave them out of their block.")
    variance = np.full(len(codes), np.nan)
    variance[in_block] = np.nanvar(values[:, in_block].astype(float), axis=0)
    # Rounding of the mean gives a constant a variance above 0.
    constant = np.fmin.reduce(values, axis=0) == np.fmax.reduce(values, axis=0)
    variance[constant & in_block] = 0

    total = np.bincount(codes[in_block], weights=variance[in_block])
    if not total.all():
        raise ValueError(
            f"{target.name}: blocks in which no feature varies in the {len(values)} fitted cells: "
            f"{shorten(blocks[total == 0])}. Leave them out: set .var[{block.name!r}] of their features to "
            "missing."
        )
    factors = np.full(len(codes), np.nan)
    factors[in_block] = np.sqrt(np.bincount(codes[in_block]) / total)[codes[in_block]]
    return factors
