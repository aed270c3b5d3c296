"""Distribution of a narrow modality among the training cells, with which that of a query is compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from scipy.optimize import nnls
from scipy.stats import chi2
from sklearn.cluster import KMeans

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Probabilities of the quantiles that are kept.
PROBABILITIES = np.linspace(0, 1, 101)
#: Largest standard score, so that no single value decides.
MAX_SCORE = 3.0
#: Smallest numbers of cells that have a distribution, and of cells of a group.
MIN_CELLS, MIN_GROUP = 50, 10
#: Number of groups without labels, and largest number of classes that are groups.
N_GROUPS, MAX_GROUPS = 8, 30
#: Number of cells for which the covariance over all groups counts in that of one, and what is added to variances.
PRIOR_CELLS, RIDGE = 300, 0.005
#: Difference of means, in standard deviations, that is no shift: days and animals differ as well.
TOLERANCE = 0.1
#: Probability below which a query is shifted.
MAX_P = 0.01


class Shift(NamedTuple):
    """How a query differs from the training cells.

    Parameters
    ----------
    p_value
        Probability of a difference as large, if the query's cells are of the groups of the training cells.
    scores
        ``(n_features,)`` differences in standard errors, above 0 for values that are higher; NaN for a missing feature.
    """

    p_value: float
    scores: np.ndarray

    @property
    def found(self) -> bool:
        """Whether the query is shifted."""
        return self.p_value < MAX_P


class FeatureDistribution(NamedTuple):
    """Distribution of the features of a modality among the training cells, in the data's units.

    Parameters
    ----------
    quantiles
        ``(101, n_features)`` quantiles.
    mean, covariance, number
        ``(n_groups, n_features)``, ``(n_groups, n_features, n_features)`` and ``(n_groups, n_features)`` moments of standard
        scores, and numbers of measured values, in groups of cells: classes, or clusters of values without labels.
    label, classes
        The column of labels whose classes the groups are, and the number of each group's class; empty for clusters.
    """

    quantiles: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    number: np.ndarray
    label: str
    classes: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, labels: Mapping[str, np.ndarray]) -> Self | None:
        """Fit the distribution to training cells.

        Parameters
        ----------
        values
            ``(n_cells, n_features)`` values, NaN where missing.
        labels
            ``(n_cells, n_classes)`` indicators of the classes of each column of labels, 0 for a cell without.

        Returns
        -------
        The distribution; ``None`` if there are too few cells to compare with.
        """
        if len(values) < MIN_CELLS:
            return None
        quantiles = quantiles_of(values)
        scores = _standard_scores(values, *moments_of(quantiles))
        groups, label, classes = _groups(scores, labels)
        grouped, groups = scores[groups >= 0], groups[groups >= 0]
        members = [grouped[groups == g] for g in range(groups.max() + 1)]
        mean = np.stack([_mean_of(x) for x in members])
        number = np.stack([np.isfinite(x).sum(0) for x in members]).astype(float)
        residuals = [np.nan_to_num(x - centre) for x, centre in zip(members, mean, strict=True)]
        own = np.stack([r.T @ r for r in residuals])
        # Variances are over the values that were measured.
        pooled = own.sum(0) / _products(np.maximum(number.sum(0), 1))
        covariance = (own + PRIOR_CELLS * pooled) / _products(number + PRIOR_CELLS)
        return cls(quantiles, mean, covariance + RIDGE * np.eye(values.shape[1]), number, label, classes)

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Standard scores of ``(n_cells, n_features)`` values; NaN where missing, or constant in training."""
        return _standard_scores(values, *moments_of(self.quantiles))

    def shift(self, values: np.ndarray) -> Shift:
        r"""Compare the values of a query with those of the training cells, whatever its composition.

        The mean of the query's standard scores is compared with the nearest mixture of the groups' means, by
        :math:`d^\top C^{-1} d`, which has a :math:`\chi^2` distribution if the query is a sample of the groups. :math:`C` is
        the covariance of both means, and the square of a tolerance.

        Parameters
        ----------
        values
            ``(n_cells, n_features)`` values in the data's units, NaN where missing.
        """
        scores = self.scores(values)
        number = np.isfinite(scores).sum(0)
        there = np.flatnonzero(number)
        out = np.full(values.shape[1], np.nan)
        if not len(there):
            return Shift(1.0, out)
        observed, mean = np.nanmean(scores[:, there], axis=0), self.mean[:, there]
        covariance = self.covariance[:, there][:, :, there]
        # Of a feature that fewer cells have, the mean is less certain, and features of other cells do not go together.
        known = np.isfinite(scores[:, there]).astype(float)
        of_query = covariance * (known.T @ known) / np.outer(number[there], number[there])
        of_training = covariance / _products(np.maximum(self.number[:, there], 1))
        shares = self.number.sum(1) / self.number.sum()
        for _ in range(4):
            error = _error(shares, of_query, of_training)
            root = np.linalg.cholesky(np.linalg.inv(error)).T
            # The last row holds the sum of the shares at 1.
            shares, _ = nnls(
                np.vstack([root @ mean.T, np.full(len(mean), 1e4)]), np.append(root @ observed, 1e4)
            )
            shares = shares / shares.sum()
        error = _error(shares, of_query, of_training)
        difference = observed - shares @ mean
        out[there] = difference / np.sqrt(np.diag(error))
        return Shift(float(chi2.sf(difference @ np.linalg.solve(error, difference), len(there))), out)


