"""Gaussian likelihood with a learnt variance of each feature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from ._base import readout
from ._squared_error import SquaredError

if TYPE_CHECKING:
    from scvi_cae.module._config import ArmConfig
    from scvi_cae.module._networks import Decoder
    from scvi_cae.module._observation import Observation

#: Smallest learnt variance, relative to the variance of the feature among the training cells.
MIN_VARIANCE = 1e-3


class Gaussian(SquaredError):
    r"""Gaussian likelihood of standardised values, with a learnt variance of each feature.

    .. math:: \frac{\sum_{cf} m_{cf} \big[ (x_{cf} - \hat x_{cf})^2 / \sigma_f^2 + \log \sigma_f^2 \big]}{\sum_{cf} m_{cf}}

    twice the negative log-likelihood without its constant, so that it equals a squared error where
    :math:`\sigma_f = 1`. Features that cannot be predicted get a large variance and little weight
    :cite:p:`Nix94`. Each source has variances of its own, since a modality predicts itself better than others do.

    Parameters
    ----------
    n_features, n_sources, config
        As of :class:`Likelihood`.

    References
    ----------
    Nix and Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994.
    """

    def __init__(self, n_features: int, n_sources: int, config: ArmConfig) -> None:
        super().__init__(n_features, n_sources, config)
        self.log_variance = nn.Parameter(torch.zeros(n_sources, n_features))

    def losses(
        self, decoder: Decoder, hidden: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Mean Gaussian losses."""
        log_variance = self.log_variance.clamp(min=math.log(MIN_VARIANCE)).unsqueeze(-2)
        errors = (readout(decoder, hidden) - observation.values.unsqueeze(-3)).square()
        return self.mean_over_features(
            errors * torch.exp(-log_variance) + log_variance,
            self.counted(observation).unsqueeze(-3) * cells.unsqueeze(-1),
        )

    @torch.no_grad()
    def learnt_scale(self, source: int) -> torch.Tensor:
        """``(n_features,)`` learnt standard deviation about a prediction, in the data's units."""
        deviation = self.log_variance[source].clamp(min=math.log(MIN_VARIANCE)).mul(0.5).exp()
        return deviation * self.standardiser.scale * self.varies
