"""Squared error of standardised values, and what all likelihoods have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from scvi_cae.module._reconstruction import linear_squared_error, masked_squared_error
from scvi_cae.module._standardiser import Moments, Standardiser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np

    from scvi_cae.module._batch import Observation
    from scvi_cae.module._config import ArmConfig
    from scvi_cae.module._networks import Decoder

    #: Passes over the raw values of the training cells, a part at a time.
    Passes = Callable[[], Iterable[np.ndarray]]


class SquaredError(nn.Module):
    r"""Squared error of standardised values; the default.

    .. math:: \frac{\sum_{cf} m_{cf} (x_{cf} - \hat x_{cf})^2}{\sum_{cf} m_{cf}}

    over the observed values (:math:`m`) of a modality's cells. A likelihood says how raw values become what the
    networks see, how the decoder's output is compared with them, and what it means in the data's units.

    Parameters
    ----------
    n_features
        Number of features of the modality.
    n_sources
        Number of modalities that it is predicted from, itself included.
    config
        The arm's settings.
    """

    def __init__(self, n_features: int, n_sources: int, config: ArmConfig) -> None:
        super().__init__()
        self.config = config
        self.standardiser = Standardiser(n_features)

    def fit(self, passes: Passes) -> Moments:
        """Set what is taken from the data rather than learnt.

        Parameters
        ----------
        passes
            Function that begins a pass over the raw ``(n_cells, n_features)`` values of the training cells, NaN where
            missing.

        Returns
        -------
        Moments of the values that the encoder's input is made of.
        """
        moments = Moments(self.standardiser.mean.shape[-1])
        for values in passes():
            moments.add(values)
        if self.config.standardise:
            self.standardiser.fit(moments)
        return moments

    def observe(self, raw: torch.Tensor) -> Observation:
        """What is kept of ``(n_cells, n_features)`` raw values, NaN where missing."""
        return self.standardiser(raw)

    def inputs(self, observation: Observation) -> torch.Tensor:
        """``(..., n_cells, n_features)`` values that the encoder reads, 0 where missing."""
        return observation.values

    def losses(
        self, decoder: Decoder, features: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Losses of predictions from several sources.

        Parameters
        ----------
        decoder
            The decoder.
        features
            ``(..., n_sources, n_cells, n)`` inputs of its last layer, made of each source's latents.
        observation
            What is predicted.
        cells
            ``(..., n_sources, n_cells)`` mask: the cells that each source has.

        Returns
        -------
        ``(..., n_sources)`` means over the values of the cells that have source and target.
        """
        present = cells * observation.present.unsqueeze(-2)
        whole = observation.observed.shape[-1] == 1
        if whole and not self.config.nonnegative and observation.values.shape[-1] > features.shape[-1]:
            return linear_squared_error(decoder.last, features, observation.values, present)
        return masked_squared_error(
            readout(decoder, features),
            observation.values.unsqueeze(-3),
            observation.observed.unsqueeze(-3) * cells.unsqueeze(-1),
            present.unsqueeze(-1) if self.config.error_over == "all" else None,
        )

    def mean(self, output: torch.Tensor) -> torch.Tensor:
        """Expected values, in the data's units, of the decoder's ``(n_cells, n_features)`` output."""
        return self.standardiser.inverse(output)

    def additive(self, output: torch.Tensor) -> torch.Tensor:
        """What :meth:`mean` expects, on the scale on which effects of inputs add up: here the same."""
        return self.mean(output)

    @property
    def input_scale(self) -> torch.Tensor:
        """``(n_features,)`` how much of a feature one unit of :meth:`inputs` is."""
        return self.standardiser.scale

    def expected_inputs(self, output: torch.Tensor) -> torch.Tensor:
        """What :meth:`inputs` would be if cells had the values expected by the decoder's output."""
        return output

    def comparable(self, raw: torch.Tensor) -> torch.Tensor:
        """Values in the data's units on a scale on which squared differences compare: here as they are."""
        return raw


def readout(decoder: Decoder, features: torch.Tensor) -> torch.Tensor:
    """``(..., n_sources, n_cells, n_features)`` output of a decoder's last layer."""
    return decoder.readout(features.flatten(-3, -2)).unflatten(-2, features.shape[-3:-1])
