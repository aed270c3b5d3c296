"""Class probabilities of a reference, corrected by few cells of known class of a query."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp
from sklearn.model_selection import KFold

#: Penalties among which one is selected; the last leaves the probabilities as they are.
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, np.inf)
#: Penalty on what every class gains or loses.
SHIFT_PENALTY = 1.0
#: Number of parts, each of which is predicted from the others.
N_PARTS = 5
#: Smallest number of cells of known class by which probabilities are corrected.
MIN_CELLS = 15
#: Smallest probability of the reference.
FLOOR = 1e-4


class ClassCorrection(NamedTuple):
    r"""Corrected probabilities :math:`\operatorname{softmax}(t \log p + b + W^\top x)`.

    Parameters
    ----------
    power, shift, weights
        :math:`t`; ``(n_classes,)`` :math:`b`; ``(n_features, n_classes)`` :math:`W`.
    """

    power: float
    shift: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, probabilities: np.ndarray, values: np.ndarray, classes: np.ndarray, penalty: float) -> Self:
        """Fit the correction by maximum likelihood, drawn towards no correction.

        Parameters
        ----------
        probabilities
            ``(n_cells, n_classes)`` probabilities by the reference.
        values
            ``(n_cells, n_features)`` standard scores.
        classes
            ``(n_cells,)`` numbers of the classes.
        penalty
            Half of this times the sum of squared weights is added to minus the log-likelihood.
        """
        n_classes, n_features = probabilities.shape[1], values.shape[1]
        if np.isinf(penalty):
            return cls(1.0, np.zeros(n_classes), np.zeros((n_features, n_classes)))
        log_p, rows = np.log(np.maximum(probabilities, FLOOR)), np.arange(len(classes))

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            power, shift, weights = _split(parameters, n_classes)
            logits = power * log_p + shift + values @ weights
            total = logsumexp(logits, axis=1)
            residual = np.exp(logits - total[:, None])
            residual[rows, classes] -= 1
            penalised = penalty * (weights**2).sum() + SHIFT_PENALTY * ((shift**2).sum() + (power - 1) ** 2)
            gradient = [
                [(residual * log_p).sum() + SHIFT_PENALTY * (power - 1)],
                residual.sum(0) + SHIFT_PENALTY * shift,
                (values.T @ residual + penalty * weights).ravel(),
            ]
            return (total - logits[rows, classes]).sum() + penalised / 2, np.concatenate(gradient)

        start = np.concatenate([[1.0], np.zeros(n_classes * (1 + n_features))])
        return cls(*_split(minimize(loss, start, jac=True, method="L-BFGS-B").x, n_classes))

    def log_probabilities(self, probabilities: np.ndarray, values: np.ndarray) -> np.ndarray:
        """``(n_cells, n_classes)`` logarithms of the corrected probabilities."""
        log_p = np.log(np.maximum(probabilities, FLOOR))
        return log_softmax(self.power * log_p + self.shift + values @ self.weights, axis=1)

    def __call__(self, probabilities: np.ndarray, values: np.ndarray) -> np.ndarray:
        """``(n_cells, n_classes)`` corrected probabilities."""
        return np.exp(self.log_probabilities(probabilities, values))


def _split(parameters: np.ndarray, n_classes: int) -> tuple[float, np.ndarray, np.ndarray]:
    """The parts of all parameters."""
    return (
        float(parameters[0]),
        parameters[1 : 1 + n_classes],
        parameters[1 + n_classes :].reshape(-1, n_classes),
    )


def select_correction(
    probabilities: np.ndarray, values: np.ndarray, classes: np.ndarray
) -> tuple[ClassCorrection, np.ndarray]:
    """Fit a correction with the penalty under which cells are predicted best that it was not fitted to.

    Parameters
    ----------
    probabilities, values, classes
        As in :meth:`ClassCorrection.fit`.

    Returns
    -------
    The correction, and ``(n_cells, n_classes)`` probabilities of each cell by one that was not fitted to it.
    """
    parts = list(KFold(N_PARTS, shuffle=True, random_state=0).split(values))
    rows, found = np.arange(len(classes)), {}
    for penalty in PENALTIES:
        out = np.empty(probabilities.shape)
        for train, test in parts:
            correction = ClassCorrection.fit(probabilities[train], values[train], classes[train], penalty)
            out[test] = correction.log_probabilities(probabilities[test], values[test])
        found[penalty] = out
    best = max(PENALTIES, key=lambda penalty: found[penalty][rows, classes].sum())
    return ClassCorrection.fit(probabilities, values, classes, best), np.exp(found[best])
