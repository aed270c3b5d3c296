"""One modality's autoencoder, described by data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from ._networks import ACTIVATIONS, Augmentation, LatentNorm, SkipMLP
from ._reconstruction import masked_squared_error
from ._standardiser import Standardiser

if TYPE_CHECKING:
    import torch

    from ._batch import Observation


@dataclass(frozen=True)
class ArmConfig:
    """What distinguishes one modality's arm from another's.

    Parameters
    ----------
    hidden
        Widths of the encoder's hidden layers; the decoder has them in reverse.
    activation
        Activation of the hidden layers: ``"elu"``, ``"gelu"``, ``"relu"`` or ``"silu"``.
    linear
        Whether encoder and decoder have a linear path beside the hidden layers.
    dropout
        Probability of dropping an input feature while training.
    noise
        Standard deviation of the noise added to the input while training, in units of each feature's
        standard deviation.
    weight
        Weight of the modality's own reconstruction in the objective.
    cross_weight
        Weight of predicting the modality from each other one, relative to its own reconstruction.
    """

    hidden: tuple[int, ...] = (64,)
    activation: str = "gelu"
    linear: bool = True
    dropout: float = 0.1
    noise: float = 0.0
    weight: float = 1.0
    cross_weight: float = 2.0

    def __post_init__(self) -> None:
        """Check every setting; the message says which one is wrong."""
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if any(not isinstance(n, int) or n < 1 for n in self.hidden):
            raise ValueError(f"hidden={self.hidden} must hold layer widths of at least 1.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation={self.activation!r} must be one of {sorted(ACTIVATIONS)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must be at least 0 and below 1.")
        for name in ("noise", "cross_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be finite and not negative.")
        if not 0 < self.weight < math.inf:
            raise ValueError(f"weight={self.weight} must be finite and positive.")


class Arm(nn.Module):
    """Augmentation, encoder, latent, decoder and reconstruction loss of one modality.

    Parameters
    ----------
    n_features
        Number of features of the modality.
    n_latent
        Number of latent dimensions, the same for all arms.
    config
        The arm's sizes, augmentation and weight.
    """

    def __init__(self, n_features: int, n_latent: int, config: ArmConfig) -> None:
        super().__init__()
        self.config = config
        self.standardiser = Standardiser(n_features)
        self.augmentation = Augmentation(config.noise, config.dropout)
        self.encoder = SkipMLP(n_features, config.hidden, n_latent, config.activation, config.linear)
        self.latent_norm = LatentNorm(n_latent)
        self.decoder = SkipMLP(n_latent, config.hidden[::-1], n_features, config.activation, config.linear)

    def encode(self, observation: Observation) -> torch.Tensor:
        """``(n_cells, n_latent)`` latents; those of cells without the modality mean nothing."""
        corrupted = self.augmentation(observation.values, observation.observed)
        return self.latent_norm(self.encoder(corrupted), observation.present)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """``(n_cells, n_features)`` standardised values from latents of any modality."""
        return self.decoder(z)

    def reconstruction_loss(
        self, prediction: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Reconstruction loss of this modality over the boolean ``(n_cells,)`` mask ``cells``."""
        return masked_squared_error(prediction, observation.values, observation.observed & cells[:, None])
