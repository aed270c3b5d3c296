"""One modality's autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ._networks import Augmentation, Decoder, Encoder, LatentNorm, initialise_as_keras
from ._reconstruction import linear_squared_error, masked_squared_error
from ._standardiser import Standardiser, mean_and_spread

if TYPE_CHECKING:
    import numpy as np

    from ._batch import Observation
    from ._config import ArmConfig
    from ._standardiser import Moments


class Arm(nn.Module):
    """Standardisation, augmentation, encoder, latent, decoder and reconstruction loss of one modality.

    Parameters
    ----------
    n_features
        Number of features of the modality.
    n_latent
        Number of latent dimensions, the same for all arms.
    config
        The arm's networks, augmentation and losses.
    """

    def __init__(self, n_features: int, n_latent: int, config: ArmConfig) -> None:
        super().__init__()
        self.config = config
        self.standardiser = Standardiser(n_features)
        self.augmentation = Augmentation(n_features, config.noise, config.dropout)
        self.encoder = Encoder(
            n_features, config.hidden, n_latent, config.activation, config.linear, config.latent_bias
        )
        self.latent_norm = (
            LatentNorm(n_latent, config.latent_momentum, config.latent_eps) if config.latent_norm else None
        )
        self.decoder = Decoder(
            n_latent,
            config.hidden[::-1],
            n_features,
            config.activation,
            config.linear,
            config.decoder_dropout,
            config.nonnegative,
        )
        if config.initialisation == "glorot":
            self.apply(initialise_as_keras)

    def fit(self, values: np.ndarray | Moments) -> None:
        """Set what the arm takes from the data rather than learns: standardisation and noise.

        Parameters
        ----------
        values
            ``(n_cells, n_features)`` raw values of training cells, NaN where missing, or their moments.
        """
        if self.config.standardise:
            self.standardiser.fit(values)
        else:
            spread = mean_and_spread(values)[1]
            self.augmentation.fit(torch.from_numpy(spread if self.config.noise_unit == "std" else spread**2))

    def encode(self, observation: Observation) -> torch.Tensor:
        """``(n_cells, n_latent)`` latents; those of cells without the modality mean nothing."""
        corrupted = self.augmentation(observation.values, observation.observed)
        z = self.encoder(corrupted)
        return z if self.latent_norm is None else self.latent_norm(z, observation.present)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """``(n_cells, n_features)`` standardised values from latents of any modality."""
        return self.decoder(z)

    def reconstruction_losses(
        self, features: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Reconstruction losses of this modality from several sources.

        Parameters
        ----------
        features
            ``(..., n_sources, n_cells, n)`` features of the decoder, made of each source's latents.
        observation
            The modality of these cells.
        cells
            ``(..., n_sources, n_cells)`` mask: the cells that each source has.

        Returns
        -------
        ``(..., n_sources)`` losses over the cells that have source and target.
        """
        present = cells * observation.present.unsqueeze(-2)
        whole = observation.observed.shape[-1] == 1
        if whole and not self.config.nonnegative and observation.values.shape[-1] > features.shape[-1]:
            return linear_squared_error(self.decoder.last, features, observation.values, present)
        prediction = self.decoder.readout(features.flatten(-3, -2)).unflatten(-2, features.shape[-3:-1])
        return masked_squared_error(
            prediction,
            observation.values.unsqueeze(-3),
            observation.observed.unsqueeze(-3) * cells.unsqueeze(-1),
            present.unsqueeze(-1) if self.config.error_over == "all" else None,
        )
