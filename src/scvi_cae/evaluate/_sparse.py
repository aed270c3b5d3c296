"""Sparse reduced-rank regression."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import MultiTaskElasticNet, RidgeCV

from scvi_cae.regression import ALPHAS, PairBaseline


class SparseReducedRankBaseline(PairBaseline):
    r"""Sparse reduced-rank regression: linear prediction from few source features through few dimensions.

    .. math:: \min_{W, V} \frac{1}{2n} |Y - X W V^\top|^2
              + \alpha \Big(\rho \sum_j |w_j| + \frac{1 - \rho}{2} |W|^2\Big)

    with orthonormal :math:`V`, by alternating an elastic net with all targets for given :math:`V` and a
    singular value decomposition for given :math:`W`. Source features whose row :math:`w_j` is 0 do not enter
    the prediction.

    Parameters
    ----------
    rank
        Number of dimensions; by default (``None``) the largest possible, the number of features of the
        narrower modality.
    alpha
        Penalty :math:`\alpha`; a larger one selects fewer features.
    l1_ratio
        :math:`\rho`, from just above 0 (ridge) to 1 (sparse).
    relaxed
        Whether to refit the selected features by ridge regression of the same rank, with a penalty selected
        by leave-one-out, instead of keeping their shrunk weights.
    max_iter
        Maximum number of alternations.

    Notes
    -----
    Missing values of the target are imputed by their prediction after each alternation.

    References
    ----------
    Kobak, Bernaerts, Weis, Scala, Tolias and Berens, "Sparse reduced-rank regression for exploratory
    visualisation of paired multivariate data", Journal of the Royal Statistical Society C 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import SparseReducedRankBaseline
    >>> x = np.random.default_rng(0).normal(size=(100, 20))
    >>> srrr = SparseReducedRankBaseline().fit(x[:80], x[:80, :2] @ [[1.0, 1, 0], [0, 1, 1]])
    >>> srrr.selected_.tolist()
    [0, 1]
    >>> srrr.predict(x[80:]).shape
    (20, 3)
    """

    def __init__(
        self,
        rank: int | None = None,
        alpha: float = 0.1,
        l1_ratio: float = 1.0,
        relaxed: bool = False,
        max_iter: int = 20,
    ) -> None:
        self.rank = rank
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.relaxed = relaxed
        self.max_iter = max_iter

    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        cells = present & ~np.isnan(y).all(1)
        x, y = x[cells], y[cells]
        self._centre = x.mean(0) if len(x) else np.zeros(x.shape[1])
        x = x - self._centre
        missing = np.isnan(y)
        self._mean = np.nan_to_num(np.nanmean(np.where(missing.all(0), 0.0, y), axis=0))
        y = np.where(missing, 0.0, y - self._mean)
        max_rank = min(x.shape[1], y.shape[1])
        rank = max_rank if self.rank is None else min(self.rank, max_rank)
        # At full rank without missing targets, the penalty does not depend on V: one alternation suffices.
        n_iter = 1 if rank == y.shape[1] and not missing.any() else self.max_iter
        rotation = np.linalg.svd(x.T @ y, full_matrices=False)[2][:rank].T
        net = MultiTaskElasticNet(
            alpha=self.alpha,
            l1_ratio=self.l1_ratio,
            fit_intercept=False,
            warm_start=True,
            max_iter=2000,
            tol=1e-3,
        )
        before = np.full_like(y, np.inf)
        for _ in range(n_iter):
            with warnings.catch_warnings():
                # The next alternation starts from these weights.
                warnings.simplefilter("ignore", ConvergenceWarning)
                weights = net.fit(x, y @ rotation).coef_.T
            left, _, right = np.linalg.svd(y.T @ (x @ weights), full_matrices=False)
            rotation = left @ right
            fitted = x @ weights @ rotation.T
            y[missing] = fitted[missing]
            if np.abs(fitted - before).max() < 1e-3:
                break
            before = fitted
        self.selected_ = np.flatnonzero(weights.any(1))
        self._weights = weights @ rotation.T
        if self.relaxed and len(self.selected_):
            chosen = x[:, self.selected_]
            coefficients = RidgeCV(ALPHAS, fit_intercept=False).fit(chosen, y).coef_.reshape(y.shape[1], -1).T
            leading = np.linalg.svd(chosen @ coefficients, full_matrices=False)[2][:rank].T
            self._weights = np.zeros_like(self._weights)
            self._weights[self.selected_] = coefficients @ leading @ leading.T

    def _predict(self, x: np.ndarray) -> np.ndarray:
        return (x - self._centre) @ self._weights + self._mean
