"""Expected errors of predictions across the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Number of cells for each landmark, and the largest number of landmarks.
CELLS_EACH, MAX_LANDMARKS = 20, 100
#: Smallest expected error, relative to its mean: where all training cells are fitted well, others need not be.
MIN_ERROR = 0.1


class LocalErrors(NamedTuple):
    """Mean absolute error of each feature near landmarks in the latent space.

    These are errors of training cells, which are too small, but show where cells are hard to predict.

    Parameters
    ----------
    landmarks
        ``(n_landmarks, n_latent)`` positions.
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
        """Place landmarks among training cells by k-means.

        Parameters
        ----------
        latents
            ``(n_cells, n_latent)`` latents of at least one cell.
        residuals
            ``(n_cells, n_features)`` residuals, NaN where not measured.
        """
        latents = latents.astype(np.float64)
        n_landmarks = min(len(latents) // CELLS_EACH or 1, MAX_LANDMARKS, len(np.unique(latents, axis=0)))
        places = KMeans(n_landmarks, n_init=1, random_state=0).fit(latents)
        member = (places.labels_ == np.arange(n_landmarks)[:, None]).astype(np.float64)
        observed = ~np.isnan(residuals)
        absolute = np.abs(np.where(observed, residuals, 0.0))
        overall = absolute.sum(0) / np.maximum(observed.sum(0), 1)
        n = member @ observed
        errors = np.where(n > 0, member @ absolute / np.maximum(n, 1), overall)
        errors = np.maximum(errors, MIN_ERROR * overall)
        errors[:, overall == 0] = 1.0
        return cls(
            places.cluster_centers_.astype(np.float32),
            member.sum(1).astype(np.float32),
            float(places.inertia_ / len(latents)),
            errors.astype(np.float32),
        )

    def at(self, latents: ArrayLike) -> np.ndarray:
        """Expected absolute errors of any cell, up to a factor.

        Parameters
        ----------
        latents
            ``(n_cells, n_latent)`` latents; NaN for a cell without one.

        Returns
        -------
        ``(n_cells, n_features)`` float32 mean of the landmarks' errors, weighted by proximity.
        """
        distance = cdist(latents, self.landmarks, "sqeuclidean")
        # Relative to the nearest landmark, so that weights far from all of them are not 0 / 0.
        distance -= distance.min(axis=1, keepdims=True)
        weights = self.n_cells * np.exp(-distance / max(self.width, 1e-12))
        weights /= weights.sum(axis=1, keepdims=True)
        return weights.astype(np.float32) @ self.errors
