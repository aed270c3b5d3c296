"""How well each feature is predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._metrics import observed_entries

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def feature_r2(truth: ArrayLike, prediction: ArrayLike, mean: ArrayLike) -> np.ndarray:
    """Coefficient of determination of each feature, against the training mean.

    Parameters
    ----------
    truth
        ``(n_cells, n_features)`` measured values; NaN where not measured, and then not scored.
    prediction
        ``(n_cells, n_features)`` predicted values. May be NaN where ``truth`` is.
    mean
        ``(n_features,)`` mean of the training cells.

    Returns
    -------
    ``(n_features,)``, at most 1; NaN for a feature of which no value is observed, or all are the training mean. A
    feature that varies little among the cells scored may be far below 0, and the mean over features with it; see
    :func:`pooled_r2`.

    Raises
    ------
    ValueError
        If shapes differ, ``truth`` has no observed entry, or ``prediction`` is NaN at one.

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


def feature_correlation(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Pearson correlation of measured and predicted values of each feature over cells.

    Parameters
    ----------
    truth
        ``(n_cells, n_features)`` measured values; NaN where not measured, and then not scored.
    prediction
        ``(n_cells, n_features)`` predicted values. May be NaN where ``truth`` is.

    Returns
    -------
    ``(n_features,)`` from -1 to 1; NaN for a feature that does not vary, in truth or prediction. Unlike R2, it
    forgives predictions that are too large, too small or off by a constant.

    Raises
    ------
    ValueError
        If shapes differ, ``truth`` has no observed entry, or ``prediction`` is NaN at one.

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
    # What is left of a constant after its mean is subtracted is rounding, not variation.
    deviations = [np.sqrt((values**2).sum(0) / n) for values in (x, y)]
    sizes = [np.abs(np.where(observed, values, 0)).max(0) for values in (truth, prediction)]
    varies = np.all([d > 1e-7 * size for d, size in zip(deviations, sizes, strict=True)], axis=0)
    out = np.full(truth.shape[1], np.nan)
    correlation = np.divide((x * y).sum(0) / n, np.prod(deviations, axis=0), out=out, where=varies)
    return np.clip(correlation, -1, 1)
