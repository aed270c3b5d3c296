"""Coupling losses: what pulls two modalities' latents of the same cells together.

Latents may have leading dimensions, of members; a loss then has those.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from ._precision import in_single_precision
from ._reduce import across_processes, cell_sum

if TYPE_CHECKING:
    from collections.abc import Callable

#: Smallest admissible variance of a latent direction (Gala et al. 2021).
VARIANCE_FLOOR = 1e-2
#: Pairs of smaller weight do not count as pairs (Gala et al. 2021).
WEIGHT_FLOOR = 1e-2
#: Added to the diagonal of a covariance before it is inverted (Gala et al. 2019).
COVARIANCE_RIDGE = 1e-3
#: Weight of sums beside differences in the log-determinant coupling, chosen on inner validation cells
#: (docs/benchmark.md).
SUM_WEIGHT = 0.8


@in_single_precision
def covariance(z: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Covariance of the present cells' latents.

    Parameters
    ----------
    z
        ``(n_cells, n_latent)`` latents.
    present
        ``(n_cells,)`` mask, 1 or 0: the cells that have the modality, paired or not.

    Returns
    -------
    ``(n_latent, n_latent)``, divided by ``n - 1``; entries that are not finite are 0.
    """
    weight = present.unsqueeze(-1).to(z.dtype)
    n = cell_sum(weight)
    centred = (z - cell_sum(z * weight) / n.clamp(min=1)) * weight
    cov = across_processes(centred.mT @ centred) / (n - 1).clamp(min=1)
    # An eigendecomposition fails for what is not finite.
    return torch.nan_to_num(cov, nan=0.0, posinf=0.0, neginf=0.0)


