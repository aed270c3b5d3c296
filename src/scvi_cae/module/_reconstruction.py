"""Reconstruction losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def masked_squared_error(
    prediction: torch.Tensor,
    target: torch.Tensor,
    observed: torch.Tensor,
    counted: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Mean squared error of the observed entries.

    .. math:: \frac{\sum_{cf} m_{cf} (x_{cf} - \hat x_{cf})^2}{\sum_{cf} n_{cf}}

    and zero, with zero gradient, where nothing is observed (:math:`m`) or counted (:math:`n`).

    Parameters
    ----------
    prediction, target
        ``(n_cells, n_features)``, in units of each feature's standard deviation.
    observed
        Boolean ``(n_cells, n_features)``, or ``(n_cells, 1)`` for whole cells.
    counted
        Entries that the sum is divided by, likewise; the observed ones by default.

    Returns
    -------
    A scalar.
    """
    counted = observed if counted is None else counted
    n_counted = counted.sum() * (target.shape[1] // counted.shape[1])
    return ((prediction - target).square() * observed).sum() / n_counted.clamp(min=1)
