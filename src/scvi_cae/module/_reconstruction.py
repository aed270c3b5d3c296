"""Reconstruction losses.

Tensors may have leading dimensions, of members and sources; losses then have the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ._precision import in_single_precision
from ._reduce import across_processes, cell_sum

if TYPE_CHECKING:
    from ._networks import Linear


def masked_mean(
    errors: torch.Tensor, observed: torch.Tensor, counted: torch.Tensor | None = None
) -> torch.Tensor:
    r"""Mean of errors over the observed entries.

    .. math:: \frac{\sum_{cf} m_{cf} e_{cf}}{\sum_{cf} n_{cf}}

    and zero, with zero gradient, where nothing is observed (:math:`m`) or counted (:math:`n`).

    Parameters
    ----------
    errors
        ``(..., n_cells, n_features)``.
    observed
        ``(..., n_cells, n_features)`` mask, 1 or 0, or ``(..., n_cells, 1)`` for whole cells.
    counted
        Mask of the entries that the sum is divided by, likewise; the observed ones by default.

    Returns
    -------
    A scalar, or one for each of the leading dimensions.
    """
    counted = observed if counted is None else counted
    n_counted = across_processes(counted.sum((-2, -1))) * (errors.shape[-1] // counted.shape[-1])
    total = across_processes((errors * observed).sum((-2, -1)))
    return total / n_counted.clamp(min=1)


class LinearErrors(torch.autograd.Function):
    """Squared errors of a linear layer's output, by cell; see :func:`linear_squared_error`.

    The gradient is written out to merge the layer's two gradients, through its product with the target and through
    its product with itself.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """``(..., n_sources, n_cells)`` squared errors."""
        weight = torch.cat([weight, bias.unsqueeze(-1)], dim=-1)
        hidden = F.pad(hidden, (0, 1), value=1.0)
        quadratic = hidden @ (weight.mT @ weight).unsqueeze(-3)
        residual = quadratic - (target @ weight).unsqueeze(-3)
        ctx.save_for_backward(hidden, weight, target, residual)
        squares = torch.linalg.vector_norm(target, dim=-1).square().unsqueeze(-2)
        return squares + ((2 * residual - quadratic) * hidden).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        """Gradients of the inputs, weight and bias; the target is data."""
        hidden, weight, target, residual = ctx.saved_tensors
        gradient = 2 * gradient.unsqueeze(-1)
        weighted = gradient * hidden
        outer = (weighted.mT @ hidden).sum(-3)
        d_weight = target.mT @ weighted.sum(-3).neg_()
        add_product = d_weight.addmm_ if d_weight.dim() == 2 else d_weight.baddbmm_
        add_product(weight, outer)
        return (gradient * residual)[..., :-1], d_weight[..., :-1], d_weight[..., -1], None


@in_single_precision
def linear_squared_error(
    layer: Linear, hidden: torch.Tensor, target: torch.Tensor, cells: torch.Tensor
) -> torch.Tensor:
    r"""Mean squared error of a linear layer's output, without computing the output.

    The squared error of a cell with target :math:`x` and inputs :math:`h` (with a 1 for the bias) is

    .. math:: \lVert x - W h \rVert^2 = \lVert x \rVert^2 - 2\, h^\top W^\top x + h^\top W^\top W h

    where :math:`W^\top x` is shared by the predictions from all sources, and :math:`W^\top W` is small. For many
    features this takes less than half of the operations of the direct computation, forward and backward.

    Parameters
    ----------
    layer
        The linear layer.
    hidden
        ``(..., n_sources, n_cells, n_hidden)`` inputs of the layer, computed from each source.
    target
        ``(..., n_cells, n_features)``, all measured in the cells that count.
    cells
        ``(..., n_sources, n_cells)`` mask, 1 or 0: the cells that count.

    Returns
    -------
    ``(..., n_sources)`` means over the features of the cells that count; 0 where there are none.
    """
    errors = LinearErrors.apply(hidden, layer.weight, layer.bias, target)
    total, n = cell_sum(torch.stack([errors * cells, cells], dim=-1)).squeeze(-2).unbind(-1)
    return total / (n * target.shape[-1]).clamp(min=1)
