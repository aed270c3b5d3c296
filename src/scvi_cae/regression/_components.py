"""Principal components of a standardised modality."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.decomposition import PCA

if TYPE_CHECKING:
    from typing import Self


class Components(NamedTuple):
    """Principal components of standardised values.

    Parameters
    ----------
    centre
        ``(n_features,)`` mean.
    projection
        ``(n_features, n_components)``: components are ``(values - centre) @ projection``.
    spread
        ``(n_components,)`` standard deviations of the components, the largest first.
    """

    centre: np.ndarray
    projection: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, n_components: int) -> Self:
        """Fit at most ``n_components`` to ``(n_cells, n_features)`` values without missing ones."""
        with np.errstate(invalid="ignore"):  # shares of a variance that is 0, which are not used
            pca = PCA(min(n_components, *values.shape), random_state=0).fit(values)
        return cls(pca.mean_, pca.components_.T, np.sqrt(pca.explained_variance_))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """``(n_cells, n_components)`` components of values."""
        return (values - self.centre) @ self.projection

    def scaled(self) -> Self:
        """The components divided by the standard deviation of the first."""
        scale = self.spread[0] or 1.0
        return self._replace(projection=self.projection / scale, spread=self.spread / scale)
