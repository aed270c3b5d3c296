"""Reconstruction losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def masked_squared_error(
    prediction: torch.Tensor, target: torch.Tensor, observed: torch.Tensor
) -> torch.Tensor:
    r"""Mean squared error over the observed entries.

    .. math:: \frac{\sum_{cf} m_{cf} (x_{cf} - \hat x_{cf})^2}{\sum_{cf} m_{cf}}

    and zero, with zero gradient, where nothing is observed.

    Parameters
    ----------
    prediction, target
        ``(n_cells, n_features)``, in units of each feature's standard deviation.
    observed
        Boolean ``(n_cells, n_features)``, or ``(n_cells, 1)`` for whole cells.

    Returns
    -------
    A scalar.
    """
    n_observed = observed.sum() * (target.shape[1] // observed.shape[1])
    return ((prediction - target).square() * observed).sum() / n_observed.clamp(min=1)
