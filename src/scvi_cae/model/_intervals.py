"""Quantiles of predictions, from errors on cells that the predictors were not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Tolerance for rounding of a quantile times a number of residuals.
ROUNDING = 1e-9
#: Number of values that are sorted at once: as many as fit into a cache.
CHUNK = 2**17


def check_quantiles(quantiles: Sequence[float] | np.ndarray) -> np.ndarray:
    """Quantiles as an array.

    Raises
    ------
    ValueError
        If they are not different numbers between 0 and 1.
    """
    array = np.asarray(quantiles)
    numbers = array.ndim == 1 and array.size and array.dtype.kind == "f"
    if not numbers or not ((array > 0) & (array < 1)).all() or len(np.unique(array)) < len(array):
        raise ValueError(
            f"quantiles={quantiles!r} must be a list of different numbers above 0 and below 1, such as [0.05, 0.95]."
        )
    return array.astype(np.float64)


def min_residuals(quantiles: np.ndarray) -> int:
    """Smallest number of residuals for which no quantile lies beyond all of them."""
    return int(np.ceil(1 / np.minimum(quantiles, 1 - quantiles).min() - 1 - ROUNDING))


def places(n: int, quantiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of ``n`` ordered values that are quantiles of one more value, exchangeable with them.

    Below the median, a new value is smaller with at most the given probability; above it, with at least that: an
    interval from :math:`a` to :math:`b` holds it with probability :math:`b - a` or slightly more.

    Parameters
    ----------
    n
        Number of values.
    quantiles
        The quantiles.

    Returns
    -------
    Two arrays of places, counted from 0. The quantile is the mean of the values there; they differ for the median only.
    """
    exact = quantiles * (n + 1)
    low, high = np.floor(exact + ROUNDING).astype(int), np.ceil(exact - ROUNDING).astype(int)
    return np.where(quantiles > 0.5, high, low) - 1, np.where(quantiles < 0.5, low, high) - 1


def pooled_quantiles(
    centres: Sequence[np.ndarray],
    scales: Sequence[np.ndarray],
    residuals: Sequence[np.ndarray],
    quantiles: np.ndarray,
) -> np.ndarray:
    r"""Quantiles by CV+; with a single predictor, by split conformal prediction.

    The quantiles of each feature are those of all :math:`\hat y_k + s_k r_{ki}` together, where predictor :math:`k`
    predicts :math:`\hat y_k` with expected error :math:`s_k`, and :math:`r_{ki}` are its residuals on cells that it was
    not trained on, in units of their expected errors.

    Parameters
    ----------
    centres
        ``(n_cells, n_features)`` predictions of each predictor.
    scales
        ``(n_cells, n_features)`` expected errors of each.
    residuals
        ``(n, n_features)`` residuals of each, NaN where not measured; at least :func:`min_residuals` for each feature.
    quantiles
        The quantiles.

    Returns
    -------
    ``(n_cells, n_features, n_quantiles)`` float32; NaN where predictions are.

    References
    ----------
    Barber, Candes, Ramdas and Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 2021.

    Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-free predictive inference for regression", Journal of
    the American Statistical Association 2018.
    """
    n_cells, n_features = centres[0].shape
    centres, scales = ([x.astype(np.float32) for x in parts] for parts in (centres, scales))
    out = np.empty((n_cells, n_features, len(quantiles)), dtype=np.float32)
    for f in range(n_features):
        pools = [np.sort(r[~np.isnan(r[:, f]), f]).astype(np.float32) for r in residuals]
        n = sum(map(len, pools))
        if n == 0:
            out[:, f] = np.nan
            continue
        low, high = places(n, quantiles)
        if len(pools) == 1:
            middle = (pools[0][low] + pools[0][high]) / 2
            out[:, f] = centres[0][:, f, None] + scales[0][:, f, None] * middle
            continue
        lower = high < n / 2
        for side in (lower, ~lower):
            if side.any():
                y, scale = ([x[:, f, None] for x in parts] for parts in (centres, scales))
                out[:, f, side] = _middle_of_places(y, scale, pools, low[side], high[side])
    return out


def _middle_of_places(
    centres: Sequence[np.ndarray],
    scales: Sequence[np.ndarray],
    pools: Sequence[np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """Middle of two places, all on one side of the median, among one feature's values of all predictors.

    Parameters
    ----------
    centres, scales
        ``(n_cells, 1)`` predictions and expected errors of each predictor.
    pools
        Ascending residuals of each.
    low, high
        ``(n_places,)`` places among the ordered values of all.

    Returns
    -------
    ``(n_cells, n_places)``.
    """
    n = sum(map(len, pools))
    # What is among the smallest of all is among as many smallest of its predictor; likewise the largest.
    n_smallest, n_largest = int(high.max()) + 1, n - int(low.min())
    if n_smallest < n_largest:
        pools = [pool[:n_smallest] for pool in pools]
    else:
        pools = [pool[max(len(pool) - n_largest, 0) :] for pool in pools]
        n_left_out = n - sum(map(len, pools))
        low, high = low - n_left_out, high - n_left_out
    out = np.empty((len(centres[0]), len(low)), dtype=np.float32)
    step = max(CHUNK // sum(map(len, pools)), 1)
    for start in range(0, len(out), step):
        rows = slice(start, start + step)
        parts = [y[rows] + s[rows] * pool for y, s, pool in zip(centres, scales, pools, strict=True)]
        values = np.concatenate(parts, axis=1)
        # A sort is faster than a partition at several places.
        values.sort(axis=1)
        out[rows] = (values[:, low] + values[:, high]) / 2
    return out


def gaussian_quantiles(
    values: Sequence[np.ndarray], scales: Sequence[np.ndarray], quantiles: np.ndarray
) -> np.ndarray:
    """Quantiles of the normal distribution with mean and variance of a mixture of predictors.

    Parameters
    ----------
    values, scales
        ``(n_cells, n_features)`` means and standard deviations of each predictor.
    quantiles
        The quantiles.

    Returns
    -------
    ``(n_cells, n_features, n_quantiles)``.
    """
    means = np.stack(values)
    variance = np.mean([scale**2 for scale in scales], axis=0) + means.var(axis=0)
    return means.mean(axis=0)[..., None] + np.sqrt(variance)[..., None] * norm.ppf(quantiles)
