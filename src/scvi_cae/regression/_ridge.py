"""Ridge regression from one modality to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import RidgeCV

from ._pairs import PairBaseline, describe, patterns
from ._state import WithState

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Candidate penalties for standardised features: from nearly no penalty to nearly the mean.
ALPHAS = np.logspace(0, 5, 11)


@describe
class RidgeBaseline(WithState, PairBaseline):
    r"""Ridge regression from one modality to another.

    Source and target are standardised by the cells passed to :meth:`fit`. Target features that are observed
    in the same cells are fitted together, on these cells only; missing values of the target are never imputed.

    Parameters
    ----------
    alphas
        Candidate penalties; leave-one-out cross-validation within the training cells selects one for each
        group of features. By default 11 from 1 to 100,000: with standardised features and 1,000 cells, from
        nearly least squares to nearly the mean.
    %(squash)s

    References
    ----------
    :class:`sklearn.linear_model.RidgeCV`.

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import RidgeBaseline
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> RidgeBaseline().fit(x[:80], 2 * x[:80, :1]).predict(x[80:]).shape
    (20, 1)
    """

    def __init__(self, alphas: ArrayLike = ALPHAS, squash: bool = False) -> None:
        self.alphas = np.asarray(alphas, dtype=float)
        self.squash = squash

    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        fits = []
        # A feature that fewer than two cells with the source have keeps the training mean.
        for cells, columns in patterns(~np.isnan(y) & present[:, None]):
            ridge = RidgeCV(self.alphas).fit(x[cells], y[np.ix_(cells, columns)])
            coefficients = ridge.coef_.reshape(len(columns), -1).T
            fits.append(
                {
                    "columns": columns,
                    "coefficients": coefficients,
                    "intercept": np.atleast_1d(ridge.intercept_),
                }
            )
        self._parameters = {"n_target": y.shape[1], "fits": fits}

    def _predict(self, x: np.ndarray) -> np.ndarray:
        y = np.zeros((len(x), self._parameters["n_target"]))
        for fit in self._parameters["fits"]:
            y[:, fit["columns"]] = x @ fit["coefficients"] + fit["intercept"]
        return y
