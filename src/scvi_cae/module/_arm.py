"""One modality's autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from ._networks import Augmentation, CrossMap, Decoder, Encoder, Fixable, LatentNorm, initialise_as_keras
from .likelihoods import LIKELIHOODS

if TYPE_CHECKING:
    from ._config import ArmConfig
    from ._observation import Observation
    from ._standardiser import Moments
    from .likelihoods import Likelihood
    from .likelihoods._base import Passes

#: Layers of an arm that learn.
Layers = Literal["all", "outer", "none"]


class Arm(nn.Module):
    """Likelihood, augmentation, encoder, latent and decoder of one modality or of one column of labels.

    Parameters
    ----------
    n_features
        Number of features.
    n_latent
        Number of latent dimensions, the same for all arms.
    config
        The arm's networks, augmentation and losses.
    n_sources
        Number of arms from which this one is predicted, itself included.
    n_batches
        Number of technical batches that encoder and decoder are conditioned on.

    Attributes
    ----------
    batch_shares
        ``(n_batches,)`` shares of the technical batches among the training cells. They weight the batches of a cell
        whose own is unknown, and those of a prediction for no batch in particular.
    """

    batch_shares: torch.Tensor

    def __init__(
        self, n_features: int, n_latent: int, config: ArmConfig, n_sources: int = 1, n_batches: int = 0
    ) -> None:
        super().__init__()
        published = config.published
        self.config = config
        self.likelihood: Likelihood = LIKELIHOODS[config.likelihood](n_features, n_sources, config)
        self.augmentation = Augmentation(n_features, config.noise, config.dropout, published.scale_missing)
        self.encoder = Encoder(
            n_features,
            config.hidden,
            n_latent,
            config.activation,
            config.linear,
            published.latent_bias,
            n_batches,
        )
        self.latent_norm = (
            LatentNorm(n_latent, published.latent_momentum, published.latent_eps)
            if published.latent_norm
            else None
        )
        self.decoder = Decoder(
            n_latent,
            config.hidden[::-1],
            n_features,
            config.activation,
            config.linear,
            published.decoder_dropout,
            published.nonnegative,
            n_batches,
        )
        # Drawn last, so that the random numbers of the other networks do not depend on it.
        self.cross_maps = nn.ModuleList(
            CrossMap(n_latent) if config.cross_map else nn.Identity() for _ in range(n_sources - 1)
        )
        self.n_batches = n_batches
        if n_batches:
            self.register_buffer("batch_shares", torch.full((n_batches,), 1 / n_batches))
        if published.initialisation == "glorot":
            self.apply(initialise_as_keras)

    def fit(self, passes: Passes, batch_shares: torch.Tensor | None = None) -> Moments:
        """Set what is computed from the training cells rather than learnt: standardisation, noise, shares of batches.

        Parameters
        ----------
        passes
            Function that begins a pass over the raw ``(n_cells, n_features)`` values of the training cells, NaN where
            missing, in parts.
        batch_shares
            ``(n_batches,)`` shares of the technical batches among these cells.

        Returns
        -------
        Moments of the features that the encoder reads.
        """
        moments = self.likelihood.fit(passes)
        self.disconnect()
        if not self.config.standardise:
            noise = moments.spread if self.config.published.noise_unit == "std" else moments.spread**2
            self.augmentation.fit(torch.from_numpy(noise))
        if batch_shares is not None:
            self.batch_shares.copy_(batch_shares)
        return moments

    @torch.no_grad()
    def disconnect(self) -> None:
        """Set weights of features that do not vary to 0, where they stay, since they have no gradient."""
        features = ~self.likelihood.varies
        self.encoder.first.weight[:, features] = 0
        self.decoder.last.weight[features] = 0
        self.decoder.last.bias[features] = 0
        self.augmentation.noise_sd[features] = 0

    def observe(self, raw: torch.Tensor, batch_indicators: torch.Tensor | None = None) -> Observation:
        """Observation of cells.

        Parameters
        ----------
        raw
            ``(n_cells, n_features)`` raw values, NaN where missing.
        batch_indicators
            ``(n_cells, n_batches)`` indicators of the cells' technical batches, all 0 where unknown.
        """
        observation = self.likelihood.observe(raw)
        if not self.n_batches:
            return observation
        assert batch_indicators is not None
        unknown = 1 - batch_indicators.sum(1, keepdim=True)
        return observation._replace(batch_weights=batch_indicators + unknown * self.batch_shares)

    def learn(self, layers: Layers) -> None:
        """Choose the layers that further training changes; running statistics of the latent are kept.

        Parameters
        ----------
        layers
            ``"all"``; ``"outer"`` for the layers that touch the data, the encoder's first and the decoder's last; or
            ``"none"``, with which the arm computes as in evaluation mode at all times.
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
        """``(n_cells, n_latent)`` latents; meaningless for cells without the modality."""
        return self.embed(self.likelihood.inputs(observation), observation)

    def embed(self, inputs: torch.Tensor, observation: Observation) -> torch.Tensor:
        """:meth:`encode` with other ``(n_cells, n_features)`` inputs than those of the observation."""
        observed = observation.observed
        # In training, dropout makes gaps of its own.
        if not self.training or self.augmentation.fixed:
            inputs, observed = self.likelihood.complete(inputs, observed)
        z = self.encoder(self.augmentation(inputs, observed), observation.batch_weights)
        return z if self.latent_norm is None else self.latent_norm(z, observation.present)

    def map_latent(self, z: torch.Tensor, source: int) -> torch.Tensor:
        """Latents of a source as this arm's decoder reads them.

        Parameters
        ----------
        z
            ``(..., n_cells, n_latent)`` latents.
        source
            Number of the source; 0 for this arm, whose own latents are not mapped.
        """
        return self.cross_maps[source - 1](z) if source else z

    def decode(self, z: torch.Tensor, batch: int | None = None) -> torch.Tensor:
        """Expected values in the data's units.

        Parameters
        ----------
        z
            ``(n_cells, n_latent)`` latents, mapped if they are another arm's.
        batch
            Number of the technical batch to predict for; by default all batches, weighted by ``batch_shares``.

        Returns
        -------
        ``(n_cells, n_features)``.
        """
        return self.likelihood.mean(self.output(z, batch))

    def output(self, z: torch.Tensor, batch: int | None = None) -> torch.Tensor:
        """The decoder's ``(n_cells, n_features)`` output, from which :meth:`decode` computes expected values."""
        weights = None
        if self.n_batches:
            weights = self.batch_shares
            if batch is not None:
                weights = torch.zeros_like(weights)
                weights[batch] = 1
            weights = weights.expand(len(z), -1)
        return self.decoder(z, weights)

    def reconstruction_losses(
        self, hidden: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Reconstruction losses from several sources, see :meth:`Likelihood.losses`."""
        return self.likelihood.losses(self.decoder, hidden, observation, cells)
