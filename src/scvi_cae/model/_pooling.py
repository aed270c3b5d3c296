"""Weights of several predictions of class probabilities, from predictions of cells that the predictors did not see."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Share of a probability that is divided equally among the classes: some give a class no probability at all.
FLOOR = 1e-3


class Pool(NamedTuple):
    r"""A weighted product of predicted class probabilities, the logarithmic opinion pool.

    .. math:: \hat p_k \propto \prod_c p_{ck}^{w_c}, \qquad w_c \ge 0

    Weights need not sum to 1: a larger sum makes the probabilities surer, a smaller one less sure, as is right for
    these predictions.

    Parameters
    ----------
    weights
        ``(n_predictions,)`` :math:`w`, the same for all classes.

    References
    ----------
    Genest and Zidek, "Combining probability distributions: a critique and an annotated bibliography", Statistical
    Science 1986.
    """

    weights: np.ndarray

    @classmethod
    def fit(cls, predictions: Sequence[np.ndarray], truth: np.ndarray) -> Pool:
        """Fit the weights by maximum likelihood.

        Parameters
        ----------
        predictions
            ``(n_cells, n_classes)`` predictions of cells by what was not fitted to them, NaN where there is none.
        truth
            ``(n_cells, n_classes)`` indicators, 1 for a cell's class and 0 for the others.

        Returns
        -------
        The pool. Weights are those of a normal prior around equal ones of sum 1, with a standard deviation of 1; it
        bounds them if all cells are predicted rightly, and decides if no cell has all predictions.
        """
        logarithms = _logarithms(predictions)
        known = np.isfinite(logarithms).all((1, 2))
        logarithms, own = logarithms[known], truth[known].argmax(1)
        rows, equal = np.arange(len(own)), np.full(len(predictions), 1 / len(predictions))

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            scores = log_softmax(logarithms @ weights, axis=1)
            errors = np.exp(scores)
            errors[rows, own] -= 1
            gradient = np.einsum("nk,nkc->c", errors, logarithms) + weights - equal
            return float(((weights - equal) ** 2).sum() / 2 - scores[rows, own].sum()), gradient

        bounds = [(0, None)] * len(equal)
        return cls(minimize(loss, equal, jac=True, method="L-BFGS-B", bounds=bounds).x)

    def combine(self, predictions: Sequence[np.ndarray]) -> np.ndarray:
        """``(n_cells, n_classes)`` probabilities, of predictions in the order of :meth:`fit`."""
        return softmax(_logarithms(predictions) @ self.weights, axis=1)


def _logarithms(predictions: Sequence[np.ndarray]) -> np.ndarray:
    """``(n_cells, n_classes, n_predictions)`` logarithms of probabilities, all of them finite."""
    probabilities = np.stack(predictions, axis=-1).astype(np.float64)
    return np.log((1 - FLOOR) * probabilities + FLOOR / probabilities.shape[1])
