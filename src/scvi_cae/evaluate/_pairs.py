"""What baselines that predict one modality from another share: standardising, and missing values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike
    from sklearn.pipeline import Pipeline


class PairBaseline(ABC):
    """A baseline from one modality to another, in standard deviations of the training cells."""

    _source: Pipeline
    _target: StandardScaler

    def fit(self, source: ArrayLike, target: ArrayLike) -> Self:
        """Fit to training cells.

        Parameters
        ----------
        source
            ``(n_cells, n_source)`` values, NaN where missing.
        target
            ``(n_cells, n_target)`` values of the same cells, NaN where missing. Cells may lack either
            modality altogether: they still count for the mean and standard deviation of the other.

        Returns
        -------
        The baseline itself.

        Raises
        ------
        ValueError
            If the cells are not the same number, or a feature of the target has no observed value.
        """
        source, target = (np.asarray(values, dtype=float) for values in (source, target))
        if len(source) != len(target):
            raise ValueError(f"source has {len(source)} cells and target {len(target)}; give the same cells.")
        observed = ~np.isnan(target)
        if not observed.any(0).all():
            raise ValueError(
                f"Features of the target without a value in any training cell: columns "
                f"{np.flatnonzero(~observed.any(0)).tolist()}. Leave them out."
            )
        # StandardScaler passes NaN on; a constant feature gets scale 1.
        self._source = make_pipeline(
            StandardScaler(), SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True)
        ).fit(source)
        self._target = StandardScaler().fit(target)
        self._fit(self._source.transform(source), self._target.transform(target), ~np.isnan(source).all(1))
        return self

    def predict(self, source: ArrayLike) -> np.ndarray:
        """Predict the target of any cells.

        Parameters
        ----------
        source
            ``(n_cells, n_source)`` values, NaN where missing.

        Returns
        -------
        ``(n_cells, n_target)`` values in the units of the target; NaN for cells without any source value.
        """
        source = np.asarray(source, dtype=float)
        y = self._predict(self._source.transform(source))
        y[np.isnan(source).all(1)] = np.nan
        return self._target.inverse_transform(y)

    @abstractmethod
    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        """Fit to standardised values: of the source without, of the target with NaN; cells that have the source."""

    @abstractmethod
    def _predict(self, x: np.ndarray) -> np.ndarray:
        """Standardised target of a standardised source."""


def patterns(observed: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features that are observed in the same cells.

    Parameters
    ----------
    observed
        Boolean ``(n_cells, n_features)``.

    Yields
    ------
    Mask of the cells, and positions of the features; those with fewer than two cells are left out.
    """
    unique, group = np.unique(observed, axis=1, return_inverse=True)
    for k, cells in enumerate(unique.T):
        if cells.sum() >= 2:
            yield cells, np.flatnonzero(group.ravel() == k)
