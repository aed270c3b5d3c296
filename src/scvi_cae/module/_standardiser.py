"""Per-feature standardisation that belongs to the model."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ._batch import Observation


def mean_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation (``ddof=0``) of the observed values of each feature.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` values, NaN where missing.

    Returns
    -------
    Two ``(n_features,)`` float64 arrays; the deviation is exactly 0 for a feature that does not vary.
    """
    observed = ~np.isnan(values)
    n = np.maximum(observed.sum(0), 1)
    mean = np.where(observed, values, 0.0).sum(0, dtype=np.float64) / n
    squares = np.square(np.where(observed, values - mean, 0.0)).sum(0, dtype=np.float64)
    spread = np.sqrt(squares / n)
    # Rounding leaves a constant feature a spread of about eps * |mean|; dividing by it would make noise.
    return mean, np.where(spread <= 1e-6 * np.maximum(np.abs(mean), 1e-30), 0.0, spread)


def mean_and_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What to subtract from each feature, and what to divide it by.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` values, NaN where missing.

    Returns
    -------
    :func:`mean_and_spread`, with a deviation of 1 for a feature that does not vary.
    """
    mean, spread = mean_and_spread(values)
    return mean, np.where(spread == 0, 1.0, spread)


class Standardiser(nn.Module):
    r"""Centre and scale features by the training cells' mean and standard deviation.

    :math:`x' = (x - \mu) / \sigma` per feature, over the observed values of the training cells only;
    :math:`\sigma` is the population standard deviation (``ddof=0``), and 1 where a feature does not vary
    among them. Both are buffers: saved with the weights, moved with the module.

    Parameters
    ----------
    n_features
        Number of features of the modality.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def fit(self, values: np.ndarray) -> None:
        """Set mean and scale from training cells.

        Parameters
        ----------
        values
            ``(n_cells, n_features)`` raw values, NaN where missing.
        """
        mean, scale = mean_and_scale(values)
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(scale))

    def forward(self, raw: torch.Tensor) -> Observation:
        """Standardise ``(n_cells, n_features)`` raw values, NaN where missing."""
        observed = ~torch.isnan(raw)
        values = torch.where(observed, (raw - self.mean) / self.scale, 0.0)
        present = observed.any(dim=1)
        whole = observed.all(dim=1)
        if torch.equal(whole, present):
            observed = present[:, None]
        return Observation(values, observed.to(values.dtype), present.to(values.dtype))

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        """Standardised ``(n_cells, n_features)`` values in the data's own units."""
        return values * self.scale + self.mean
