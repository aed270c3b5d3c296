"""How far cells are from those that an arm was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch

from scvi_cae._arguments import shorten

from ._core import CoreModel
from ._encoding import observations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

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
        expected = likelihood.expected_inputs(arm.decoder(z, observation.batch_weights))
        squares = (likelihood.inputs(observation) - expected).square()
        latents[rows] = z.cpu().numpy()
        errors[rows] = torch.where(observation.observed > 0, squares, torch.nan).cpu().numpy()
    return Reconstruction(latents, errors)


class ReferenceDistribution(NamedTuple):
    """Distribution of reconstruction errors and latents with which other cells are compared.

    Parameters
    ----------
    errors
        ``(n_features,)`` mean squared errors of the reconstruction.
    mean
        ``(n_latent,)`` mean latent.
    precision
        ``(n_latent, n_latent)`` inverse of the latents' covariance.
    distances
        ``(n_cells,)`` distances of the reference cells themselves, ascending.
    """

    errors: np.ndarray
    mean: np.ndarray
    precision: np.ndarray
    distances: np.ndarray

    @classmethod
    def fit(cls, cells: Reconstruction) -> ReferenceDistribution:
        """Fit the distribution to reference cells."""
        errors = np.nanmean(cells.errors, axis=0)
        # A feature that is reconstructed perfectly would outweigh all others.
        errors = np.where(np.isnan(errors), 1.0, np.maximum(errors, 1e-3))
        n_latent = cells.latents.shape[1]
        covariance = np.cov(cells.latents.T).reshape(n_latent, n_latent) + 1e-3 * np.eye(n_latent)
        reference = cls(errors, cells.latents.mean(0), np.linalg.inv(covariance), np.empty(0))
        return reference._replace(distances=np.sort(reference.distance(cells)))

    def distance(self, cells: Reconstruction) -> np.ndarray:
        r"""Distances of cells from the reference; about 1 for a reference cell.

        .. math::

            d = \sqrt{\tfrac12 \operatorname{mean}_f \frac{(x_f - \hat x_f)^2}{e_f}
                + \tfrac{1}{2 n} (z - \bar z)^\top \Sigma^{-1} (z - \bar z)}
        """
        residual = np.nanmean(cells.errors / self.errors, axis=1)
        centred = cells.latents - self.mean
        latent = np.einsum("ij,jk,ik->i", centred, self.precision, centred) / centred.shape[1]
        return np.sqrt((residual + latent) / 2)

    def tail(self, distances: np.ndarray) -> np.ndarray:
        """Fraction of reference cells at least as far away, the cell itself included: a p-value."""
        nearer = np.searchsorted(self.distances, distances, side="left")
        return (len(self.distances) - nearer + 1) / (len(self.distances) + 1)


class NoveltyMixin(CoreModel):
    """Distances of cells from those that the model knows."""

    def novelty(
        self,
        adata: MuData | None = None,
        modality: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> pd.DataFrame:
        """Distance of cells from those that the model knows, in one modality.

        Two properties make a cell novel: values that the autoencoder, which has learnt how features covary, cannot
        reconstruct, and a latent far from all others. The reference are the validation cells, which resemble the
        training cells but were not trained on. A model with too few of them uses the training cells, whose
        reconstruction is slightly optimistic: other cells then seem slightly too novel.

        Parameters
        ----------
        adata
            MuData with the model's features; the model's own data by default.
        modality
            Key of the modality; optional if ``adata`` has only one of the model's.
        indices
            Positions of cells; all by default.

        Returns
        -------
        Data frame of the cells with ``distance``, about 1 for a reference cell, and ``tail``, the fraction of reference
        cells that are at least as far away. Predictions from a cell with a small ``tail``, such as below 0.01, are
        unreliable. NaN for cells without the modality.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If the modality is one of labels, or must be named, or the model has no reference distribution of it:
            published weights, or a training with too few cells.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, enable_progress_bar=False)
        >>> model.novelty(modality="ephys").columns.tolist()
        ['distance', 'tail']
        """
        if modality is None:
            there = [name for name in self.modalities if adata is not None and name in adata.mod]
            if len(there) != 1:
                raise ValueError(f"Name the modality: modality=... is one of {shorten(self.modalities)}.")
            modality = there[0]
        if modality in self.labels:
            raise ValueError(
                f"{modality!r} are labels: a class is known, or it is not. Name a modality that is measured."
            )
        data = self._align(adata, [modality])
        cells = self._positions(data, indices)
        reference = self._trained().references.get(modality)
        if reference is None:
            raise ValueError(
                f"The model has no reference distribution of {modality!r}: too few cells with it trained or validated "
                "the model."
            )
        out = pd.DataFrame(np.nan, index=data.cells[cells], columns=["distance", "tail"])
        has = data[modality].present[cells]
        if has.any():
            distance = reference.distance(reconstruct(self.module, data, modality, cells[has]))
            out.loc[has, "distance"], out.loc[has, "tail"] = distance, reference.tail(distance)
        return out