def quantiles_of(values: np.ndarray) -> np.ndarray:
    """``(101, n_features)`` quantiles of the values of each feature; NaN for one without."""
    out = np.full((len(PROBABILITIES), values.shape[1]), np.nan)
    known = np.isfinite(values).any(0)
    out[:, known] = np.nanquantile(values[:, known], PROBABILITIES, axis=0)
    return out


def moments_of(quantiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of what lies between the first and the 99th percentile, so without outliers."""
    inner = quantiles[1:-1]
    # Rounding gives a constant a standard deviation.
    return inner.mean(0), np.where(inner[-1] > inner[0], inner.std(0), 0.0)


def _standard_scores(values: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Standard scores within limits; NaN where missing, or without spread."""
    with np.errstate(invalid="ignore"):
        scores = (values - mean) / np.where(spread > 0, spread, np.nan)
    return np.clip(scores, -MAX_SCORE, MAX_SCORE)


def _products(number: np.ndarray) -> np.ndarray:
    """``(..., n_features, n_features)`` numbers of values for a covariance, from those for each feature's variance."""
    return np.sqrt(number[..., :, None] * number[..., None, :])


def _error(shares: np.ndarray, of_query: np.ndarray, of_training: np.ndarray) -> np.ndarray:
    """Covariance of the difference between the means of a query and of a mixture of groups."""
    tolerance = TOLERANCE**2 * np.eye(of_query.shape[1])
    return (
        np.einsum("g,gij->ij", shares, of_query) + np.einsum("g,gij->ij", shares**2, of_training) + tolerance
    )


def _mean_of(scores: np.ndarray) -> np.ndarray:
    """Mean of each feature; that of all cells, 0, where no value is known."""
    number = np.isfinite(scores).sum(0)
    return np.nansum(scores, axis=0) / np.maximum(number, 1)


def _groups(scores: np.ndarray, labels: Mapping[str, np.ndarray]) -> tuple[np.ndarray, str, np.ndarray]:
    """Groups of cells: classes of the coarsest labels, or clusters.

    Returns
    -------
    ``(n_cells,)`` number of each cell's group, -1 for none; the column of labels, and the class of each group.
    """
    usable = {}
    for name, weights in labels.items():
        large = np.flatnonzero(weights.sum(0) >= MIN_GROUP)
        if 1 < len(large) <= MAX_GROUPS and weights[:, large].sum() >= len(scores) / 2:
            usable[name] = large
    if usable:
        name = min(usable, key=lambda label: len(usable[label]))
        weights = labels[name][:, usable[name]]
        return np.where(weights.any(1), weights.argmax(1), -1), name, usable[name]
    n_groups = int(np.clip(len(scores) // MIN_CELLS, 1, N_GROUPS))
    found = KMeans(n_groups, n_init=3, random_state=0).fit_predict(np.nan_to_num(scores))
    return found, "", np.empty(0, dtype=np.int64)
