"""Gaussian likelihood with a variance of its own for each feature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from scvi_cae.module._reconstruction import masked_mean

from ._squared_error import SquaredError, readout

if TYPE_CHECKING:
    from scvi_cae.module._batch import Observation
    from scvi_cae.module._config import ArmConfig
    from scvi_cae.module._networks import Decoder

#: Variance of a feature below which it is no longer fitted, relative to its variance among the training cells.
LEAST_VARIANCE = 1e-3


class Gaussian(SquaredError):
    r"""Gaussian likelihood of standardised values, with a variance learnt for each feature.

    .. math:: \frac{\sum_{cf} m_{cf} \big[ (x_{cf} - \hat x_{cf})^2 / \sigma_f^2 + \log \sigma_f^2 \big]}{\sum_{cf} m_{cf}}

    twice the negative log-likelihood without its constant, so that it weighs as much as a squared error where
    :math:`\sigma_f = 1`. Features that cannot be predicted get a large variance and little weight
    :cite:p:`Nix94`. There is one variance for each source: a modality says more of itself than another one does.

    Parameters
    ----------
    n_features, n_sources, config
        As of :class:`SquaredError`.

    References
    ----------
    Nix and Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994.
    """

    def __init__(self, n_features: int, n_sources: int, config: ArmConfig) -> None:
        super().__init__(n_features, n_sources, config)
        self.log_variance = nn.Parameter(torch.zeros(n_sources, n_features))

    def losses(
        self, decoder: Decoder, features: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """As :meth:`SquaredError.losses`."""
        log_variance = self.log_variance.clamp(min=math.log(LEAST_VARIANCE)).unsqueeze(-2)
        errors = (readout(decoder, features) - observation.values.unsqueeze(-3)).square()
        return masked_mean(
            errors * torch.exp(-log_variance) + log_variance,
            observation.observed.unsqueeze(-3) * cells.unsqueeze(-1),
        )

    @torch.no_grad()
    def spread(self, source: int) -> torch.Tensor:
        """``(n_features,)`` standard deviation of the values about a prediction, in the data's units."""
        deviation = self.log_variance[source].clamp(min=math.log(LEAST_VARIANCE)).mul(0.5).exp()
        return deviation * self.standardiser.scale
