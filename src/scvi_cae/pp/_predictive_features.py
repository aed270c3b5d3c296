"""A small panel of features that another modality can be predicted from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mudata import MuData
from scipy import sparse
from sklearn.linear_model import MultiTaskLasso

from scvi_cae.data import positions
from scvi_cae.module import mean_and_scale

from ._target import open_target

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Penalties fall by this factor until enough features are selected.
STEP = 0.9
#: Rough solutions: what counts is which features come in first.
TOLERANCE, MOST_ITERATIONS = 1e-2, 300


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
    r"""Select a panel of features of one modality that predict another, all of it, together.

    Linear regression of all features of the target under a group lasso,

    .. math:: \min_W \tfrac{1}{2n} \lVert Y - X W \rVert_F^2 + \alpha \sum_g \lVert W_g \rVert_2,

    in which a feature :math:`g` is in for every target or for none. The penalty :math:`\alpha` falls until ``n_top``
    features are in. Features that say the same come in for one another, unlike the best of a list by correlation.
    Nothing is subset: ``mdata["rna"][:, mdata["rna"].var["predictive_selected"]].copy()`` is the panel, of which a
    model is then trained.

    Give the training cells only, where others are to be predicted.

    Parameters
    ----------
    mdata
        MuData. The modality is dense or sparse, no value missing, on a scale on which differences compare: counts
        log-transformed. Of the target, a missing value (NaN) counts as the mean, and cells without any value as cells
        that lack it.
    modality
        Key of the modality to select features of.
    target
        Key of the modality to predict.
    n_top
        Number of features to select.
    layer, target_layer
        Layers to read; ``X`` by default.
    cells
        Cells to fit to: positions in ``mdata``, or a mask. All by default; used are those with both modalities.
    key_added
        Key of what is written.
    copy
        Return a changed copy rather than work in place.

    Returns
    -------
    ``None``, or the copy. Written are

    ``.var[key_added]``
        Of the modality: norm of each feature's coefficients, in standard deviations of the target per standard
        deviation of the feature; 0 for features that are not in.
    ``.var[f"{key_added}_selected"]``
        Boolean, which features are selected: those of the largest norms.

    Raises
    ------
    TypeError
        If ``mdata`` is not a MuData, or a matrix holds no real numbers.
    ValueError
        If there is no such modality or layer, it is the target, a value of the modality is missing, fewer than two
        cells have both, ``n_top`` is not from 1 to the number of features, fewer features than that tell anything of the
        target, or a key to be written exists.

    References
    ----------
    Obozinski, Taskar & Jordan, "Joint covariate selection and joint subspace selection for multiple classification
    problems", Statistics and Computing 2010. Kobak et al., "Sparse reduced-rank regression for exploratory
    visualisation of paired multivariate data", JRSS C 2021, on such panels for Patch-seq.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.pp.predictive_features(mdata, "rna", "ephys", n_top=20)
    >>> int(mdata["rna"].var["predictive_selected"].sum())
    20
    """
    if not isinstance(mdata, MuData):
        raise TypeError(f"Expected a MuData of both modalities, got {type(mdata).__name__}.")
    opened = open_target(mdata, modality, layer, copy)
    other = open_target(opened.data, target, target_layer, copy=False)
    if modality == target:
        raise ValueError(f"{opened.name} is the target, too. Name another: target=...")
    selected_key = f"{key_added}_selected"
    why = "Delete these to compute them anew, or give another key_added."
    opened.check_new(var=[key_added, selected_key], why=why)
    n_features = opened.adata.n_vars
    if isinstance(n_top, bool) or not isinstance(n_top, (int, np.integer)) or not 1 <= n_top <= n_features:
        raise ValueError(
            f"n_top={n_top!r} must be a whole number from 1 to {n_features}, the number of features."
        )
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
    missing = np.isnan(x).any(axis=0)
    if missing.any():
        raise ValueError(
            f"{opened.name}: {int(missing.sum())} features have missing values, such as "
            f"{opened.adata.var_names[missing][0]!r}. Leave them out, or fill them."
        )
    (x_mean, x_scale), (y_mean, y_scale) = mean_and_scale(x), mean_and_scale(y)
    norms = _group_lasso((x - x_mean) / x_scale, np.nan_to_num((y - y_mean) / y_scale), int(n_top))
    if np.count_nonzero(norms) < n_top:
        raise ValueError(
            f"Only {np.count_nonzero(norms)} features of {modality!r} tell anything of {target!r} in these {len(names)} "
            f"cells. Ask for fewer than n_top={n_top}."
        )
    chosen = np.zeros(n_features, dtype=bool)
    chosen[np.argsort(-norms, kind="stable")[:n_top]] = True
    opened.adata.var[key_added] = norms
    opened.adata.var[selected_key] = chosen
    return opened.data if copy else None


def _group_lasso(x: np.ndarray, y: np.ndarray, n_top: int) -> np.ndarray:
    """Norms of the coefficients of the first solution with at least ``n_top`` features, or of the last there is."""
    most = np.linalg.norm(x.T @ y, axis=1).max() / len(x)
    norms = np.zeros(x.shape[1])
    if most == 0:
        return norms
    lasso = MultiTaskLasso(fit_intercept=False, warm_start=True, tol=TOLERANCE, max_iter=MOST_ITERATIONS)
    for alpha in most * STEP ** np.arange(1, 100):
        norms = np.linalg.norm(lasso.set_params(alpha=alpha).fit(x, y).coef_, axis=0)
        if np.count_nonzero(norms) >= n_top:
            break
    return norms
