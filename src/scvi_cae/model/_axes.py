"""Axes of the latent space along which modalities agree on cells."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Bounds of the agreement that scales an axis: no axis vanishes, and none counts for all.
LEAST, MOST = 0.05, 0.99


def agreement_axes(
    latents: Mapping[str, np.ndarray], pairs: Iterable[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray] | None:
    r"""Axes along which modalities agree, scaled by how well they do.

    Of all directions of the latent space, the first axis is the one in which the latents of the same cells in two
    modalities correlate most, the second the best of those uncorrelated with it, and so on. With :math:`C` the
    covariance of all latents and :math:`K` their covariance across modalities (symmetric, the mean over pairs of
    modalities and cells),

    .. math::

        K u_k = r_k C u_k, \qquad u_k^\top C u_k = 1, \qquad z'_k = \frac{s_k}{s_1} \, u_k^\top (z - \bar z), \qquad
        s_k^2 = \frac{r_k}{1 - r_k^2}.

    For two Gaussian measurements that correlate by :math:`r_k`, the logarithm of how much likelier a pair is as two
    measurements of one cell than as measurements of two is :math:`-\tfrac12 \sum_k s_k^2 (a_k - b_k)^2`, up to terms of
    either alone: nearest are the likeliest partners. This is a change of coordinates: nothing is lost.

    Parameters
    ----------
    latents
        By modality, ``(n_cells, n_latent)`` latents of the same training cells, NaN where a cell lacks it.
    pairs
        Coupled pairs of modalities; others have no reason to agree.

    Returns
    -------
    Origin, ``(n_latent,)``, and axes, ``(n_latent, n_latent)``: the new latents are ``(z - origin) @ axes``. ``None``
    if fewer cells than dimensions have two of the modalities.
    """
    firsts, seconds = [], []
    for i, j in combinations(latents, 2):
        if (i, j) in set(pairs):
            both = np.isfinite(latents[i][:, 0]) & np.isfinite(latents[j][:, 0])
            firsts.append(latents[i][both])
            seconds.append(latents[j][both])
    if not firsts:
        return None
    a, b = np.concatenate(firsts).astype(float), np.concatenate(seconds).astype(float)
    n, n_latent = a.shape
    if n <= n_latent:
        return None
    origin = (a.mean(0) + b.mean(0)) / 2
    a, b = a - origin, b - origin
    covariance = (a.T @ a + b.T @ b) / (2 * n)
    across = (a.T @ b + b.T @ a) / (2 * n)
    # Latents that have collapsed to fewer dimensions have no covariance in the others.
    covariance += np.eye(n_latent) * max(1e-9 * np.trace(covariance) / n_latent, 1e-12)
    agreement, axes = eigh(across, covariance)
    agreement, axes = agreement[::-1], axes[:, ::-1]
    # The sign of an axis is free.
    axes = axes * np.where(axes.sum(0) < 0, -1.0, 1.0)
    agreement = np.clip(agreement, LEAST, MOST)
    scale = np.sqrt(agreement / (1 - agreement**2))
    return origin, axes * (scale / scale[0])
