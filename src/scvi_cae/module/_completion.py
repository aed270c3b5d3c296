"""Missing values of a modality of few features, as those that were measured let expect them."""

from __future__ import annotations

import numpy as np

#: Largest standard score that counts, so that no single value decides.
MAX_SCORE = 3.0
#: Number of cells with uncorrelated features that are added, and smallest eigenvalue of correlations.
PRIOR_CELLS, MIN_EIGENVALUE = 10, 0.01


class Correlation:
    """Correlation of standardised features, from any number of parts of the data.

    Each pair of features is correlated over the cells that have both. Cells with uncorrelated features are added, and the
    result is made positive definite.

    Parameters
    ----------
    n_features
        Number of features.
    """

    def __init__(self, n_features: int) -> None:
        self._products = np.zeros((n_features, n_features))
        self._numbers = np.zeros((n_features, n_features))

    def add(self, scores: np.ndarray) -> None:
        """Add ``(n_cells, n_features)`` standard scores, NaN where missing."""
        known = np.isfinite(scores).astype(np.float64)
        values = np.clip(np.nan_to_num(scores), -MAX_SCORE, MAX_SCORE).astype(np.float64)
        self._products += values.T @ values
        self._numbers += known.T @ known

    @property
    def matrix(self) -> np.ndarray:
        """``(n_features, n_features)`` correlation; the identity without any cell."""
        identity = np.eye(len(self._products))
        values, vectors = np.linalg.eigh(
            (self._products + PRIOR_CELLS * identity) / (self._numbers + PRIOR_CELLS)
        )
        return (vectors * np.maximum(values, MIN_EIGENVALUE)) @ vectors.T


def complete(scores: np.ndarray, observed: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    r"""Replace missing standard scores by their means given those that were measured.

    .. math:: E[x_m \mid x_o] = C_{mo} C_{oo}^{-1} x_o

    as for a normal distribution with correlation :math:`C`.

    Parameters
    ----------
    scores
        ``(n_cells, n_features)`` standard scores; what they are where missing does not matter.
    observed
        Boolean, of the same shape.
    correlation
        ``(n_features, n_features)``.

    Returns
    -------
    The scores with missing ones replaced; 0, the mean, for a cell without any.
    """
    out = np.where(observed, scores, 0.0)
    limited = np.clip(out, -MAX_SCORE, MAX_SCORE)
    gaps = np.flatnonzero(~observed.all(axis=1) & observed.any(axis=1))
    patterns, members = np.unique(observed[gaps], axis=0, return_inverse=True)
    for number, there in enumerate(patterns):
        cells = gaps[members.ravel() == number]
        weights = np.linalg.solve(correlation[np.ix_(there, there)], correlation[np.ix_(there, ~there)])
        out[np.ix_(cells, ~there)] = limited[np.ix_(cells, there)] @ weights
    return out
