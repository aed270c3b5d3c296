"""The linear map of each feature under which values are most probable as a mixture of known groups."""

from __future__ import annotations

import numpy as np
import torch

#: Degrees of freedom of the groups' distributions.
DEGREES = 30.0
#: Largest number of iterations.
MAX_ITERATIONS = 200


def most_probable(
    scores: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factors, shifts and proportions that maximise the likelihood of scores under a mixture of multivariate t distributions.

    Parameters
    ----------
    scores
        ``(n_cells, n_features)`` standard scores, NaN where missing. A missing value is as likely as the mean.
    mean, covariance
        ``(n_groups, n_features)`` and ``(n_groups, n_features, n_features)`` of the groups.

    Returns
    -------
    Two ``(n_features,)`` arrays, and the ``(n_groups,)`` proportions.
    """
    known = torch.from_numpy(np.isfinite(scores))
    x, centres = torch.from_numpy(np.nan_to_num(scores)), torch.from_numpy(mean)
    spread = torch.from_numpy(covariance)
    precision, log_determinant = torch.linalg.inv(spread), torch.logdet(spread)
    observed = known.double().mean(0)
    n_features = x.shape[1]
    log_factor, shift = (torch.zeros(n_features, dtype=torch.double, requires_grad=True) for _ in range(2))
    shares = torch.zeros(len(centres), dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_factor, shift, shares], max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        moved = x * log_factor.exp() + shift
        difference = torch.where(known[:, None], moved[:, None] - centres, 0.0)
        squared = torch.einsum("ncf,cfg,ncg->nc", difference, precision, difference)
        log_density = -(DEGREES + n_features) / 2 * torch.log1p(squared / DEGREES) - log_determinant / 2
        likelihood = torch.logsumexp(log_density + torch.log_softmax(shares, 0), 1).mean()
        negative = -likelihood - (observed * log_factor).sum()
        negative.backward()
        return negative

    with torch.enable_grad():
        optimizer.step(loss)
    proportions = torch.softmax(shares.detach(), 0)
    return log_factor.detach().exp().numpy(), shift.detach().numpy(), proportions.numpy()
