"""How far cells are from those that a modality's arm was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from scvi_cae.module import Arm, Observation

#: Number of typical cells beyond which a sample of them is enough.
MOST_CELLS = 10_000


class Reconstruction(NamedTuple):
    """What an arm makes of cells.

    Parameters
    ----------
    latents
        ``(n_cells, n_latent)``.
    errors
        ``(n_cells, n_features)`` squared errors of the reconstruction, NaN where missing, of standardised values.
    """

    latents: np.ndarray
    errors: np.ndarray


@torch.inference_mode()
def reconstruct(arm: Arm, observation: Observation) -> Reconstruction:
    """Latents and reconstruction errors of cells.

    Parameters
    ----------
    arm
        The arm, in evaluation mode.
    observation
        The cells.
    """
    z = arm.encode(observation)
    inputs = arm.likelihood.inputs(observation)
    expected = arm.likelihood.expected_inputs(arm.decoder(z, observation.batch))
    errors = torch.where(observation.observed > 0, (inputs - expected).square(), torch.nan)
    return Reconstruction(z.cpu().numpy().astype(float), errors.cpu().numpy())


class Typical(NamedTuple):
    """What is typical of a modality.

    Parameters
    ----------
    errors
        ``(n_features,)`` mean squared errors of the reconstruction.
    mean
        ``(n_latent,)`` mean latent.
    precision
        ``(n_latent, n_latent)`` inverse of the latents' covariance.
    distances
        ``(n_cells,)`` distances of the typical cells themselves, ascending.
    """

    errors: np.ndarray
    mean: np.ndarray
    precision: np.ndarray
    distances: np.ndarray

    @classmethod
    def of(cls, fit: Reconstruction) -> Typical:
        """What is typical, from typical cells."""
        errors = np.nanmean(fit.errors, axis=0)
        # A feature that is reconstructed perfectly would outweigh all others.
        errors = np.where(np.isnan(errors), 1.0, np.maximum(errors, 1e-3))
        n_latent = fit.latents.shape[1]
        covariance = np.cov(fit.latents.T).reshape(n_latent, n_latent) + 1e-3 * np.eye(n_latent)
        typical = cls(errors, fit.latents.mean(0), np.linalg.inv(covariance), np.empty(0))
        return typical._replace(distances=np.sort(typical.distance(fit)))

    def distance(self, fit: Reconstruction) -> np.ndarray:
        r"""Distances of cells from what is typical; about 1 for a typical cell.

        .. math::

            d = \sqrt{\tfrac12 \operatorname{mean}_f \frac{(x_f - \hat x_f)^2}{e_f}
                + \tfrac{1}{2 n} (z - \bar z)^\top \Sigma^{-1} (z - \bar z)}
        """
        residual = np.nanmean(fit.errors / self.errors, axis=1)
        centred = fit.latents - self.mean
        latent = np.einsum("ij,jk,ik->i", centred, self.precision, centred) / centred.shape[1]
        return np.sqrt((residual + latent) / 2)

    def tail(self, distances: np.ndarray) -> np.ndarray:
        """Fraction of typical cells at least as far away, with the cell itself among them: a p-value."""
        nearer = np.searchsorted(self.distances, distances, side="left")
        return (len(self.distances) - nearer + 1) / (len(self.distances) + 1)
