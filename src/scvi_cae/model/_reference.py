"""Distribution of reconstruction errors and latents with which other cells are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ._encoding import observations

if TYPE_CHECKING:
    from scvi_cae.data import AlignedData
    from scvi_cae.module import CoupledModule


class Reconstruction(NamedTuple):
    """Latents and reconstruction errors of cells in one arm.

    Parameters
    ----------
    latents
        ``(n_cells, n_latent)``.
    errors
        ``(n_cells, n_features)`` squared errors of standardised values, NaN where missing.
    """

    latents: np.ndarray
    errors: np.ndarray


@torch.inference_mode()
def reconstruct(module: CoupledModule, data: AlignedData, modality: str, cells: np.ndarray) -> Reconstruction:
    """Reconstruct a modality of cells that have it.

    Parameters
    ----------
    module
        The trained module.
    data
        The data.
    modality
        Key of the modality.
    cells
        Positions of cells.
    """
    arm, likelihood = module.arm(modality), module.arm(modality).likelihood
    latents = np.empty((len(cells), module.n_latent))
    errors = np.empty((len(cells), data[modality].n_features), dtype=np.float32)
    # One part of each chunk that is read: a part need not fit into a minibatch here.
    for rows, observation in observations(module, data, modality, cells, len(cells)):
        z = arm.encode(observation)
        squares = likelihood.squared_errors(observation, arm.decoder(z, observation.batch_weights))
        latents[rows] = z.cpu().numpy()
        errors[rows] = torch.where(observation.observed > 0, squares, torch.nan).cpu().numpy()
    return Reconstruction(latents, errors)


class ReferenceDistribution(NamedTuple):
    """Distribution of reconstruction errors and latents with which other cells are compared.

    Parameters
    ----------
    errors
        ``(n_features,)`` mean squared errors of the training cells' reconstruction.
    mean
        ``(n_latent,)`` mean latent of the training cells.
    precision
        ``(n_latent, n_latent)`` inverse of the covariance of their latents.
    distances
        ``(n_cells,)`` distances of the reference cells, ascending.
    """

    errors: np.ndarray
    mean: np.ndarray
    precision: np.ndarray
    distances: np.ndarray

    @classmethod
    def fit(cls, training: Reconstruction, reference: Reconstruction) -> ReferenceDistribution:
        """Fit the distances to training cells, and rank reference cells by them.

        Cells that were not trained on are exchangeable with further ones only if they do not define the distances.
        """
        cells = training
        errors = np.full(cells.errors.shape[1], np.nan)
        measured = ~np.isnan(cells.errors).all(0)
        errors[measured] = np.nanmean(cells.errors[:, measured], axis=0)
        # A feature that is reconstructed perfectly would outweigh all others.
        errors = np.where(np.isnan(errors), 1.0, np.maximum(errors, 1e-3))
        n_latent = cells.latents.shape[1]
        covariance = np.cov(cells.latents.T).reshape(n_latent, n_latent) + 1e-3 * np.eye(n_latent)
        fitted = cls(errors, cells.latents.mean(0), np.linalg.inv(covariance), np.empty(0))
        return fitted._replace(distances=np.sort(fitted.distance(reference)))

    def distance(self, cells: Reconstruction) -> np.ndarray:
        r"""Distances of cells from the reference; about 1 for a training cell.

        .. math::

            d = \sqrt{\tfrac12 \operatorname{mean}_f \frac{(x_f - \hat x_f)^2}{e_f}
                + \tfrac{1}{2 n} (z - \bar z)^\top \Sigma^{-1} (z - \bar z)}
        """
        observed = ~np.isnan(cells.errors)
        relative = np.where(observed, cells.errors / self.errors, 0.0)
        # A cell with values of features only that inform nothing is judged by its latent.
        residual = relative.sum(1) / np.maximum(observed.sum(1), 1)
        centred = cells.latents - self.mean
        latent = np.einsum("ij,jk,ik->i", centred, self.precision, centred) / centred.shape[1]
        return np.sqrt((residual + latent) / 2)

    def p_values(self, distances: np.ndarray) -> np.ndarray:
        """Fraction of reference cells at least as far away, the cell itself included."""
        nearer = np.searchsorted(self.distances, distances, side="left")
        return (len(self.distances) - nearer + 1) / (len(self.distances) + 1)
