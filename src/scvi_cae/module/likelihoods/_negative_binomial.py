"""Negative binomial likelihood of raw counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scvi.distributions import NegativeBinomial as Distribution
from torch import nn

from scvi_cae.module._observation import Observation
from scvi_cae.module._standardiser import Moments, Standardiser

from ._base import Likelihood, readout

if TYPE_CHECKING:
    from scvi_cae.module._config import ArmConfig
    from scvi_cae.module._networks import Decoder

    from ._base import Passes


#: Logarithm of a share of the library that is none, but finite, since infinities have no gradient.
NO_RATE = -1e9


class NegativeBinomial(Likelihood):
    r"""Negative binomial likelihood of raw counts, with library size and gene length.

    For a cell with library size :math:`\ell_c` (the sum of its observed counts), decoder output :math:`a_{cf}`, gene
    lengths :math:`L_f` (1 by default) and learnt inverse dispersions :math:`\theta_f`,

    .. math::

        x_{cf} \sim \mathrm{NB}\Big(\mu_{cf} = \ell_c \frac{L_f e^{a_{cf}}}{\sum_g L_g e^{a_{cg}}},\ \theta_f\Big)

    as in scVI :cite:p:`Lopez18`; the loss is the mean negative log-likelihood of the observed counts. The encoder reads
    :math:`\log(1 + x_{cf}\,\bar\ell / (\ell_c L_f / \bar L))`, standardised, with the mean library size
    :math:`\bar\ell` of the training cells. A gene without any count among these is predicted as 0.

    Parameters
    ----------
    n_features, n_sources, config
        As of :class:`Likelihood`.

    References
    ----------
    Lopez, Regier, Cole, Jordan and Yosef, "Deep generative modeling for single-cell transcriptomics", Nature Methods
    2018.
    """

    data_kind = "counts"
    minimum = 0.0
    library: torch.Tensor
    share: torch.Tensor
    log_length: torch.Tensor

    def __init__(self, n_features: int, n_sources: int, config: ArmConfig) -> None:
        super().__init__(n_features, n_sources, config)
        self.standardiser = Standardiser(n_features)
        self.log_theta = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("library", torch.ones(1))
        self.register_buffer("share", torch.full((n_features,), 1 / n_features))
        self.register_buffer("log_length", torch.zeros(n_features))

    def set_lengths(self, lengths: torch.Tensor) -> None:
        """Set the genes' lengths, ``(n_features,)``, in any unit."""
        self.log_length.copy_(lengths.log() - lengths.log().mean())

    def fit(self, passes: Passes) -> Moments:
        """Fit library size, shares of the genes and standardisation, in two passes."""
        counts = Moments(self.n_features)
        for values in passes():
            counts.add(values)
        library = max(counts.mean.sum(), 1.0)
        self.library.fill_(library)
        self.share.copy_(torch.from_numpy(counts.mean / library))
        moments = Moments(self.n_features)
        for values in passes():
            raw = torch.from_numpy(values)
            moments.add(self._normalised(raw, (~raw.isnan()).to(raw.dtype)).numpy())
        if self.config.standardise:
            self.standardiser.fit(moments)
        self.set_constants(counts.mean > 0, counts.n > 0, np.zeros(self.n_features))
        return moments

    def _at_mean_depth(self, counts: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Counts at the mean library size; NaN stays NaN.

        The library size of a cell is estimated from its observed genes and their share of the mean library, so that
        missing genes do not make a cell seem more deeply sequenced in the others.
        """
        expected = self.library.unsqueeze(-2) * (self.share.unsqueeze(-2) * observed).sum(-1, keepdim=True)
        size = counts.nansum(-1, keepdim=True).clamp(min=1)
        return counts * (expected / size)

    def _normalised(self, counts: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Log counts at the mean library size and length; NaN stays NaN."""
        # Lengths have a geometric mean of 1.
        return torch.log1p(self._at_mean_depth(counts, observed) / self.log_length.exp().unsqueeze(-2))

    def observe(self, raw: torch.Tensor) -> Observation:
        """Counts, 0 where missing."""
        raw = self.with_constants(raw)
        observed = ~torch.isnan(raw)
        present = observed.any(1)
        by_cell = torch.equal(observed.all(1), present)
        mask = (present[:, None] if by_cell else observed).to(raw.dtype)
        return Observation(torch.where(observed, raw, 0.0), mask, present.to(raw.dtype))

    def inputs(self, observation: Observation) -> torch.Tensor:
        """Standardised log counts."""
        return self._standardised(observation.values, observation.observed) * observation.observed

    def _standardised(self, counts: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Standardised log counts, not masked."""
        standardiser = self.standardiser
        values = self._normalised(counts, observed) - standardiser.mean.unsqueeze(-2)
        return values / standardiser.scale.unsqueeze(-2)

    def losses(
        self, decoder: Decoder, hidden: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Mean negative log-likelihoods."""
        observed = observation.observed.unsqueeze(-3)
        rates = (readout(decoder, hidden) + self.log_length.unsqueeze(-2).unsqueeze(-2)).float()
        if observed.shape[-1] > 1:
            # Missing counts belong to no library. (A cell without any observed count has no loss.)
            rates = rates.masked_fill(observed == 0, NO_RATE)
        rates = rates.masked_fill(~self.varies.unsqueeze(-2).unsqueeze(-2), NO_RATE)
        size = observation.values.sum(-1, keepdim=True).clamp(min=1).unsqueeze(-3)
        mean = size * torch.softmax(rates, dim=-1)
        theta = self.log_theta.exp().unsqueeze(-2).unsqueeze(-2)
        counts = observation.values.unsqueeze(-3)
        errors = -Distribution(mu=mean, theta=theta.float(), validate_args=False).log_prob(counts)
        return self.mean_over_features(errors, observed * cells.unsqueeze(-1))

    def _rates(self, output: torch.Tensor) -> torch.Tensor:
        """Logarithms of the genes' shares of the library, up to a constant."""
        return (output + self.log_length).masked_fill(~self.varies, NO_RATE)

    def mean(self, output: torch.Tensor) -> torch.Tensor:
        """Expected counts at the mean library size of the training cells."""
        return self.with_constants(self.library * torch.softmax(self._rates(output), dim=-1))

    def link_scale(self, output: torch.Tensor) -> torch.Tensor:
        """Logarithm of the expected counts."""
        return self.library.log() + torch.log_softmax(self._rates(output), dim=-1)

    @property
    def input_scale(self) -> torch.Tensor:
        """Standard deviations of the log counts; 1 without standardisation."""
        return self.standardiser.scale

    def expected_inputs(self, output: torch.Tensor) -> torch.Tensor:
        """Standardised logarithms of the expected counts."""
        mean = self.mean(output)
        return self._standardised(mean, torch.ones_like(mean))

    def prediction_scale(self, raw: torch.Tensor) -> torch.Tensor:
        """Counts at the mean library size, since sequencing depth is not predicted."""
        return self._at_mean_depth(raw, (~raw.isnan()).to(raw.dtype))
