"""Coupling losses: what makes two modalities' latents of the same cells agree.

Latents may have leading dimensions, of members that are trained together; a loss then has the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from scvi_cae._docstrings import insert_descriptions

from ._precision import in_single_precision
from ._reduce import across_processes, cell_sum

if TYPE_CHECKING:
    from collections.abc import Callable

#: Smallest admissible variance of a latent direction (Gala et al. 2021).
VARIANCE_FLOOR = 1e-2
#: Added to the diagonal of a covariance before it is inverted (Gala et al. 2019).
COVARIANCE_RIDGE = 1e-3
#: Weight of sums beside differences in the log-determinant coupling, chosen on inner validation cells
#: (docs/benchmark.md).
SUM_WEIGHT = 0.8

describe = insert_descriptions(
    zi="``(n_cells, n_latent)`` latents of the first modality.",
    zj="``(n_cells, n_latent)`` latents of the second modality, row by row of the same cells.",
    present_i="``(n_cells,)`` mask, 1 or 0: the cells that have the first modality.",
    present_j="``(n_cells,)`` mask, 1 or 0: the cells that have the second modality.",
    z="``(n_cells, n_latent)`` latents.",
    present="``(n_cells,)`` mask, 1 or 0: the cells that have the modality, paired or not.",
)


@in_single_precision
@describe
def covariance(z: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Covariance of the latents of the cells that are present.

    Parameters
    ----------
    %(z)s
    %(present)s

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
@describe
def smallest_variance(z: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Smallest eigenvalue of the covariance of the latents of the cells that are present.

    It equals the squared smallest singular value of the centred minibatch divided by ``n - 1``, but costs an
    eigendecomposition of ``n_latent`` x ``n_latent`` only, and has a gradient at repeated eigenvalues.

    Parameters
    ----------
    %(z)s
    %(present)s

    Returns
    -------
    A scalar.
    """
    return torch.linalg.eigvalsh(covariance(z, present))[..., 0]


def _smallest_variances(
    zi: torch.Tensor, zj: torch.Tensor, present_i: torch.Tensor, present_j: torch.Tensor
) -> torch.Tensor:
    """Smallest variances of both latents, stacked along the first dimension."""
    return smallest_variance(torch.stack([zi, zj]), torch.stack([present_i, present_j]))


def _pair_mean(values: torch.Tensor, present_i: torch.Tensor, present_j: torch.Tensor) -> torch.Tensor:
    """Mean of ``(n_cells,)`` values over the pairs; 0 without any."""
    pairs = (present_i * present_j).to(values.dtype)
    total, n = cell_sum(torch.stack([values * pairs, pairs], dim=-1)).squeeze(-2).unbind(-1)
    return total / n.clamp(min=1)