@in_single_precision
def smallest_variance(z: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Smallest eigenvalue of the covariance of the present cells' latents.

    It equals the squared smallest singular value of the centred batch divided by ``n - 1``, but costs an
    eigendecomposition of ``n_latent`` x ``n_latent`` only, and has a gradient at repeated eigenvalues.

    Parameters
    ----------
    z
        ``(n_cells, n_latent)`` latents.
    present
        ``(n_cells,)`` mask, 1 or 0: the cells that have the modality, paired or not.

    Returns
    -------
    A scalar.
    """
    return torch.linalg.eigvalsh(covariance(z, present))[..., 0]


def _smallest_variances(
    zi: torch.Tensor, zj: torch.Tensor, present_i: torch.Tensor, present_j: torch.Tensor
) -> torch.Tensor:
    """Smallest variances of both latents, one after the other along the first dimension."""
    return smallest_variance(torch.stack([zi, zj]), torch.stack([present_i, present_j]))


def _pair_weights(
    dtype: torch.dtype, present_i: torch.Tensor, present_j: torch.Tensor, pair_weight: torch.Tensor | None
) -> torch.Tensor:
    """``(n_cells,)`` weights of pairs: 0 for cells that lack a modality, and for weights that are too small."""
    weight = (present_i * present_j).to(dtype)
    return weight if pair_weight is None else weight * pair_weight * (pair_weight > WEIGHT_FLOOR)


def _pair_mean(
    values: torch.Tensor, present_i: torch.Tensor, present_j: torch.Tensor, pair_weight: torch.Tensor | None
) -> torch.Tensor:
    """Weighted mean of ``(n_cells,)`` values over the pairs; 0 without any."""
    weight = _pair_weights(values.dtype, present_i, present_j, pair_weight)
    # Any pair's weight exceeds the floor, so the clamp only keeps a batch without pairs from dividing by zero.
    total, n = cell_sum(torch.stack([values * weight, weight], dim=-1)).squeeze(-2).unbind(-1)
    return total / n.clamp(min=WEIGHT_FLOOR)


@in_single_precision
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
        ``(n_cells,)`` masks, 1 or 0: which cells have each modality.
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
    distance = _pair_mean((zi - zj).square().sum(-1), present_i, present_j, pair_weight)
    return distance / _smallest_variances(zi, zj, present_i, present_j).amin(0).clamp(min=VARIANCE_FLOOR)


@in_single_precision
def min_variance_coupling_2019(
    zi: torch.Tensor,
    zj: torch.Tensor,
    present_i: torch.Tensor,
    present_j: torch.Tensor,
    pair_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Minimum-variance coupling with one term for each modality, as the experiments of 2019 used it.

    .. math::

        L(z_i, z_j) = \frac{\operatorname{MSE}(z_i, z_j)}{\max(s_i, 10^{-2})}
                    + \frac{\operatorname{MSE}(z_i, z_j)}{\max(s_j, 10^{-2})}

    with the mean squared error over pairs *and dimensions* (Gala et al., NeurIPS 2019):
    :func:`min_variance_coupling` has the sum over dimensions, and the smaller of the two variances only.

    Parameters
    ----------
    zi, zj
        ``(n_cells, n_latent)`` latents of two modalities, row by row of the same cells.
    present_i, present_j
        ``(n_cells,)`` masks, 1 or 0: which cells have each modality.
    pair_weight
        ``(n_cells,)`` weight of each pair, 1 by default; pairs below 0.01 do not count.

    Returns
    -------
    A scalar; 0 in a batch without pairs.
    """
    error = mse_coupling(zi, zj, present_i, present_j, pair_weight)
    variances = _smallest_variances(zi, zj, present_i, present_j)
    return (error / variances.clamp(min=VARIANCE_FLOOR)).sum(0)


@in_single_precision
def full_covariance_coupling(
    zi: torch.Tensor,
    zj: torch.Tensor,
    present_i: torch.Tensor,
    present_j: torch.Tensor,
    pair_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Squared Mahalanobis distance of paired latents, relative to the whole covariance of either.

    .. math::

        L(z_i, z_j) = \frac{1}{2} \sum_{k \in \{i, j\}} \frac{1}{|P|} \sum_{c \in P}
            (z_{ic} - z_{jc})^\top \big(\operatorname{Cov}(z_k) + 10^{-3} I\big)^{-1} (z_{ic} - z_{jc})

    Each direction of the latent is measured in units of its own spread, so that shrinking any of them gains
    nothing (Gala et al., NeurIPS 2019, who take one modality's covariance at a time). It costs an inverse, which
    is noisy for batches that are small beside the number of dimensions.

    Parameters
    ----------
    zi, zj
        ``(n_cells, n_latent)`` latents of two modalities, row by row of the same cells.
    present_i, present_j
        ``(n_cells,)`` masks, 1 or 0: which cells have each modality.
    pair_weight
        ``(n_cells,)`` weight of each pair, 1 by default; pairs below 0.01 do not count.

    Returns
    -------
    A scalar; 0 in a batch without pairs.
    """
    difference = zi - zj
    ridge = COVARIANCE_RIDGE * torch.eye(zi.shape[-1], dtype=zi.dtype, device=zi.device)
    squared = torch.zeros_like(difference[..., 0])
    for z, present in ((zi, present_i), (zj, present_j)):
        whitened = torch.linalg.solve(covariance(z, present) + ridge, difference.mT).mT
        squared = squared + (difference * whitened).sum(-1) / 2
    return _pair_mean(squared, present_i, present_j, pair_weight)


@in_single_precision
def mse_coupling(
    zi: torch.Tensor,
    zj: torch.Tensor,
    present_i: torch.Tensor,
    present_j: torch.Tensor,
    pair_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Mean squared difference of paired latents, over pairs and dimensions.

    What one would try first, and what fails: the latents agree best when they shrink to a point; with
    normalised latents, when all dimensions are the same (Gala et al., NeurIPS 2019). Here for comparison, and to
    measure how far apart two latents are.

    Parameters
    ----------
    zi, zj
        ``(n_cells, n_latent)`` latents of two modalities, row by row of the same cells.
    present_i, present_j
        ``(n_cells,)`` masks, 1 or 0: which cells have each modality.
    pair_weight
        ``(n_cells,)`` weight of each pair, 1 by default; pairs below 0.01 do not count.

    Returns
    -------
    A scalar; 0 in a batch without pairs.
    """
    return _pair_mean((zi - zj).square().mean(-1), present_i, present_j, pair_weight)


@in_single_precision
def log_determinant_coupling(
    zi: torch.Tensor,
    zj: torch.Tensor,
    present_i: torch.Tensor,
    present_j: torch.Tensor,
    pair_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Agreement of paired latents, direction by direction, by how much of each is shared.

    .. math::

        L(z_i, z_j) = \log\det D_{-} + \beta \log\det D_{+}
            - \tfrac{1 + \beta}{2} \left[\log\det C_i + \log\det C_j\right] - (1 + \beta)\, d \log 2,

    with :math:`D_{-}` the second moment of the differences :math:`z_i - z_j` over the pairs, :math:`D_{+}` the
    covariance of the sums, :math:`C` those of all cells of each modality, :math:`d` dimensions and
    :math:`\beta = 0.8`. For latents of equal covariance that correlate by :math:`r_k` along their principal directions
    of agreement, this is :math:`\sum_k \log(1 - r_k) + \beta \log(1 + r_k)`: 0 for latents that have nothing to do with
    each other, and of linear maps of both it takes no notice, so that shrinking gains nothing. With
    :math:`\beta = 1` it would be minus twice their mutual information, were they Gaussian; the rest makes them agree rather
    than mirror each other. It asks most of directions that agree already, and next to nothing of those that do not:
    where one modality has something to say that the other knows nothing of, a latent keeps it. The squared distance of
    :func:`min_variance_coupling` asks the same of all.

    A batch has few pairs for so many directions, which seem to agree better than they do: :math:`D` is averaged with
    :math:`C_i + C_j`, what it is for unrelated latents, as if :math:`d` such pairs had been seen.

    Parameters
    ----------
    zi, zj
        ``(n_cells, n_latent)`` latents of two modalities, row by row of the same cells.
    present_i, present_j
        ``(n_cells,)`` masks, 1 or 0: which cells have each modality.
    pair_weight
        ``(n_cells,)`` weight of each pair, 1 by default; pairs below 0.01 do not count.

    Returns
    -------
    A scalar; 0 in a batch without pairs.

    Examples
    --------
    >>> import torch
    >>> from scvi_cae.module import log_determinant_coupling
    >>> zi, noise = torch.randn(2, 1000, 3, generator=torch.manual_seed(0))
    >>> everyone = torch.ones(1000)
    >>> agree = log_determinant_coupling(zi, zi + 0.1 * noise, everyone, everyone)
    >>> abs(log_determinant_coupling(zi, noise, everyone, everyone)) < 0.1, agree < -10
    (tensor(True), tensor(True))
    """
    n_latent = zi.shape[-1]
    weight = _pair_weights(zi.dtype, present_i, present_j, pair_weight).unsqueeze(-1)
    pairs = cell_sum(weight)
    own = covariance(torch.stack([zi, zj]), torch.stack([present_i, present_j]))
    total = zi + zj - cell_sum((zi + zj) * weight) / pairs.clamp(min=WEIGHT_FLOOR)
    across = torch.stack([zi - zj, total])
    across = across_processes((across * weight).mT @ across)
    # Sums of squares of the pairs, and of n_latent unrelated ones.
    across = (across + n_latent * own.sum(0)) / (pairs + n_latent)
    ridge = COVARIANCE_RIDGE * torch.eye(n_latent, dtype=zi.dtype, device=zi.device)
    minus, plus, i, j = torch.linalg.slogdet(torch.cat([across, own]) + ridge).logabsdet.unbind(0)
    unrelated = (1 + SUM_WEIGHT) * n_latent * math.log(2)
    loss = minus + SUM_WEIGHT * plus - (1 + SUM_WEIGHT) / 2 * (i + j) - unrelated
    return loss * (pairs > 0).squeeze(-1).squeeze(-1)


#: Coupling losses by the name that a model is given.
COUPLING_LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "log_determinant": log_determinant_coupling,
    "min_variance": min_variance_coupling,
    "min_variance_2019": min_variance_coupling_2019,
    "full_covariance": full_covariance_coupling,
    "mse": mse_coupling,
}
