"""Standardisation of features by the training cells."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ._observation import Observation


class Moments:
    """Mean and spread of the observed values of each feature, from any number of parts of the data.

    Each part is centred by its own mean before its squares are summed, and sums are shifted to the common mean, so that
    no digits cancel, however large the data or the mean.

    Parameters
    ----------
    n_features
        Number of features.

    Attributes
    ----------
    n
        ``(n_features,)`` number of observed values.
    mean
        ``(n_features,)`` float64 mean; 0 without any observed value.

    References
    ----------
    Chan, Golub & LeVeque, "Algorithms for computing the sample variance", The American Statistician 1983.
    """

    def __init__(self, n_features: int) -> None:
        self.n = np.zeros(n_features, dtype=np.int64)
        self.mean = np.zeros(n_features)
        self._squares = np.zeros(n_features)

    def add(self, values: np.ndarray) -> None:
        """Add ``(n_cells, n_features)`` values, NaN where missing."""
        observed = ~np.isnan(values)
        n = observed.sum(0)
        if observed.all():
            # The same sums without two copies.
            mean = values.sum(0, dtype=np.float64) / max(len(values), 1)
            centred = values - mean
        else:
            mean = np.where(observed, values, 0.0).sum(0, dtype=np.float64) / np.maximum(n, 1)
            centred = np.where(observed, values - mean, 0.0)
        squares = np.einsum("ij,ij->j", centred, centred)
        share = n / np.maximum(self.n + n, 1)
        shift = mean - self.mean
        self._squares += squares + shift**2 * self.n * share
        self.mean += shift * share
        self.n += n

    @property
    def spread(self) -> np.ndarray:
        """``(n_features,)`` population standard deviation (``ddof=0``), 0 for a feature that does not vary."""
        spread = np.sqrt(self._squares / np.maximum(self.n, 1))
        # Rounding gives a constant feature a spread of about eps * |mean|; dividing by it would amplify rounding error.
        return np.where(spread <= 1e-6 * np.maximum(np.abs(self.mean), 1e-30), 0.0, spread)


def mean_and_spread(values: np.ndarray | Moments) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation (``ddof=0``) of the observed values of each feature.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` values, NaN where missing; or the moments of values seen in parts.

    Returns
    -------
    Two ``(n_features,)`` float64 arrays; the deviation is exactly 0 for a feature that does not vary.
    """
    if isinstance(values, Moments):
        return values.mean, values.spread
    moments = Moments(values.shape[1])
    moments.add(values)
    return moments.mean, moments.spread


def mean_and_scale(values: np.ndarray | Moments) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale that standardise each feature.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` values, NaN where missing; or the moments of values seen in parts.

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
    among them. Both are buffers, saved with the weights and moved with the module.

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

    def fit(self, values: np.ndarray | Moments) -> None:
        """Set mean and scale from training cells.

        Parameters
        ----------
        values
            ``(n_cells, n_features)`` raw values, NaN where missing; or the moments of values seen in parts.
        """
        mean, scale = mean_and_scale(values)
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(scale))

    def forward(self, raw: torch.Tensor) -> Observation:
        """Standardise ``(n_cells, n_features)`` raw values, NaN where missing."""
        values = (raw - self.mean) / self.scale
        # A sum finds rows without missing values in a fraction of the time of checking every value.
        whole = ~torch.isnan(values.sum(dim=1))
        if whole.all():
            present = whole.to(values.dtype)
            return Observation(values, present[:, None], present)
        observed = ~torch.isnan(raw)
        values = torch.where(observed, values, 0.0)
        present = observed.any(dim=1)
        if torch.equal(observed.all(dim=1), present):
            observed = present[:, None]
        return Observation(values, observed.to(values.dtype), present.to(values.dtype))

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        """Standardised ``(n_cells, n_features)`` values in the data's own units."""
        return values * self.scale + self.mean
