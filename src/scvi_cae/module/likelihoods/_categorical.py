"""Categorical likelihood of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scvi_cae.module._observation import Observation
from scvi_cae.module._reconstruction import masked_mean
from scvi_cae.module._standardiser import Moments

from ._base import Likelihood, readout

if TYPE_CHECKING:
    from scvi_cae.module._networks import Decoder

    from ._base import Passes


#: Logit of a class without training cells.
NO_LOGIT = -1e9


class Categorical(Likelihood):
    r"""Cross-entropy of labels: the decoder's output :math:`a` are logits, features are classes.

    .. math:: -\frac{1}{\sum_c m_c} \sum_c m_c \log \mathrm{softmax}(a_c)_{y_c}

    Raw values are 1 for a cell's class and 0 for the others, NaN for a cell without a label. A class without training
    cells has probability 0, and a cell of that class counts as one without a label: its weights are not trained.

    Parameters
    ----------
    n_features, n_sources, config
        As of :class:`Likelihood`.
    """

    data_kind = "classes"

    def fit(self, passes: Passes) -> Moments:
        """Find the classes that training cells have."""
        moments = Moments(self.n_features)
        for values in passes():
            moments.add(values)
        # The only class of all training cells is one, although its indicator does not vary.
        self.set_constants(moments.mean > 0, moments.n > 0, np.zeros(self.n_features))
        return moments

    def observe(self, raw: torch.Tensor) -> Observation:
        """Indicators of classes, 0 for a cell without a label."""
        values = torch.nan_to_num(raw) * self.varies
        present = values.sum(1)
        return Observation(values, present[:, None], present)

    def inputs(self, observation: Observation) -> torch.Tensor:
        """Indicators of classes."""
        return observation.values

    def losses(
        self, decoder: Decoder, hidden: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Mean cross-entropies."""
        logits = readout(decoder, hidden).float()
        absent = ~self.varies.unsqueeze(-2).unsqueeze(-2)
        log_probabilities = torch.log_softmax(logits.masked_fill(absent, NO_LOGIT), dim=-1)
        errors = -(log_probabilities * observation.values.unsqueeze(-3)).sum(-1, keepdim=True)
        present = cells * observation.present.unsqueeze(-2)
        return masked_mean(errors, present.unsqueeze(-1))

    def _logits(self, output: torch.Tensor) -> torch.Tensor:
        """``(n_cells, n_features)`` output of the decoder, with classes that no training cell has far below the others."""
        return output.masked_fill(~self.varies, NO_LOGIT)

    def mean(self, output: torch.Tensor) -> torch.Tensor:
        """Class probabilities."""
        return torch.softmax(self._logits(output), dim=-1)

    def link_scale(self, output: torch.Tensor) -> torch.Tensor:
        """Log-odds of each class against all others."""
        own = torch.eye(self.n_features, dtype=torch.bool, device=output.device)
        # Log-odds of probabilities close to 1 would be lost to rounding.
        output = self._logits(output)
        others = output.unsqueeze(-2).masked_fill(own, -torch.inf)
        return output - torch.logsumexp(others, dim=-1)

    @property
    def input_scale(self) -> torch.Tensor:
        """1 for each class: an indicator goes from 0 to 1."""
        return torch.ones(self.n_features)

    def expected_inputs(self, output: torch.Tensor) -> torch.Tensor:
        """Class probabilities."""
        return self.mean(output)