@in_single_precision
@describe
def min_variance_coupling(
    zi: torch.Tensor, zj: torch.Tensor, present_i: torch.Tensor, present_j: torch.Tensor
) -> torch.Tensor:
    r"""Squared distance of paired latents relative to the smallest variance of either latent.

    .. math::

        L(z_i, z_j) = \frac{\sum_{c \in P} \lVert z_{ic} - z_{jc} \rVert^2 / |P|}
                           {\max\{\min(s_i, s_j),\ 10^{-2}\}},
        \qquad s = \lambda_{\min}(\operatorname{Cov}(z))

    The distance is over the pairs :math:`P`, the covariances over all cells of each modality. The gradient flows
    through both, so that shrinking a latent, or one direction of it, does not reduce the loss as long as its
    variance exceeds the floor (Gala et al., NeurIPS 2019; Nature Computational Science 2021).

    Parameters
    ----------
    %(zi)s
    %(zj)s
    %(present_i)s
    %(present_j)s

    Returns
    -------
    A scalar; 0 in a minibatch without pairs.

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
    distance = _pair_mean((zi - zj).square().sum(-1), present_i, present_j)
    return distance / _smallest_variances(zi, zj, present_i, present_j).amin(0).clamp(min=VARIANCE_FLOOR)


@in_single_precision
@describe
def min_variance_coupling_2019(
    zi: torch.Tensor, zj: torch.Tensor, present_i: torch.Tensor, present_j: torch.Tensor
) -> torch.Tensor:
    r"""Minimum-variance coupling with one term for each modality, as in the experiments of 2019.

    .. math::

        L(z_i, z_j) = \frac{\operatorname{MSE}(z_i, z_j)}{\max(s_i, 10^{-2})}
                    + \frac{\operatorname{MSE}(z_i, z_j)}{\max(s_j, 10^{-2})}

    with the mean squared error over pairs *and dimensions* (Gala et al., NeurIPS 2019).
    :func:`min_variance_coupling` has the sum over dimensions, and only the smaller of the two variances.

    Parameters
    ----------
    %(zi)s
    %(zj)s
    %(present_i)s
    %(present_j)s

    Returns
    -------
    A scalar; 0 in a minibatch without pairs.
    """
    error = mse_coupling(zi, zj, present_i, present_j)
    variances = _smallest_variances(zi, zj, present_i, present_j)
    return (error / variances.clamp(min=VARIANCE_FLOOR)).sum(0)


@in_single_precision
@describe
def full_covariance_coupling(
    zi: torch.Tensor, zj: torch.Tensor, present_i: torch.Tensor, present_j: torch.Tensor
) -> torch.Tensor:
    r"""Squared Mahalanobis distance of paired latents, relative to the whole covariance of either.

    .. math::

        L(z_i, z_j) = \frac{1}{2} \sum_{k \in \{i, j\}} \frac{1}{|P|} \sum_{c \in P}
            (z_{ic} - z_{jc})^\top \big(\operatorname{Cov}(z_k) + 10^{-3} I\big)^{-1} (z_{ic} - z_{jc})

    Each direction of the latent is measured in units of its own spread, so that shrinking any of them gains
    nothing (Gala et al., NeurIPS 2019, who take one modality's covariance at a time). It needs an inverse, which is
    noisy in minibatches that are small relative to the number of dimensions.

    Parameters
    ----------
    %(zi)s
    %(zj)s
    %(present_i)s
    %(present_j)s

    Returns
    -------
    A scalar; 0 in a minibatch without pairs.
    """
    difference = zi - zj
    ridge = COVARIANCE_RIDGE * torch.eye(zi.shape[-1], dtype=zi.dtype, device=zi.device)
    squared = torch.zeros_like(difference[..., 0])
    for z, present in ((zi, present_i), (zj, present_j)):
        whitened = torch.linalg.solve(covariance(z, present) + ridge, difference.mT).mT
        squared = squared + (difference * whitened).sum(-1) / 2
    return _pair_mean(squared, present_i, present_j)


@in_single_precision
@describe
def mse_coupling(
    zi: torch.Tensor, zj: torch.Tensor, present_i: torch.Tensor, present_j: torch.Tensor
) -> torch.Tensor:
    r"""Mean squared difference of paired latents, over pairs and dimensions.

    The obvious choice, under which latents collapse: they agree best when they shrink to a point or, if they are
    normalised, when all dimensions are the same (Gala et al., NeurIPS 2019). It serves for comparison, and measures
    the distance between two latents.

    Parameters
    ----------
    %(zi)s
    %(zj)s
    %(present_i)s
    %(present_j)s

    Returns
    -------
    A scalar; 0 in a minibatch without pairs.
    """
    return _pair_mean((zi - zj).square().mean(-1), present_i, present_j)


@in_single_precision
@describe
def log_determinant_coupling(
    zi: torch.Tensor, zj: torch.Tensor, present_i: torch.Tensor, present_j: torch.Tensor
) -> torch.Tensor:
    r"""Agreement of paired latents, weighted direction by direction by how much they share.

    .. math::

        L(z_i, z_j) = \log\det D_{-} + \beta \log\det D_{+}
            - \tfrac{1 + \beta}{2} \left[\log\det C_i + \log\det C_j\right] - (1 + \beta)\, d \log 2,

    with :math:`D_{-}` the second moment of the differences :math:`z_i - z_j` over the pairs, :math:`D_{+}` the
    covariance of the sums, :math:`C` the covariances of either latent over the pairs, :math:`d` dimensions and
    :math:`\beta = 0.8`. For latents of equal covariance that correlate by :math:`r_k` along their principal
    directions of agreement, this is :math:`\sum_k \log(1 - r_k) + \beta \log(1 + r_k)`: 0 for unrelated latents, and
    invariant to a linear map of both, so that shrinking gains nothing. With :math:`\beta = 1` it would be minus
    twice the mutual information of Gaussian latents; a smaller :math:`\beta` makes them agree rather than mirror
    each other. The gradient is largest along directions that agree already and vanishes along unrelated ones, where
    each latent keeps what is specific to its modality. The squared distance of :func:`min_variance_coupling` treats
    all directions alike.

    A minibatch has few pairs for many directions, so that agreement is overestimated: :math:`D` is averaged with
    :math:`C_i + C_j`, its value for unrelated latents, as if :math:`d` unrelated pairs had been seen.

    Parameters
    ----------
    %(zi)s
    %(zj)s
    %(present_i)s
    %(present_j)s

    Returns
    -------
    A scalar; 0 in a minibatch without pairs.

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
    weight = (present_i * present_j).to(zi.dtype).unsqueeze(-1)
    pairs = cell_sum(weight)
    own = covariance(torch.stack([zi, zj]), present_i * present_j)
    total = zi + zj - cell_sum((zi + zj) * weight) / pairs.clamp(min=1)
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
