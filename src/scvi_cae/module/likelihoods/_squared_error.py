"""Squared error of standardised values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scvi_cae.module._reconstruction import linear_squared_error, masked_squared_error
from scvi_cae.module._standardiser import Moments, Standardiser

from ._base import Likelihood, readout

if TYPE_CHECKING:
    import torch

    from scvi_cae.module._config import ArmConfig
    from scvi_cae.module._networks import Decoder
    from scvi_cae.module._observation import Observation

    from ._base import Passes


class SquaredError(Likelihood):
    r"""Squared error of standardised values; the default.

    .. math:: \frac{\sum_{cf} m_{cf} (x_{cf} - \hat x_{cf})^2}{\sum_{cf} m_{cf}}

    over the observed values (:math:`m`) of a modality's cells.

    Parameters
    ----------
    n_features, n_sources, config
        As of :class:`Likelihood`.
    """

    data_kind = "values"

    def __init__(self, n_features: int, n_sources: int, config: ArmConfig) -> None:
        super().__init__(n_features, n_sources, config)
        self.standardiser = Standardiser(n_features)

    def fit(self, passes: Passes) -> Moments:
        """Fit the standardisation."""
        moments = Moments(self.n_features)
        for values in passes():
            moments.add(values)
        if self.config.standardise:
            self.standardiser.fit(moments)
        return moments

    def observe(self, raw: torch.Tensor) -> Observation:
        """Standardised values."""
        return self.standardiser(raw)

    def inputs(self, observation: Observation) -> torch.Tensor:
        """Standardised values."""
        return observation.values

    def losses(
        self, decoder: Decoder, hidden: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Mean squared errors."""
        published = self.config.published
        present = cells * observation.present.unsqueeze(-2)
        whole = observation.observed.shape[-1] == 1
        if whole and not published.nonnegative and observation.values.shape[-1] > hidden.shape[-1]:
            return linear_squared_error(decoder.last, hidden, observation.values, present)
        return masked_squared_error(
            readout(decoder, hidden),
            observation.values.unsqueeze(-3),
            observation.observed.unsqueeze(-3) * cells.unsqueeze(-1),
            present.unsqueeze(-1) if published.error_over == "all" else None,
        )

    def mean(self, output: torch.Tensor) -> torch.Tensor:
        """Values in the data's units."""
        return self.standardiser.inverse(output)

    def link_scale(self, output: torch.Tensor) -> torch.Tensor:
        """Values in the data's units."""
        return self.mean(output)

    @property
    def input_scale(self) -> torch.Tensor:
        """Standard deviations of the features; 1 without standardisation."""
        return self.standardiser.scale

    def expected_inputs(self, output: torch.Tensor) -> torch.Tensor:
        """The output itself."""
        return output
