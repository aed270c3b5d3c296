"""Limits beyond which values of a feature are outliers."""

from __future__ import annotations

import numpy as np

#: Number of robust standard deviations from the median from which on a value that lies apart from all others is an
#: outlier by default.
OUTLIER = 5.0
#: Largest share of equal values that a continuous feature has; a larger one is a point mass, such as 0.
POINT_MASS = 0.1
#: Smallest number of values, apart from a point mass, that determine a spread.
MIN_VALUES = 20
#: Quantiles whose distances from the median give the spread, with those of a normal distribution. The outer one
#: retains groups of more than a twentieth of the cells, such as rare types; the inner one is for short tails.
QUANTILES = ((0.8413, 1.0), (0.95, 1.6449))


def robust_limits(values: np.ndarray, n_deviations: float) -> tuple[np.ndarray, np.ndarray]:
    """Limits of each feature, a number of robust standard deviations below and above its median.

    The deviations below and above are estimated apart, since many features are skewed, each from quantiles, which up to
    a twentieth of the values do not move, however far away. A point mass, such as the zeros of a gene or a feature
    that many cells have at its bound, is left out of median and spread, and lies within the limits: the spread of the
    other values says how far these may be. A tail is no outlier: the limits extend as far as values follow each other
    by no more than as many deviations. Nor is 0, of a feature that is never negative.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` values, NaN where missing.
    n_deviations
        Number of robust standard deviations.

    Returns
    -------
    Two ``(n_features,)`` float64 arrays: the lower and the upper limit, infinite for a feature with fewer than 20
    values, apart from a point mass, or without spread.
    """
    n_features = values.shape[1]
    lower, upper = np.full(n_features, -np.inf), np.full(n_features, np.inf)
    for feature in range(n_features):
        found = _limits(values[:, feature], n_deviations)
        if found is not None:
            lower[feature], upper[feature] = found
    return lower, upper


def _limits(values: np.ndarray, n_deviations: float) -> tuple[float, float] | None:
    values = np.sort(values[~np.isnan(values)].astype(np.float64))
    if len(values) < MIN_VALUES:
        return None
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    counts = np.diff(np.append(starts, len(values)))
    largest = counts.argmax()
    mass = None
    if counts[largest] > POINT_MASS * len(values):
        mass = values[starts[largest]]
        values = np.delete(values, slice(starts[largest], starts[largest] + counts[largest]))
        if len(values) < MIN_VALUES:
            return None
    probabilities = np.array([p for p, _ in QUANTILES])
    normal = np.array([z for _, z in QUANTILES])
    median, above, below = np.split(
        np.quantile(values, np.concatenate([[0.5], probabilities, 1 - probabilities])), [1, 3]
    )
    rise, fall = ((above - median) / normal).max(), ((median - below) / normal).max()
    if min(rise, fall) <= 0:
        return None
    high = _end_of_tail(values, median[0] + n_deviations * rise, n_deviations * rise)
    low = -_end_of_tail(-values[::-1], -(median[0] - n_deviations * fall), n_deviations * fall)
    if values[0] >= 0 and (mass is None or mass >= 0):
        low = min(low, 0.0)  # nothing, of what is not negative
    return (low, high) if mass is None else (min(low, mass), max(high, mass))


def _end_of_tail(values: np.ndarray, limit: float, gap: float) -> float:
    """The limit or, if it is farther, what would still follow the last of the ascending values that follow each other."""
    inside = int(np.searchsorted(values, limit, side="right"))
    gaps = np.diff(values[inside - 1 :]) > gap
    last = values[inside - 1 + (int(gaps.argmax()) if gaps.any() else len(gaps))]
    return max(limit, float(last) + gap)
