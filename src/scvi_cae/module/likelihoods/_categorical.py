"""Categorical likelihood of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from scvi_cae.module._batch import Observation
from scvi_cae.module._reconstruction import masked_mean
from scvi_cae.module._standardiser import Moments

from ._squared_error import readout

if TYPE_CHECKING:
    from scvi_cae.module._config import ArmConfig
    from scvi_cae.module._networks import Decoder

    from ._squared_error import Passes


class Categorical(nn.Module):
    r"""Cross-entropy of labels: the decoder's output :math:`a` are logits, features are classes.

    .. math:: -\frac{1}{\sum_c m_c} \sum_c m_c \log \mathrm{softmax}(a_c)_{y_c}

    Values are 1 for a cell's class and 0 for the others; a cell without a label has NaN.

    Parameters
    ----------
    n_features
        Number of classes.
    n_sources
        Number of modalities that the label is predicted from, itself included.
    config
        The arm's settings.
    """

    def __init__(self, n_features: int, n_sources: int, config: ArmConfig) -> None:
        super().__init__()
        self.n_features = n_features

    def fit(self, passes: Passes) -> Moments:
        """Moments of the classes' indicators; there is nothing to fit."""
        moments = Moments(self.n_features)
        for values in passes():
            moments.add(values)
        return moments

    def observe(self, raw: torch.Tensor) -> Observation:
        """Indicators of classes, 0 for a cell without a label."""
        present = (~torch.isnan(raw).any(1)).to(raw.dtype)
        return Observation(torch.nan_to_num(raw), present[:, None], present)

    def inputs(self, observation: Observation) -> torch.Tensor:
        """As :meth:`SquaredError.inputs`."""
        return observation.values

    def losses(
        self, decoder: Decoder, features: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """As :meth:`SquaredError.losses`: mean cross-entropies."""
        log_probabilities = torch.log_softmax(readout(decoder, features).float(), dim=-1)
        errors = -(log_probabilities * observation.values.unsqueeze(-3)).sum(-1, keepdim=True)
        present = cells * observation.present.unsqueeze(-2)
        return masked_mean(errors, present.unsqueeze(-1))

    def mean(self, output: torch.Tensor) -> torch.Tensor:
        """Probabilities of the classes from ``(n_cells, n_features)`` output."""
        return torch.softmax(output, dim=-1)

    def additive(self, output: torch.Tensor) -> torch.Tensor:
        """As :meth:`SquaredError.additive`: log-odds of each class against all others."""
        own = torch.eye(self.n_features, dtype=torch.bool, device=output.device)
        # From probabilities close to 1, log-odds would be lost to rounding.
        others = output.unsqueeze(-2).masked_fill(own, -torch.inf)
        return output - torch.logsumexp(others, dim=-1)

    @property
    def input_scale(self) -> torch.Tensor:
        """As :attr:`SquaredError.input_scale`: one, from 0 to 1, for each class."""
        return torch.ones(self.n_features)

    def expected_inputs(self, output: torch.Tensor) -> torch.Tensor:
        """As :meth:`SquaredError.expected_inputs`."""
        return self.mean(output)

    def comparable(self, raw: torch.Tensor) -> torch.Tensor:
        """Indicators and probabilities as they are."""
        return raw
