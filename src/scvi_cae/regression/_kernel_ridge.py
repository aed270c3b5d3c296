"""Kernel ridge regression on principal components, and bagged kernel ridge regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg
from sklearn.metrics.pairwise import rbf_kernel

from ._components import Components
from ._pairs import PairBaseline, describe, patterns
from ._state import WithState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Candidate penalties for leave-one-out.
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)


@describe
class KernelRidgeBaseline(WithState, PairBaseline):
    r"""Kernel ridge regression on principal components of the source.

    .. math:: \hat y(u) = \bar y + \sum_i \exp(-\gamma |u - u_i|^2)\, w_i, \quad
              w = (K + \alpha I)^{-1} (y - \bar y)

    with :math:`K` the kernel matrix of the training cells, :math:`u` the principal components of the
    standardised source, divided by the standard deviation of the first component. Each target feature is
    fitted to the cells that have it.

    Parameters
    ----------
    n_components
        Maximum number of principal components.
    gamma
        :math:`\gamma` of the kernel. From many features, 0.03 is better where pairs are few.
    alpha
        Penalty :math:`\alpha`; or several, of which leave-one-out over the training cells selects one for
        each group of features. A target that is hard to predict needs a larger penalty.
    %(squash)s

    Notes
    -----
    Time is cubic in the number of cells, which limits it to a few thousand.

    References
    ----------
    :class:`sklearn.kernel_ridge.KernelRidge` is the same for a single penalty.

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import KernelRidgeBaseline
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> KernelRidgeBaseline().fit(x[:80], np.sin(x[:80, :1])).predict(x[80:]).shape
    (20, 1)
    """

    def __init__(
        self,
        n_components: int = 50,
        gamma: float = 0.1,
        alpha: float | Sequence[float] = 0.3,
        squash: bool = False,
    ) -> None:
        self.n_components = n_components
        self.gamma = gamma
        self.alpha = alpha
        self.squash = squash

    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        components = Components.of(x[present], self.n_components).scaled()
        fitted = present & ~np.isnan(y).all(1)
        support, y = components(x[fitted]), y[fitted]
        kernel = rbf_kernel(support, gamma=self.gamma)
        fits = []
        for cells, columns in patterns(~np.isnan(y)):
            weights, mean = dual_weights(kernel[np.ix_(cells, cells)], y[np.ix_(cells, columns)], self.alpha)
            fits.append(
                {"columns": columns, "cells": np.flatnonzero(cells), "weights": weights, "mean": mean}
            )
        self._parameters = {
            "centre": components.centre,
            "projection": components.projection,
            "support": support,
            "gamma": self.gamma,
            "n_target": y.shape[1],
            "fits": fits,
        }

    def _predict(self, x: np.ndarray) -> np.ndarray:
        return predict_kernel_ridge(self._parameters, x)


def predict_kernel_ridge(parameters: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Standardised target of a standardised source by the fitted parameters of a kernel ridge regression."""
    components = (x - parameters["centre"]) @ parameters["projection"]
    kernel = rbf_kernel(components, parameters["support"], gamma=parameters["gamma"])
    y = np.zeros((len(x), parameters["n_target"]))
    for fit in parameters["fits"]:
        y[:, fit["columns"]] = kernel[:, fit["cells"]] @ fit["weights"] + fit["mean"]
    return y


def dual_weights(
    kernel: np.ndarray, y: np.ndarray, alpha: float | Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    r"""Dual weights of the training cells.

    Parameters
    ----------
    kernel
        ``(n_cells, n_cells)`` kernel matrix :math:`K`.
    y
        ``(n_cells, n_features)`` values.
    alpha
        Penalty, or several, of which the one with the smallest squared leave-one-out error is used.

    Returns
    -------
    ``(n_cells, n_features)`` weights :math:`(K + \alpha I)^{-1} (y - \bar y)`, and the mean :math:`\bar y`.
    """
    mean = y.mean(0)
    penalties = np.atleast_1d(alpha)
    if len(penalties) == 1:
        shifted = kernel + penalties[0] * np.eye(len(kernel))
        return linalg.solve(shifted, y - mean, assume_a="pos"), mean
    values, vectors = np.linalg.eigh(kernel)
    rotated = vectors.T @ (y - mean)
    best: tuple[float, np.ndarray] | None = None
    for penalty in penalties:
        shrunk = np.maximum(values, 0) + penalty
        weights = vectors @ (rotated / shrunk[:, None])
        # The leave-one-out residual of a cell is its weight divided by the diagonal of the inverse.
        error = float(np.sum((weights / (vectors**2 / shrunk).sum(1)[:, None]) ** 2))
        if best is None or error < best[0]:
            best = error, weights
    assert best is not None
    return best[1], mean


@describe
class BaggedKernelRidgeBaseline(WithState, PairBaseline):
    """Mean of kernel ridge regressions, each on a random half of the source features.

    Each :class:`KernelRidgeBaseline` draws its number of components from 30, 50 and 80, its ``gamma`` from
    0.05, 0.1 and 0.2, and its penalty from ``alphas``.

    Parameters
    ----------
    n_bags
        Number of regressions.
    alphas
        Penalties to draw from.
    %(seed)s

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import BaggedKernelRidgeBaseline
    >>> x = np.random.default_rng(0).normal(size=(100, 6))
    >>> BaggedKernelRidgeBaseline(n_bags=3).fit(x[:80], np.sin(x[:80, :1])).predict(x[80:]).shape
    (20, 1)
    """

    def __init__(self, n_bags: int = 20, alphas: Sequence[float] = (0.1, 0.3, 1.0), seed: int = 0) -> None:
        self.n_bags = n_bags
        self.alphas = alphas
        self.seed = seed

    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        rng = np.random.RandomState(self.seed)
        bags = []
        for _ in range(self.n_bags):
            features = rng.permutation(x.shape[1])[: max(x.shape[1] // 2, 1)]
            bag = KernelRidgeBaseline(
                rng.choice([30, 50, 80]), rng.choice([0.05, 0.1, 0.2]), rng.choice(self.alphas)
            )
            bag._fit(x[:, features], y, present)
            bags.append({"features": features, "regression": bag._parameters})
        self._parameters = {"bags": bags}

    def _predict(self, x: np.ndarray) -> np.ndarray:
        bags = self._parameters["bags"]
        return np.mean(
            [predict_kernel_ridge(bag["regression"], x[:, bag["features"]]) for bag in bags], axis=0
        )
