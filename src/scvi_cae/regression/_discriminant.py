"""Linear discriminant analysis with shrunk means and covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg
from scipy.special import log_softmax

from ._classifier import ClassifierBaseline, dealt_folds
from ._components import Components

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Number of folds within the training cells.
N_FOLDS = 5
#: Number of cells that the covariance's prior, and the overall mean of a class's mean, count for.
PRIOR_CELLS, MEAN_CELLS = 20, 1
#: Components are taken to vary at least by this share of the first one, and by this, if none varies.
SMALLEST, TINY = 1e-6, 1e-9
#: Candidate factors of the scores.
CONFIDENCES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12)


class DiscriminantBaseline(ClassifierBaseline):
    r"""Linear discriminant analysis of principal components, for many features and classes of few cells.

    .. math:: \log p_c(u) = t\, \big(\log n_c + m_c^\top S^{-1} u - m_c^\top S^{-1} m_c / 2\big) + \mathrm{const}

    with :math:`u` the principal components of the standardised source, squashed by :math:`\operatorname{arsinh}` to
    make logarithms of outliers; :math:`n_c` the number of cells of a class; :math:`m_c` its mean, in which the overall
    mean counts for one more cell; and :math:`S` the covariance within classes, in which the components' own variances
    count for 20 more cells. The factor :math:`t` makes up for components that are not Gaussian, whose probabilities
    would be too close to 0 and 1.

    Parameters
    ----------
    n_components
        Candidate numbers of principal components. Five folds within the training cells select one, and :math:`t` among
        seven values from 0.12 to 1, by log-loss.

    References
    ----------
    :class:`sklearn.discriminant_analysis.LinearDiscriminantAnalysis` has no additional cells, and :math:`t = 1`.

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import DiscriminantBaseline
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> types = np.where(x[:, 0] > 0, "a", "b")
    >>> DiscriminantBaseline().fit(x[:80], types[:80]).predict(x[80:]).shape
    (20, 2)
    """

    def __init__(self, n_components: Sequence[int] = (20, 40, 80)) -> None:
        self.n_components = n_components

    def _fit(self, x: np.ndarray, codes: np.ndarray) -> dict[str, Any]:
        labelled, components = codes >= 0, Components.of(x, max(self.n_components))
        u, codes = components(x[labelled]), codes[labelled]
        numbers = sorted({min(n, u.shape[1]) for n in self.n_components})
        losses = np.array([fold_losses(u[:, :n], codes, components.spread[:n]) for n in numbers])
        best, confidence = np.unravel_index(losses.argmin(), losses.shape)
        n, t = numbers[best], CONFIDENCES[confidence]
        weights, intercept = discriminant(u[:, :n], codes, components.spread[:n])
        weights = t * components.projection[:, :n] @ weights
        return {"weights": weights, "intercept": t * intercept - components.centre @ weights}


def discriminant(u: np.ndarray, codes: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and intercepts of the discriminant, with a factor of 1.

    Parameters
    ----------
    u
        ``(n_cells, n_components)`` principal components.
    codes
        ``(n_cells,)`` number of each cell's class.
    spread
        ``(n_components,)`` standard deviations of the components.

    Returns
    -------
    ``(n_components, n_classes)`` weights and ``(n_classes,)`` intercepts, minus infinity for a class without cells.
    """
    sizes = np.bincount(codes)
    sums = np.zeros((len(sizes), u.shape[1]))
    np.add.at(sums, codes, u)
    residuals = u - (sums / np.maximum(sizes, 1)[:, None])[codes]
    n_degrees = len(u) - (sizes > 0).sum()
    prior = np.diag(np.maximum(spread, max(SMALLEST * spread[0], TINY)) ** 2)
    covariance = (residuals.T @ residuals + PRIOR_CELLS * prior) / (n_degrees + PRIOR_CELLS)
    means = (sums + MEAN_CELLS * u.mean(0)) / (sizes + MEAN_CELLS)[:, None]
    weights = linalg.solve(covariance, means.T, assume_a="pos")
    with np.errstate(divide="ignore"):
        return weights, np.log(sizes) - (means.T * weights).sum(0) / 2


def fold_losses(u: np.ndarray, codes: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Log-loss of cells by the discriminant of the other folds, for each factor; see :func:`discriminant`."""
    folds, losses = dealt_folds(codes, N_FOLDS), np.zeros(len(CONFIDENCES))
    for fold in np.unique(folds):
        train = folds != fold
        # Cells of a class that no other fold has would have an infinite loss for every factor.
        test = ~train & np.isin(codes, codes[train])
        if not test.any():
            continue
        weights, intercept = discriminant(u[train], codes[train], spread)
        own, scores = codes[test], u[test] @ weights + intercept
        for place, t in enumerate(CONFIDENCES):
            losses[place] -= log_softmax(t * scores, axis=1)[np.arange(len(own)), own].sum()
    return losses
