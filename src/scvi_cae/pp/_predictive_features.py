"""Selection of a small panel of features that together predict another modality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mudata import MuData
from scipy import sparse
from sklearn.linear_model import MultiTaskLasso

from scvi_cae._arguments import check_whole
from scvi_cae.data import positions
from scvi_cae.module import mean_and_scale

from ._parameters import describe_reader
from ._target import open_target

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Factor by which the penalty is lowered until enough features are selected.
STEP = 0.9
#: Approximate solutions suffice, since only the order in which features enter matters.
TOLERANCE, MAX_ITERATIONS = 1e-2, 300


@describe_reader
def predictive_features(
    mdata: MuData,
    modality: str,
    target: str,
    *,
    n_top: int = 50,
    layer: str | None = None,
    target_layer: str | None = None,
    cells: Sequence[int] | np.ndarray | None = None,
    key_added: str = "predictive",
    copy: bool = False,
) -> MuData | None:
    r"""Select a panel of features of one modality that together predict another modality.

    Linear regression of all features of the target with a group lasso penalty,

    .. math:: \min_W \tfrac{1}{2n} \lVert Y - X W \rVert_F^2 + \alpha \sum_g \lVert W_g \rVert_2,

    which includes a feature :math:`g` for all targets or for none. The penalty :math:`\alpha` is lowered
    until ``n_top`` features are included. One of several redundant features represents the others, whereas a
    ranking by correlation selects all of them. The data are not subset; the panel, on which a model can be
    trained, is ``mdata["rna"][:, mdata["rna"].var["predictive_selected"]].copy()``.

    If other cells are predicted later, pass the training cells only.

    The modality is dense or sparse, without missing values, on a scale on which differences are comparable,
    such as log-transformed counts. In the target, a missing value (NaN) counts as the mean, and cells without
    any value count as cells that lack it.

    Parameters
    ----------
    mdata
        MuData with both modalities. Changed in place unless ``copy`` is true.
    modality
        Key of the modality whose features are selected.
    target
        Key of the modality to predict.
    n_top
        Number of features to select.
    layer, target_layer
        Layers to read; ``X`` by default.
    cells
        Cells to fit on: positions in ``mdata``, or a mask. All by default. Those with both modalities are
        used.
    %(key_added)s
    %(copy)s

    Returns
    -------
    ``None``, or the copy. Written to the modality are

    ``.var[key_added]``
        Norm of each feature's coefficients, in standard deviations of the target per standard deviation of
        the feature; 0 for features that are not included.
    ``.var[f"{key_added}_selected"]``
        Boolean: whether a feature is among the ``n_top`` with the largest norms.

    Raises
    ------
    TypeError
        If ``mdata`` is not a MuData, or a matrix does not hold real numbers.
    ValueError
        If a modality or a layer does not exist, the modality is its own target, one of its values is missing,
        fewer than two cells have both modalities, ``n_top`` is not from 1 to the number of features, fewer
        features than that predict the target, or a key to be written exists.

    References
    ----------
    Obozinski, Taskar & Jordan, "Joint covariate selection and joint subspace selection for multiple
    classification problems", Statistics and Computing 2010. Kobak et al., "Sparse reduced-rank regression for
    exploratory visualisation of paired multivariate data", JRSS C 2021, on such panels for Patch-seq.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.pp.predictive_features(mdata, "rna", "ephys", n_top=20)
    >>> int(mdata["rna"].var["predictive_selected"].sum())
    20
    """
    if not isinstance(mdata, MuData):
        raise TypeError(f"Expected a MuData with both modalities, got {type(mdata).__name__}.")
    opened = open_target(mdata, modality, layer, copy)
    other = open_target(opened.data, target, target_layer, copy=False)
    if modality == target:
        raise ValueError(f"{opened.name} is also the target. Name another modality: target=...")
    selected_key = f"{key_added}_selected"
    opened.check_new(
        var=[key_added, selected_key], why="Delete these to compute them anew, or use another key_added."
    )
    n_features = opened.adata.n_vars
    check_whole(n_top, "n_top", 1, n_features, "the number of features")
    names = opened.data.obs_names
    if cells is not None:
        names = names[positions(cells, len(names), "cells")]
    names = names[names.isin(opened.adata.obs_names) & names.isin(other.adata.obs_names)]
    y = other.read_dense()[other.adata.obs_names.get_indexer(names)].astype(np.float64)
    measured = ~np.isnan(y).all(axis=1)
    names, y = names[measured], y[measured]
    if len(names) < 2:
        raise ValueError(
            f"Only {len(names)} of the cells have both {modality!r} and {target!r}; at least two are needed."
        )
    x = opened.read()[opened.adata.obs_names.get_indexer(names)]
    x = (x.toarray() if sparse.issparse(x) else x).astype(np.float64)
    opened.check_complete(x, "Leave these features out, or impute them.")
    (x_mean, x_scale), (y_mean, y_scale) = mean_and_scale(x), mean_and_scale(y)
    norms = _group_lasso((x - x_mean) / x_scale, np.nan_to_num((y - y_mean) / y_scale), int(n_top))
    if np.count_nonzero(norms) < n_top:
        raise ValueError(
            f"Only {np.count_nonzero(norms)} features of {modality!r} predict {target!r} in these "
            f"{len(names)} cells. Lower n_top={n_top}."
        )
    chosen = np.zeros(n_features, dtype=bool)
    chosen[np.argsort(-norms, kind="stable")[:n_top]] = True
    opened.adata.var[key_added] = norms
    opened.adata.var[selected_key] = chosen
    return opened.data if copy else None


def _group_lasso(x: np.ndarray, y: np.ndarray, n_top: int) -> np.ndarray:
    """``(n_features,)`` norms of the first solution with ``n_top`` features, else of the last one."""
    largest = np.linalg.norm(x.T @ y, axis=1).max() / len(x)  # the lowest penalty that includes no feature
    norms = np.zeros(x.shape[1])
    if largest == 0:
        return norms
    lasso = MultiTaskLasso(fit_intercept=False, warm_start=True, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
    for alpha in largest * STEP ** np.arange(1, 100):
        norms = np.linalg.norm(lasso.set_params(alpha=alpha).fit(x, y).coef_, axis=0)
        if np.count_nonzero(norms) >= n_top:
            break
    return norms
