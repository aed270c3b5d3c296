"""Negative binomial likelihood of raw counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from scvi.distributions import NegativeBinomial as Distribution
from torch import nn

from scvi_cae.module._batch import Observation
from scvi_cae.module._reconstruction import masked_mean
from scvi_cae.module._standardiser import Moments, Standardiser

from ._squared_error import readout

if TYPE_CHECKING:
    from scvi_cae.module._config import ArmConfig
    from scvi_cae.module._networks import Decoder

    from ._squared_error import Passes


class NegativeBinomial(nn.Module):
    r"""Negative binomial likelihood of raw counts, with library size and gene length.

    For a cell with library size :math:`\ell_c` (the sum of its observed counts), decoder output :math:`a_{cf}`, gene
    lengths :math:`L_f` (1 if there are none) and inverse dispersions :math:`\theta_f`, which are learnt,

    .. math::

        x_{cf} \sim \mathrm{NB}\Big(\mu_{cf} = \ell_c \frac{L_f e^{a_{cf}}}{\sum_g L_g e^{a_{cg}}},\ \theta_f\Big)

    as in scVI :cite:p:`Lopez18`; the loss is the mean negative log-likelihood of the observed counts. The encoder reads
    :math:`\log(1 + x_{cf}\,\bar\ell / (\ell_c L_f / \bar L))`, standardised, with the mean library size
    :math:`\bar\ell` of the training cells.

    Parameters
    ----------
    n_features
        Number of features of the modality.
    n_sources
        Number of modalities that it is predicted from, itself included.
    config
        The arm's settings.

    References
    ----------
    Lopez, Regier, Cole, Jordan and Yosef, "Deep generative modeling for single-cell transcriptomics", Nature Methods
    2018.
    """

    library: torch.Tensor
    share: torch.Tensor
    log_length: torch.Tensor

    def __init__(self, n_features: int, n_sources: int, config: ArmConfig) -> None:
        super().__init__()
        self.config = config
        self.standardiser = Standardiser(n_features)
        self.log_theta = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("library", torch.ones(1))
        self.register_buffer("share", torch.full((n_features,), 1 / n_features))
        self.register_buffer("log_length", torch.zeros(n_features))

    def set_lengths(self, lengths: torch.Tensor) -> None:
        """Set the genes' lengths, ``(n_features,)``, in any unit."""
        self.log_length.copy_(lengths.log() - lengths.log().mean())

    def fit(self, passes: Passes) -> Moments:
        """As :meth:`SquaredError.fit`, of raw counts; it makes two passes."""
        counts = Moments(len(self.share))
        for values in passes():
            counts.add(values)
        library = max(counts.mean.sum(), 1.0)
        self.library.fill_(library)
        self.share.copy_(torch.from_numpy(counts.mean / library))
        moments = Moments(len(self.share))
        for values in passes():
            raw = torch.from_numpy(values)
            moments.add(self._normalised(raw, (~raw.isnan()).to(raw.dtype)).numpy())
        if self.config.standardise:
            self.standardiser.fit(moments)
        return moments

    def _at_mean_depth(self, counts: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Counts at the mean library size; NaN stays NaN.

        The observed genes' counts are compared with what these genes have of the mean library, so that a cell in which
        some are missing does not seem more deeply sequenced in the others.
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
        observed = ~torch.isnan(raw)
        present = observed.any(1)
        by_cell = torch.equal(observed.all(1), present)
        mask = (present[:, None] if by_cell else observed).to(raw.dtype)
        return Observation(torch.where(observed, raw, 0.0), mask, present.to(raw.dtype))

    def inputs(self, observation: Observation) -> torch.Tensor:
        """As :meth:`SquaredError.inputs`."""
        return self._standardised(observation.values, observation.observed) * observation.observed

    def _standardised(self, counts: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """What the encoder reads of counts."""
        standardiser = self.standardiser
        values = self._normalised(counts, observed) - standardiser.mean.unsqueeze(-2)
        return values / standardiser.scale.unsqueeze(-2)

    def losses(
        self, decoder: Decoder, features: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """As :meth:`SquaredError.losses`: mean negative log-likelihoods."""
        observed = observation.observed.unsqueeze(-3)
        rates = (readout(decoder, features) + self.log_length.unsqueeze(-2).unsqueeze(-2)).float()
        if observed.shape[-1] > 1:
            # Counts that are missing are in the library of no one. (A cell without any has no loss.)
            rates = rates.masked_fill(observed == 0, -1e9)
        size = observation.values.sum(-1, keepdim=True).clamp(min=1).unsqueeze(-3)
        mean = size * torch.softmax(rates, dim=-1)
        theta = self.log_theta.exp().unsqueeze(-2).unsqueeze(-2)
        counts = observation.values.unsqueeze(-3)
        errors = -Distribution(mu=mean, theta=theta.float(), validate_args=False).log_prob(counts)
        return masked_mean(errors, observed * cells.unsqueeze(-1))

    def mean(self, output: torch.Tensor) -> torch.Tensor:
        """Expected counts of ``(n_cells, n_features)`` output at the mean library size of the training cells."""
        return self.library * torch.softmax(output + self.log_length, dim=-1)

    def additive(self, output: torch.Tensor) -> torch.Tensor:
        """As :meth:`SquaredError.additive`: the logarithm of the expected counts."""
        return self.library.log() + torch.log_softmax(output + self.log_length, dim=-1)

    @property
    def input_scale(self) -> torch.Tensor:
        """As :attr:`SquaredError.input_scale`, of log counts."""
        return self.standardiser.scale

    def expected_inputs(self, output: torch.Tensor) -> torch.Tensor:
        """As :meth:`SquaredError.expected_inputs`."""
        mean = self.mean(output)
        return self._standardised(mean, torch.ones_like(mean))

    def comparable(self, raw: torch.Tensor) -> torch.Tensor:
        """Counts at the mean library size: how deeply a cell was sequenced is not predicted."""
        return self._at_mean_depth(raw, (~raw.isnan()).to(raw.dtype))
