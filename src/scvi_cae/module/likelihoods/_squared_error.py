"""Squared error of standardised values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scvi_cae.module._completion import Correlation, complete
from scvi_cae.module._config import NARROW
from scvi_cae.module._limits import robust_limits
from scvi_cae.module._reconstruction import linear_squared_error
from scvi_cae.module._standardiser import Moments, Standardiser, mean_and_scale

from ._base import Likelihood, readout

if TYPE_CHECKING:
    from scvi_cae.module._config import ArmConfig
    from scvi_cae.module._networks import Decoder
    from scvi_cae.module._observation import Observation

    from ._base import Passes

#: Standardised value that none exceeds, and finite, as all that is saved of a model.
NO_LIMIT = 1e9
#: Number of cells that determine the limits of values.
MAX_CELLS = 20_000


class SquaredError(Likelihood):
    r"""Squared error of standardised values; the default.

    .. math:: \frac{\sum_{cf} m_{cf} (x_{cf} - \hat x_{cf})^2}{\sum_{cf} m_{cf}}

    over the observed values (:math:`m`) of a modality's cells.

    With ``clip``, an outlier, farther from the median than so many robust standard deviations of the training cells
    (:func:`~scvi_cae.module._limits.robust_limits`), is read on a logarithmic scale, and enters neither the loss
    nor the standardisation: a failed measurement would otherwise shrink all other values, and outweigh them.

    Parameters
    ----------
    n_features, n_sources, config
        As of :class:`Likelihood`.
    """

    data_kind = "values"
    correlation: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor

    def __init__(self, n_features: int, n_sources: int, config: ArmConfig) -> None:
        super().__init__(n_features, n_sources, config)
        self.standardiser = Standardiser(n_features)
        self.completes = config.standardise and n_features <= NARROW
        if self.completes:
            self.register_buffer("correlation", torch.eye(n_features))
        self.clips = config.clip is not None
        if self.clips:
            self.register_buffer("lower", torch.full((n_features,), -NO_LIMIT))
            self.register_buffer("upper", torch.full((n_features,), NO_LIMIT))

    def fit(self, passes: Passes) -> Moments:
        """Fit the limits and the standardisation."""
        moments = Moments(self.n_features)
        if self.config.clip is None:
            for values in passes():
                moments.add(values)
        else:
            low, high = robust_limits(some_cells(passes), self.config.clip)
            for values in passes():
                moments.add(np.where((values >= low) & (values <= high), values, np.nan))
        measured = moments.n > 0
        if not self.config.standardise:
            self.set_constants(measured, measured, moments.mean)
            return moments
        self.standardiser.fit(moments)
        self.set_constants(moments.spread > 0, measured, moments.mean)
        if self.clips:
            mean, scale = mean_and_scale(moments)
            for limit, value in ((self.lower, low), (self.upper, high)):
                limit.copy_(torch.from_numpy(np.clip((value - mean) / scale, -NO_LIMIT, NO_LIMIT)))
        if self.completes:
            correlation = Correlation(self.n_features)
            for values in passes():
                correlation.add(
                    (values - moments.mean) / np.where(moments.spread > 0, moments.spread, np.inf)
                )
            self.correlation.copy_(torch.from_numpy(correlation.matrix))
        return moments

    def observe(self, raw: torch.Tensor) -> Observation:
        r"""Standardised values; what exceeds a limit :math:`l` is its logarithm, :math:`l + \log(1 + x - l)`."""
        observation = self.standardiser(self.with_constants(raw))
        if not self.clips:
            return observation
        within = self._within(observation.values)
        beyond = observation.values - within
        return observation._replace(values=within + beyond.sign() * beyond.abs().log1p())

    def complete(self, inputs: torch.Tensor, observed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of few features, missing inputs are their means given the others (:func:`complete`).

        Those of features that many training cells lack are uncorrelated with the others, and stay missing.
        """
        if not self.completes or observed.shape[-1] == 1:
            return inputs, observed
        if inputs.dim() == 2:
            completed = complete(inputs, observed > 0, self.correlation)
        else:
            members = zip(inputs, observed > 0, self.correlation, strict=True)
            completed = torch.stack([complete(*member) for member in members])
        others = self.correlation - torch.diag_embed(torch.diagonal(self.correlation, dim1=-2, dim2=-1))
        found = (others != 0).any(dim=-1).unsqueeze(-2) & (observed.sum(dim=-1, keepdim=True) > 0)
        return completed, torch.where(found, 1.0, observed)

    def _within(self, values: torch.Tensor) -> torch.Tensor:
        """Values, at most the limits."""
        return values.clamp(self.lower.unsqueeze(-2), self.upper.unsqueeze(-2))

    def inputs(self, observation: Observation) -> torch.Tensor:
        """The values of the observation."""
        return observation.values

    def counted(self, observation: Observation) -> torch.Tensor:
        """Mask of the values that enter the loss: those observed, but for outliers."""
        if not self.clips:
            return observation.observed
        return observation.observed * (self._within(observation.values) == observation.values)

    def losses(
        self, decoder: Decoder, hidden: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Mean squared errors."""
        published = self.config.published
        present = cells * observation.present.unsqueeze(-2)
        whole = observation.observed.shape[-1] == 1
        target = observation.values
        if whole and not (self.clips or published.nonnegative) and target.shape[-1] > hidden.shape[-1]:
            # Features that do not vary are 0 here, and so is the decoder's output.
            return linear_squared_error(decoder.last, hidden, target, present) / self.share_varying
        return self.mean_over_features(
            (readout(decoder, hidden) - target.unsqueeze(-3)).square(),
            self.counted(observation).unsqueeze(-3) * cells.unsqueeze(-1),
            present.unsqueeze(-1) if published.error_over == "all" else None,
        )

    def mean(self, output: torch.Tensor) -> torch.Tensor:
        """Values in the data's units."""
        return self.with_constants(self.standardiser.inverse(output))

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

    def squared_errors(self, observation: Observation, output: torch.Tensor) -> torch.Tensor:
        """Squared errors of values without logarithms, so that outliers are seen as such."""
        values = observation.values
        if self.clips:
            within = self._within(values)
            beyond = values - within
            values = within + beyond.sign() * beyond.abs().expm1()
        return (values - output).square()


def some_cells(passes: Passes) -> np.ndarray:
    """Values of evenly spaced training cells, at most twice :data:`MAX_CELLS`, which determine quantiles."""
    parts: list[np.ndarray] = []
    every = 1
    for values in passes():
        parts.append(values[::every])
        if sum(map(len, parts)) > 2 * MAX_CELLS:
            parts = [np.concatenate(parts)[::2]]
            every *= 2
    return np.concatenate(parts)
