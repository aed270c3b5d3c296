"""How large errors are in different places of the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Cells for each landmark, and the most landmarks.
CELLS_EACH, MOST = 20, 100
#: Least expected error, relative to its mean: where training cells were all fitted well, others need not be.
LEAST = 0.1


class LocalErrors(NamedTuple):
    """Mean absolute error of each feature about landmarks in the latent space.

    Errors of training cells: they are too small, but say where cells are hard to predict.

    Parameters
    ----------
    landmarks
        ``(n_landmarks, n_latent)`` places.
    n_cells
        ``(n_landmarks,)`` number of training cells at each.
    width
        Mean squared distance of the training cells to their landmarks.
    errors
        ``(n_landmarks, n_features)`` mean absolute errors.
    """

    landmarks: np.ndarray
    n_cells: np.ndarray
    width: float
    errors: np.ndarray

    @classmethod
    def fit(cls, latents: np.ndarray, residuals: np.ndarray) -> LocalErrors:
        """Place landmarks among training cells.

        Parameters
        ----------
        latents
            ``(n_cells, n_latent)`` latents of at least one cell.
        residuals
            ``(n_cells, n_features)`` residuals, NaN where there is none.
        """
        latents = latents.astype(np.float64)
        n_landmarks = min(len(latents) // CELLS_EACH or 1, MOST, len(np.unique(latents, axis=0)))
        places = KMeans(n_landmarks, n_init=1, random_state=0).fit(latents)
        member = (places.labels_ == np.arange(n_landmarks)[:, None]).astype(np.float64)
        observed = ~np.isnan(residuals)
        absolute = np.abs(np.where(observed, residuals, 0.0))
        overall = absolute.sum(0) / np.maximum(observed.sum(0), 1)
        n = member @ observed
        errors = np.where(n > 0, member @ absolute / np.maximum(n, 1), overall)
        errors = np.maximum(errors, LEAST * overall)
        errors[:, overall == 0] = 1.0
        return cls(
            places.cluster_centers_.astype(np.float32),
            member.sum(1).astype(np.float32),
            float(places.inertia_ / len(latents)),
            errors.astype(np.float32),
        )

    def at(self, latents: ArrayLike) -> np.ndarray:
        """Expected absolute errors, up to a factor, of cells anywhere.

        Parameters
        ----------
        latents
            ``(n_cells, n_latent)`` latents; NaN for a cell without one.

        Returns
        -------
        ``(n_cells, n_features)`` float32 mean of the landmarks' errors, the nearer the more they weigh.
        """
        distance = cdist(latents, self.landmarks, "sqeuclidean")
        # Relative to the nearest landmark, so that far from all of them the weights are not 0 / 0.
        distance -= distance.min(axis=1, keepdims=True)
        weights = self.n_cells * np.exp(-distance / max(self.width, 1e-12))
        weights /= weights.sum(axis=1, keepdims=True)
        return weights.astype(np.float32) @ self.errors
