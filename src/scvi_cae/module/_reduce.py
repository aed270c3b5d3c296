"""Sums over the cells of a batch: the one operation in which cells meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import distributed

if TYPE_CHECKING:
    import torch


def cell_sum(x: torch.Tensor) -> torch.Tensor:
    """Sum of ``(..., n_cells, n)`` over the cells of the batch: ``(..., 1, n)``."""
    return across_processes(x.sum(-2, keepdim=True))


def across_processes(x: torch.Tensor) -> torch.Tensor:
    """Sum of a tensor over the processes that train together; the tensor itself for a single one.

    The gradient reaches all processes, too. With this under every sum over cells, covariances, normalisation and
    errors are those of one process that has the cells of all.
    """
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return x
    from torch.distributed.nn.functional import all_reduce  # not there in builds of torch without distributed

    return all_reduce(x)
