"""Gaussian mixtures of latents, with the number of components by BIC."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Added to variances, as in Gala et al. (2021).
REGULARISATION = 1e-4
#: How many numbers of types that are no better end the search.
PATIENCE = 5
#: Most types that are tried unless numbers are given.
MOST_TYPES = 50


class Mixture(NamedTuple):
    """A mixture of normal distributions of latents.

    Parameters
    ----------
    gaussians
        The mixture.
    projection
        Principal components that it is of; None if it is of the latents themselves.
    bic
        Columns ``n_types``, ``init`` and ``bic``: the Bayesian information criterion of each fit; the lower the better.
    """

    gaussians: GaussianMixture
    projection: PCA | None
    bic: pd.DataFrame

    @property
    def n_types(self) -> int:
        """Number of components."""
        return self.gaussians.n_components

    def probabilities(self, latents: np.ndarray) -> np.ndarray:
        """How probable each component is for each cell.

        Parameters
        ----------
        latents
            ``(n_cells, n_latent)``, NaN for cells without.

        Returns
        -------
        ``(n_cells, n_types)``, NaN for cells without latents.
        """
        out = np.full((len(latents), self.n_types), np.nan)
        present = np.isfinite(latents).all(1)
        if present.any():
            z = latents[present]
            out[present] = self.gaussians.predict_proba(
                z if self.projection is None else self.projection.transform(z)
            )
        return out


def fit_mixture(
    latents: np.ndarray,
    n_types: int | Sequence[int] | None,
    *,
    n_init: int,
    n_dimensions: int,
    tol: float,
    random_state: int,
) -> Mixture:
    """Fit mixtures with several numbers of components, and choose one by BIC.

    Every number is fitted from ``n_init`` initialisations. Each initialisation has its best number, and the median of
    these is chosen, as in Gala et al. (2021) (Fig. 3a); of the fits with that number, the one with the highest
    likelihood.

    Parameters
    ----------
    latents
        ``(n_cells, n_latent)`` finite latents of training cells.
    n_types
        A number of components, or numbers to choose from. By default 1, 2, ... until the mean BIC over initialisations
        has not fallen for 5 numbers; at most 50, and no more than leave ``2 * (n_latent + 1)`` cells for each on
        average, since a component of as few cells as there are dimensions is degenerate, and its BIC meaningless.
    n_init
        Number of initialisations by k-means.
    n_dimensions
        Most dimensions; of more, as many principal components.
    tol
        Gain in log-likelihood per cell at which a fit has converged.
    random_state
        Seed.

    Returns
    -------
    The mixture.

    Raises
    ------
    ValueError
        If a number is not a whole number from 1 to the number of cells, or another argument is out of range.
    """
    for name, value in (("n_init", n_init), ("n_dimensions", n_dimensions)):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number of at least 1.")
    n_cells = len(latents)
    numbers = _numbers(n_types, n_cells)
    if n_cells < 2:
        raise ValueError(f"{n_cells} training cells have latents; a mixture needs at least 2.")
    projection = PCA(min(n_dimensions, n_cells)).fit(latents) if latents.shape[1] > n_dimensions else None
    z = latents if projection is None else projection.transform(latents)
    search = numbers is None
    if numbers is None:
        numbers = range(1, max(1, min(MOST_TYPES, n_cells // (2 * (z.shape[1] + 1)))) + 1)
    # One fit of each number is kept: the likeliest.
    best: dict[int, GaussianMixture] = {}
    rows: list[tuple[int, int, float]] = []
    means: list[float] = []
    for n in numbers:
        fits = [
            GaussianMixture(
                n, reg_covar=REGULARISATION, tol=tol, max_iter=1000, random_state=random_state + init
            ).fit(z)
            for init in range(n_init)
        ]
        bic = [fit.bic(z) for fit in fits]
        rows += [(n, init, value) for init, value in enumerate(bic)]
        best[n] = fits[int(np.argmin(bic))]
        means.append(float(np.mean(bic)))
        if search and len(means) - int(np.argmin(means)) > PATIENCE:
            break
    table = pd.DataFrame(rows, columns=["n_types", "init", "bic"])
    return Mixture(best[_chosen(table)], projection, table)


def _numbers(n_types: int | Sequence[int] | None, n_cells: int) -> Iterable[int] | None:
    """Numbers of types to try, checked; None if they are to be searched for."""
    if n_types is None:
        return None
    numbers = sorted(set(np.atleast_1d(np.asarray(n_types)).tolist()))
    if not numbers or not all(isinstance(n, int) and 1 <= n <= n_cells for n in numbers):
        raise ValueError(
            f"n_types={n_types!r} must be a whole number from 1 to the number of training cells with latents, "
            f"{n_cells}, a list of them, or None."
        )
    return numbers


def _chosen(table: pd.DataFrame) -> int:
    """Median over initialisations of the number with the lowest BIC; of two in the middle, the smaller."""
    best = table.loc[table.groupby("init")["bic"].idxmin(), "n_types"]
    return int(best.quantile(0.5, interpolation="lower"))
