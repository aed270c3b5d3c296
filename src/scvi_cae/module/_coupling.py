"""Coupling losses: what pulls two modalities' latents of the same cells together."""

from __future__ import annotations

import torch

#: Smallest admissible variance of a latent direction (Gala et al. 2021).
VARIANCE_FLOOR = 1e-2
#: Pairs of smaller weight do not count as pairs (Gala et al. 2021).
WEIGHT_FLOOR = 1e-2


def smallest_variance(z: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Smallest eigenvalue of the covariance of the present cells' latents.

    It equals the squared smallest singular value of the centred batch divided by ``n - 1``, but costs an
    eigendecomposition of ``n_latent`` x ``n_latent`` only, and has a gradient at repeated eigenvalues.

    Parameters
    ----------
    z
        ``(n_cells, n_latent)`` latents.
    present
        Boolean ``(n_cells,)``: the cells that have the modality, paired or not.

    Returns
    -------
    A scalar; 0 where the covariance is not finite (which :data:`VARIANCE_FLOOR` then replaces).
    """
    weight = present[:, None].to(z.dtype)
    n = weight.sum()
    centred = (z - (z * weight).sum(0) / n.clamp(min=1)) * weight
    covariance = centred.T @ centred / (n - 1).clamp(min=1)
    covariance = torch.where(covariance.isfinite().all(), covariance, torch.zeros_like(covariance))
    return torch.linalg.eigvalsh(covariance)[0]


def min_variance_coupling(
    zi: torch.Tensor,
    zj: torch.Tensor,
    present_i: torch.Tensor,
    present_j: torch.Tensor,
    pair_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Squared distance of paired latents relative to the smallest variance of either latent.

    .. math::

        L(z_i, z_j) = \frac{\sum_{c \in P} w_c \lVert z_{ic} - z_{jc} \rVert^2 / \sum_{c \in P} w_c}
                           {\max\{\min(s_i, s_j),\ 10^{-2}\}},
        \qquad s = \lambda_{\min}(\operatorname{Cov}(z))

    The distance is over the pairs :math:`P`, the covariances over all cells of each modality; the gradient
    flows through both, so that shrinking a latent, or one direction of it, does not reduce the loss as long as
    its variance exceeds the floor (Gala et al., NeurIPS 2019; Nature Computational Science 2021).

    Parameters
    ----------
    zi, zj
        ``(n_cells, n_latent)`` latents of two modalities, row by row of the same cells.
    present_i, present_j
        Boolean ``(n_cells,)``: which cells have each modality.
    pair_weight
        ``(n_cells,)`` weight :math:`w` of each pair, 1 by default; pairs below 0.01 do not count.

    Returns
    -------
    A scalar; 0 in a batch without pairs.

    Examples
    --------
    >>> import torch
    >>> from scvi_cae.module import min_variance_coupling
    >>> zi = torch.tensor([[0.0, 0], [1, 0], [0, 2], [1, 2], [3, 1]])
    >>> zj = torch.tensor([[0.0, 1], [1, 1], [0, 3], [2, 2], [2, 0]])
    >>> everyone = torch.ones(5, dtype=torch.bool)
    >>> round(min_variance_coupling(zi, zj, everyone, everyone).item(), 5)
    1.91087
    """
    weight = (present_i & present_j).to(zi.dtype)
    if pair_weight is not None:
        weight = weight * pair_weight * (pair_weight > WEIGHT_FLOOR)
    # Any pair's weight exceeds the floor, so the clamp only keeps a batch without pairs from dividing by zero.
    distance = ((zi - zj).square().sum(1) * weight).sum() / weight.sum().clamp(min=WEIGHT_FLOOR)
    variance = torch.minimum(smallest_variance(zi, present_i), smallest_variance(zj, present_j))
    return distance / variance.clamp(min=VARIANCE_FLOOR)
