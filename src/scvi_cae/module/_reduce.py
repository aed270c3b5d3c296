"""Sums over the cells of a minibatch: the only operation that combines cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import distributed

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx


def cell_sum(x: torch.Tensor) -> torch.Tensor:
    """Sum of ``(..., n_cells, n)`` over the cells of the minibatch: ``(..., 1, n)``."""
    return across_processes(x.sum(-2, keepdim=True))


def across_processes(x: torch.Tensor) -> torch.Tensor:
    """Sum of a tensor over the processes that train together; the tensor itself for a single process.

    The gradient is summed over the processes as well. Since every sum over cells uses it, covariances, normalisation
    and errors are those of one process with the cells of all.
    """
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return x
    return _AllReduce.apply(x)


class _AllReduce(torch.autograd.Function):
    """Sum over processes whose gradient is such a sum as well; torch's own is deprecated."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> torch.Tensor:
        grad = grads[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(grad)
        return grad
