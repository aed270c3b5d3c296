"""Multinomial logistic regression, linear or of a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import eigh
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel

from ._classifier import ClassifierBaseline, dealt_folds
from ._components import Components

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Number of folds within the training cells, and tolerance of the fits that are compared there, ten times the final one.
N_FOLDS, TOLERANCE = 3, 1e-3
#: Eigenvectors of a kernel with a smaller share of the largest eigenvalue are rounding errors.
SMALLEST = 1e-8


class LogisticBaseline(ClassifierBaseline):
    r"""Multinomial logistic regression from a modality to labels.

    .. math:: \log p_c(u) = b_c + f_c(u) + \mathrm{const}, \quad f_c(u) = w_c^\top u \quad \mathrm{or} \quad
              f_c(u) = \sum_i \exp(-\gamma |u - u_i|^2)\, w_{ci}

    with :math:`u` the principal components of the standardised source, squashed by :math:`\operatorname{arsinh}` to
    make logarithms of outliers, and the sum over the labelled training cells, with components divided by the standard
    deviation of the first. For a modality of many features, :class:`DiscriminantBaseline` is better where classes have
    few cells.

    Parameters
    ----------
    gamma
        :math:`\gamma` of the kernel; ``None`` for a linear function. 0.1 is better for few features, such as those of
        electrophysiology.
    penalties
        Candidate penalties :math:`\lambda` of :math:`\lambda |f|^2 / 2`, of which three folds within the training cells
        select one by log-loss, trying the largest first until it rises. By default from 10 to 0.3, and from 0.3 to
        0.01 with a kernel.
    n_components
        Maximum number of principal components, and of eigenvectors of the kernel.

    References
    ----------
    :class:`sklearn.linear_model.LogisticRegression`.

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import LogisticBaseline
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> types = np.where(x[:, 0] > 0, "a", "b")
    >>> classifier = LogisticBaseline().fit(x[:80], types[:80])
    >>> classifier.classes_
    ['a', 'b']
    >>> classifier.predict(x[80:]).shape
    (20, 2)
    """

    def __init__(
        self,
        gamma: float | None = None,
        penalties: Sequence[float] | None = None,
        n_components: int = 200,
    ) -> None:
        self.gamma = gamma
        if penalties is None:
            penalties = (10.0, 3.0, 1.0, 0.3) if gamma is None else (0.3, 0.1, 0.03, 0.01)
        self.penalties = penalties
        self.n_components = n_components

    def _fit(self, x: np.ndarray, codes: np.ndarray) -> dict[str, Any]:
        labelled, components = codes >= 0, Components.of(x, self.n_components)
        codes = codes[labelled]
        if self.gamma is None:
            weights, intercept = fit_logistic(components(x[labelled]), codes, self.penalties)
            weights = components.projection @ weights
            return {"weights": weights, "intercept": intercept - components.centre @ weights}
        components = components.scaled()
        support = components(x[labelled])
        kernel = rbf_kernel(support, gamma=self.gamma)
        n_cells = len(kernel)
        values, vectors = eigh(kernel, subset_by_index=(max(n_cells - self.n_components, 0), n_cells - 1))
        leading = values > SMALLEST * values[-1]
        # The penalty of a function is the squared length of its weights for these features of cells.
        features = vectors[:, leading] / np.sqrt(values[leading])
        weights, intercept = fit_logistic(kernel @ features, codes, self.penalties)
        return {
            "centre": components.centre,
            "projection": components.projection,
            "support": support,
            "gamma": self.gamma,
            "weights": features @ weights,
            "intercept": intercept,
        }

    def _scores(self, x: np.ndarray) -> np.ndarray:
        if self.gamma is not None:
            components = (x - self._parameters["centre"]) @ self._parameters["projection"]
            x = rbf_kernel(components, self._parameters["support"], gamma=self._parameters["gamma"])
        return super()._scores(x)


def fit_logistic(
    features: np.ndarray, codes: np.ndarray, penalties: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and intercepts of a logistic regression, with the penalty selected within the cells.

    Parameters
    ----------
    features
        ``(n_cells, n_features)`` features, on one scale.
    codes
        ``(n_cells,)`` number of each cell's class, each from 0 on occurring at least once.
    penalties
        Candidate penalties.

    Returns
    -------
    ``(n_features, n_classes)`` weights and ``(n_classes,)`` intercepts.
    """
    penalty = best_penalty(features, codes, penalties) if len(penalties) > 1 else penalties[0]
    model = LogisticRegression(C=1 / penalty, max_iter=1000).fit(features, codes)
    weights, intercept = model.coef_.T, model.intercept_
    if len(intercept) == 1:  # two classes: the score of the first is 0
        weights, intercept = np.c_[np.zeros_like(weights), weights], np.array([0.0, intercept[0]])
    return weights, intercept


def best_penalty(features: np.ndarray, codes: np.ndarray, penalties: Sequence[float]) -> float:
    """Penalty with the smallest log-loss over folds, from the largest on until it rises."""
    folds = dealt_folds(codes, N_FOLDS)
    best, smallest = max(penalties), np.inf
    models = [LogisticRegression(tol=TOLERANCE, max_iter=1000, warm_start=True) for _ in range(N_FOLDS)]
    for penalty in sorted(penalties, reverse=True):
        loss = 0.0
        for fold, model in enumerate(models):
            train = folds != fold
            test = ~train & np.isin(codes, codes[train])
            if len(np.unique(codes[train])) > 1 and test.any():
                model.set_params(C=1 / penalty).fit(features[train], codes[train])
                loss -= log_likelihood(model, features[test], codes[test])
        if loss >= smallest:
            break
        best, smallest = penalty, loss
    return best


def log_likelihood(model: LogisticRegression, features: np.ndarray, codes: np.ndarray) -> float:
    """Sum of the logarithms of the probabilities of cells' own classes, all known to the model."""
    logarithms = model.predict_log_proba(features)
    return float(logarithms[np.arange(len(codes)), np.searchsorted(model.classes_, codes)].sum())
