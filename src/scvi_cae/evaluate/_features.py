"""Scores of single features: coefficient of determination and correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._metrics import describe, observed_entries

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@describe
def feature_r2(truth: ArrayLike, prediction: ArrayLike, mean: ArrayLike) -> np.ndarray:
    r"""Coefficient of determination of each feature, relative to the training mean.

    .. math:: R_j^2 = 1 - \frac{\sum_i (y_{ij} - \hat y_{ij})^2}{\sum_i (y_{ij} - \bar y_j)^2}

    over the cells :math:`i` in which feature :math:`j` is observed.

    Parameters
    ----------
    %(truth)s
    %(prediction)s
    %(mean)s

    Returns
    -------
    ``(n_features,)`` values of at most 1; NaN for a feature without observed values or without predictions, or
    whose observed values all equal the training mean. For a feature that varies little among the cells scored, R2 may be far below
    0, which dominates a mean over features; see :func:`pooled_r2`.

    Raises
    ------
    ValueError
        If shapes differ, ``truth`` has no observed entry, or ``prediction`` is NaN at one of a
        feature with predictions.

    Examples
    --------
    >>> from scvi_cae.evaluate import feature_r2
    >>> feature_r2([[1.0, 0.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 2.0]], mean=[2.0, 2.0])
    array([1., 0.])
    """
    truth, prediction, observed = observed_entries(truth, prediction)
    total = np.where(observed, (truth - np.asarray(mean, dtype=float)) ** 2, 0).sum(0)
    residual = np.where(observed, (truth - prediction) ** 2, 0).sum(0)
    out = np.full(truth.shape[1], np.nan)
    return 1 - np.divide(residual, total, out=out, where=total > 0)


@describe
def feature_correlation(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Pearson correlation of measured and predicted values over cells, for each feature.

    Unlike R2, it is invariant to the scale and the offset of predictions.

    Parameters
    ----------
    %(truth)s
    %(prediction)s

    Returns
    -------
    ``(n_features,)`` values from -1 to 1; NaN for a feature that is constant in truth or prediction, or has no
    predictions.

    Raises
    ------
    ValueError
        If shapes differ, ``truth`` has no observed entry, or ``prediction`` is NaN at one of a
        feature with predictions.

    Examples
    --------
    >>> from scvi_cae.evaluate import feature_correlation
    >>> feature_correlation([[1.0, 0.0], [3.0, 4.0]], [[10.0, 2.0], [20.0, 2.0]])
    array([ 1., nan])
    """
    truth, prediction, observed = observed_entries(truth, prediction)
    n = np.maximum(observed.sum(0), 1)
    x, y = (np.where(observed, values, 0) for values in (truth, prediction))
    x, y = (np.where(observed, values - values.sum(0) / n, 0) for values in (x, y))
    # A constant minus its mean is rounding error, not variation.
    deviations = [np.sqrt((values**2).sum(0) / n) for values in (x, y)]
    sizes = [np.abs(np.where(observed, values, 0)).max(0) for values in (truth, prediction)]
    varies = np.all([d > 1e-7 * size for d, size in zip(deviations, sizes, strict=True)], axis=0)
    out = np.full(truth.shape[1], np.nan)
    correlation = np.divide((x * y).sum(0) / n, np.prod(deviations, axis=0), out=out, where=varies)
    return np.clip(correlation, -1, 1)
