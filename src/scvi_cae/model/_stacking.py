"""Weights of several predictions of the same values, from predictions of cells that the predictors did not see."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import nnls

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Number of cells that the weights of all features count for in those of each, chosen on inner cells.
PRIOR_CELLS = 50
#: Added to the diagonal of second moments, relative to their mean: predictions may be alike, or constant.
_RIDGE = 1e-6


class Stack(NamedTuple):
    r"""A weighted sum of predictions of one target.

    .. math:: \hat y = m + \sum_c w_c\, (p_c - m), \qquad w_c \ge 0

    with :math:`m` the mean of the training cells and :math:`p_c` the predictions, for each feature. Weights that sum to
    less than 1 shrink the prediction towards the mean: what cannot be predicted is predicted as its mean.

    Parameters
    ----------
    mean
        ``(n_features,)`` :math:`m`.
    weights
        ``(n_predictions, n_features)`` :math:`w`.
    """

    mean: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(
        cls,
        predictions: Sequence[np.ndarray],
        truth: np.ndarray,
        mean: np.ndarray,
        scale: np.ndarray,
    ) -> Stack:
        """Fit the weights by least squares, as if :data:`PRIOR_CELLS` more cells had those of all features together.

        Parameters
        ----------
        predictions
            ``(n_cells, n_features)`` predictions of cells by what was not fitted to them, NaN where there is none.
        truth
            ``(n_cells, n_features)`` measured values, NaN where missing.
        mean, scale
            ``(n_features,)`` mean and standard deviation among the training cells.

        Returns
        -------
        The stack; weights are those of the first prediction alone if no cell has all of them.
        """
        # A feature that does not vary is predicted as its constant by all.
        divisor = np.where(scale > 0, scale, np.inf)
        x = (np.stack(predictions, axis=-1) - mean[:, None]) / divisor[:, None]
        y = (truth - mean) / divisor
        known = np.isfinite(x).all(-1) & np.isfinite(y)
        x, y = np.where(known[..., None], x, 0.0), np.where(known, y, 0.0)
        squares = np.einsum("nfc,nfd->fcd", x, x, optimize=True)
        products = np.einsum("nfc,nf->fc", x, y, optimize=True)
        n_features, n_predictions = products.shape
        if not known.any():
            return cls(mean, np.eye(n_predictions)[0][:, None].repeat(n_features, axis=1))
        together = _nonnegative(squares.sum(0), products.sum(0))
        prior = PRIOR_CELLS * squares.sum(0) / known.sum()
        weights = [
            _nonnegative(a + prior, b + prior @ together) for a, b in zip(squares, products, strict=True)
        ]
        return cls(mean, np.stack(weights, axis=1))

    def combine(self, predictions: Sequence[np.ndarray]) -> np.ndarray:
        """``(n_cells, n_features)`` weighted sum of predictions in the order of :meth:`fit`."""
        out = np.broadcast_to(self.mean, predictions[0].shape).copy()
        for weights, prediction in zip(self.weights, predictions, strict=True):
            out += weights * (prediction - self.mean)
        return out


def _nonnegative(squares: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Non-negative weights of least squares, from second moments of predictions and with the truth."""
    ridge = _RIDGE * max(np.trace(squares) / len(squares), np.finfo(float).tiny)
    root = np.linalg.cholesky(squares + ridge * np.eye(len(squares)))
    return nnls(root.T, np.linalg.solve(root, products))[0]
