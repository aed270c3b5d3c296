"""Axes of the latent space along which modalities agree on cells."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Bounds of the agreement that scales an axis, so that no axis vanishes and none dominates.
MIN_AGREEMENT, MAX_AGREEMENT = 0.05, 0.99


class Axes(NamedTuple):
    """Coordinates of the latent space.

    Parameters
    ----------
    origin
        ``(n_latent,)``.
    axes
        ``(n_latent, n_latent)``.
    """

    origin: np.ndarray
    axes: np.ndarray

    def apply(self, z: torch.Tensor) -> torch.Tensor:
        """Latents in these coordinates: ``(z - origin) @ axes``."""
        origin, axes = (torch.as_tensor(x, dtype=z.dtype, device=z.device) for x in self)
        return (z - origin) @ axes


def agreement_axes(latents: Mapping[str, np.ndarray], pairs: Iterable[tuple[str, str]]) -> Axes | None:
    r"""Axes along which modalities agree, scaled by their agreement.

    The first axis is the direction of the latent space in which the latents of the same cells in two modalities
    correlate most, the second the best of the directions uncorrelated with it, and so on. With :math:`C` the
    covariance of all latents and :math:`K` their covariance across modalities (symmetric, the mean over pairs of
    modalities and cells),

    .. math::

        K u_k = r_k C u_k, \qquad u_k^\top C u_k = 1, \qquad z'_k = \frac{s_k}{s_1} \, u_k^\top (z - \bar z), \qquad
        s_k^2 = \frac{r_k}{1 - r_k^2}.

    For two Gaussian measurements with correlations :math:`r_k`, the log-likelihood ratio of a pair being two
    measurements of one cell rather than of two cells is :math:`-\tfrac12 \sum_k s_k^2 (a_k - b_k)^2`, up to terms of
    either measurement alone: nearest cells are the most likely partners. This is a change of coordinates and loses no
    information.

    Parameters
    ----------
    latents
        By modality, ``(n_cells, n_latent)`` latents of the same training cells, NaN where a cell lacks it.
    pairs
        Coupled pairs of modalities; other pairs need not agree.

    Returns
    -------
    The axes, or ``None`` if fewer cells than dimensions have two of the modalities.
    """
    coupled = set(pairs)
    firsts, seconds = [], []
    for i, j in combinations(latents, 2):
        if (i, j) in coupled:
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
    # The sign of an axis is arbitrary.
    axes = axes * np.where(axes.sum(0) < 0, -1.0, 1.0)
    agreement = np.clip(agreement, MIN_AGREEMENT, MAX_AGREEMENT)
    scale = np.sqrt(agreement / (1 - agreement**2))
    return Axes(origin, axes * (scale / scale[0]))
