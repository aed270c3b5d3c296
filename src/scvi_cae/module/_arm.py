"""One modality's autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ._networks import Augmentation, LatentNorm, SkipMLP, initialise_as_keras
from ._reconstruction import masked_squared_error
from ._standardiser import Standardiser, mean_and_scale

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ._batch import Observation
    from ._config import ArmConfig


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
        self.encoder = SkipMLP(
            n_features, config.hidden, n_latent, config.activation, config.linear, bias=config.latent_bias
        )
        self.latent_norm = (
            LatentNorm(n_latent, config.latent_momentum, config.latent_eps) if config.latent_norm else None
        )
        self.decoder = SkipMLP(
            n_latent,
            config.hidden[::-1],
            n_features,
            config.activation,
            config.linear,
            dropout=config.decoder_dropout,
            nonnegative=config.nonnegative,
        )
        if config.initialisation == "glorot":
            self.apply(initialise_as_keras)

    def fit(self, values: np.ndarray) -> None:
        """Set what the arm takes from the data rather than learns: standardisation and noise.

        Parameters
        ----------
        values
            ``(n_cells, n_features)`` raw values of training cells, NaN where missing.
        """
        if self.config.standardise:
            self.standardiser.fit(values)
        else:
            scale = mean_and_scale(values)[1]
            self.augmentation.fit(scale if self.config.noise_unit == "std" else scale**2)

    def encode(self, observation: Observation) -> torch.Tensor:
        """``(n_cells, n_latent)`` latents; those of cells without the modality mean nothing."""
        corrupted = self.augmentation(observation.values, observation.observed)
        z = self.encoder(corrupted)
        return z if self.latent_norm is None else self.latent_norm(z, observation.present)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """``(n_cells, n_features)`` standardised values from latents of any modality."""
        return self.decoder(z)

    def reconstruction_loss(
        self, prediction: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Reconstruction loss of this modality over the boolean ``(n_cells,)`` mask ``cells``."""
        counted = (cells & observation.present)[:, None] if self.config.error_over == "all" else None
        return masked_squared_error(
            prediction, observation.values, observation.observed & cells[:, None], counted
        )
