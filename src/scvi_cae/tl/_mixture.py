"""Gaussian mixtures of latents, with the number of components chosen by BIC."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from scvi_cae._arguments import check_whole

from ._parameters import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Added to the diagonal of covariances, as in Gala et al. (2021).
REGULARISATION = 1e-4
#: The search ends after this many numbers of types without a lower BIC.
PATIENCE = 5
#: Largest number of types in the search.
MAX_TYPES = 50


class Mixture(NamedTuple):
    """A Gaussian mixture of latents or of their principal components.

    Parameters
    ----------
    gaussians
        The mixture.
    projection
        The principal components; ``None`` for a mixture of the latents themselves.
    bic
        Columns ``n_types``, ``init`` and ``bic``: the Bayesian information criterion of each fit. Lower is
        better.
    """

    gaussians: GaussianMixture
    projection: PCA | None
    bic: pd.DataFrame

    @property
    def n_types(self) -> int:
        """Number of components."""
        return self.gaussians.n_components

    def probabilities(self, latents: np.ndarray) -> np.ndarray:
        """``(n_cells, n_types)`` posterior probabilities of the components; NaN for cells without latents."""
        out = np.full((len(latents), self.n_types), np.nan)
        present = np.isfinite(latents).all(1)
        if present.any():
            z = latents[present]
            out[present] = self.gaussians.predict_proba(
                z if self.projection is None else self.projection.transform(z)
            )
        return out


@describe
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

    For each of ``n_init`` initialisations, the number of components with the lowest BIC is found; the median
    of these numbers is chosen, as in Gala et al. (2021) (Fig. 3a). Of the fits with that number, the
    likeliest is returned.

    Parameters
    ----------
    latents
        ``(n_cells, n_latent)`` finite latents of training cells.
    n_types
        Number of components, or numbers to choose from. By default 1, 2, ... until the mean BIC over
        initialisations has not decreased for 5 numbers. The search ends at 50 components, or before
        components have fewer than ``2 * (n_dim + 1)`` cells on average in ``n_dim`` dimensions: a component
        with as few cells as dimensions is degenerate, and its BIC meaningless.
    %(n_init)s
    %(n_dimensions)s
    %(tol)s
    %(random_state)s

    Raises
    ------
    ValueError
        If a number is not a whole number from 1 to the number of cells, or another argument is out of range.
    """
    check_whole(n_init, "n_init")
    check_whole(n_dimensions, "n_dimensions")
    n_cells = len(latents)
    if n_cells < 2:
        raise ValueError(f"{n_cells} training cells have latents; a mixture needs at least 2.")
    numbers = _numbers(n_types, n_cells)
    projection = PCA(min(n_dimensions, n_cells)).fit(latents) if latents.shape[1] > n_dimensions else None
    z = latents if projection is None else projection.transform(latents)
    search = numbers is None
    if numbers is None:
        numbers = range(1, max(1, min(MAX_TYPES, n_cells // (2 * (z.shape[1] + 1)))) + 1)
    # The likeliest fit of each number.
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
    """Numbers of types to try; ``None`` to search for the best."""
    if n_types is None:
        return None
    numbers = sorted(set(np.atleast_1d(np.asarray(n_types)).tolist()))
    if not numbers:
        raise ValueError(f"n_types={n_types!r} is empty. Pass a number of types, a list of numbers, or None.")
    for n in numbers:
        check_whole(n, "n_types", 1, n_cells, "the number of training cells with latents", optional=True)
    return numbers


def _chosen(table: pd.DataFrame) -> int:
    """Median over initialisations of the number with the lowest BIC, the smaller of two middle values."""
    best = table.loc[table.groupby("init")["bic"].idxmin(), "n_types"]
    return int(best.quantile(0.5, interpolation="lower"))
