"""One modality's autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import nn

from ._networks import Augmentation, Decoder, Encoder, Fixable, LatentNorm, Translation, initialise_as_keras
from .likelihoods import LIKELIHOODS

if TYPE_CHECKING:
    from ._batch import Observation
    from ._config import ArmConfig
    from ._standardiser import Moments
    from .likelihoods import SquaredError
    from .likelihoods._squared_error import Passes


#: Layers of an arm that learn.
Layers = Literal["all", "outer", "none"]


class Arm(nn.Module):
    """Likelihood, augmentation, encoder, latent and decoder of one modality.

    Parameters
    ----------
    n_features
        Number of features of the modality.
    n_latent
        Number of latent dimensions, the same for all arms.
    config
        The arm's networks, augmentation and losses.
    n_sources
        Number of modalities that this one is predicted from, itself included.
    n_batches
        Number of technical batches that encoder and decoder are told of.

    Attributes
    ----------
    batch_weights
        ``(n_batches,)`` shares of the batches among the training cells: what is taken for the batch of a cell whose
        own is not known, and for that of a prediction unless another is asked for.
    """

    batch_weights: torch.Tensor

    def __init__(
        self, n_features: int, n_latent: int, config: ArmConfig, n_sources: int = 1, n_batches: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.likelihood = cast("SquaredError", LIKELIHOODS[config.likelihood](n_features, n_sources, config))
        self.augmentation = Augmentation(n_features, config.noise, config.dropout, config.scale_missing)
        self.encoder = Encoder(
            n_features,
            config.hidden,
            n_latent,
            config.activation,
            config.linear,
            config.latent_bias,
            n_batches,
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
            n_batches,
        )
        # Drawn after everything else, of which it changes nothing.
        self.translations = nn.ModuleList(
            Translation(n_latent) if config.translate else nn.Identity() for _ in range(n_sources - 1)
        )
        self.n_batches = n_batches
        if n_batches:
            self.register_buffer("batch_weights", torch.full((n_batches,), 1 / n_batches))
        if config.initialisation == "glorot":
            self.apply(initialise_as_keras)

    def fit(self, passes: Passes, batch_weights: torch.Tensor | None = None) -> Moments:
        """Set what the arm takes from the data rather than learns: standardisation, noise, shares of batches.

        Parameters
        ----------
        passes
            Function that begins a pass over the raw ``(n_cells, n_features)`` values of the training cells, NaN where
            missing, a part at a time.
        batch_weights
            ``(n_batches,)`` shares of the batches among these cells.

        Returns
        -------
        Moments of the features that the encoder reads.
        """
        moments = self.likelihood.fit(passes)
        if not self.config.standardise:
            noise = moments.spread if self.config.noise_unit == "std" else moments.spread**2
            self.augmentation.fit(torch.from_numpy(noise))
        if batch_weights is not None:
            self.batch_weights.copy_(batch_weights)
        return moments

    def observe(self, raw: torch.Tensor, batch: torch.Tensor | None = None) -> Observation:
        """What is kept of cells.

        Parameters
        ----------
        raw
            ``(n_cells, n_features)`` raw values, NaN where missing.
        batch
            ``(n_cells, n_batches)`` indicators of the cells' batches, all 0 where unknown.
        """
        observation = self.likelihood.observe(raw)
        if not self.n_batches:
            return observation
        assert batch is not None
        unknown = 1 - batch.sum(1, keepdim=True)
        return observation._replace(batch=batch + unknown * self.batch_weights)

    def learn(self, layers: Layers) -> None:
        """Choose what further training changes; the running statistics of the latent stay as they are.

        Parameters
        ----------
        layers
            ``"all"``; ``"outer"`` for the layers that touch the data, the encoder's first and the decoder's last; or
            ``"none"``: then the arm computes as in evaluation mode, too.
        """
        outer = (*self.encoder.outer, *self.decoder.last.parameters())
        for parameter in self.parameters():
            parameter.requires_grad_(
                layers == "all" or (layers == "outer" and any(parameter is x for x in outer))
            )
        for module in self.modules():
            if isinstance(module, Fixable):
                module.fixed = layers == "none" or isinstance(module, LatentNorm)

    def encode(self, observation: Observation) -> torch.Tensor:
        """``(n_cells, n_latent)`` latents; those of cells without the modality mean nothing."""
        return self.embed(self.likelihood.inputs(observation), observation)

    def embed(self, inputs: torch.Tensor, observation: Observation) -> torch.Tensor:
        """:meth:`encode` with other ``(n_cells, n_features)`` inputs than the observation's own."""
        z = self.encoder(self.augmentation(inputs, observation.observed), observation.batch)
        return z if self.latent_norm is None else self.latent_norm(z, observation.present)

    def translate(self, z: torch.Tensor, source: int) -> torch.Tensor:
        """What the decoder reads instead of latents.

        Parameters
        ----------
        z
            ``(..., n_cells, n_latent)`` latents.
        source
            Number of the modality that they are of; 0 for this one, whose latents are read as they are.
        """
        return self.translations[source - 1](z) if source else z

    def decode(self, z: torch.Tensor, batch: int | None = None) -> torch.Tensor:
        """Expected values in the data's units.

        Parameters
        ----------
        z
            ``(n_cells, n_latent)`` latents, translated if they are another modality's.
        batch
            Number of the technical batch that the values are to be of; that of no one in particular by default.

        Returns
        -------
        ``(n_cells, n_features)``.
        """
        return self.likelihood.mean(self.output(z, batch))

    def output(self, z: torch.Tensor, batch: int | None = None) -> torch.Tensor:
        """The decoder's ``(n_cells, n_features)`` output, of which :meth:`decode` makes expected values."""
        weights = None
        if self.n_batches:
            weights = self.batch_weights
            if batch is not None:
                weights = torch.zeros_like(weights)
                weights[batch] = 1
            weights = weights.expand(len(z), -1)
        return self.decoder(z, weights)

    def reconstruction_losses(
        self, features: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Reconstruction losses of this modality from several sources; see the likelihoods' ``losses``."""
        return self.likelihood.losses(self.decoder, features, observation, cells)
