"""Baselines with a latent space: principal components and canonical correlation analysis."""

from __future__ import annotations

from typing import Literal

import numpy as np
from sklearn.decomposition import PCA

from scvi_cae.regression import PairBaseline, RidgeBaseline
from scvi_cae.regression._pairs import describe

#: A negligible ridge penalty: latents are few and uncorrelated.
_LEAST_SQUARES = np.array([1e-6])


@describe
class PCABaseline(PairBaseline):
    """Regression on principal components of the source; from a modality to itself, its PCA reconstruction.

    The reconstruction of a modality from its own principal components is the reference for the reconstruction from a
    model's latents of the same dimension.

    Parameters
    ----------
    %(n_latent)s

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import PCABaseline
    >>> x = np.random.default_rng(0).normal(size=(100, 4))
    >>> bool(np.abs(PCABaseline(n_latent=4).fit(x, x).predict(x) - x).max() < 1e-6)
    True
    """

    def __init__(self, n_latent: int = 10) -> None:
        self.n_latent = n_latent

    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        cells = x[present]
        self._pca = PCA(min(self.n_latent, *cells.shape), random_state=0).fit(cells)
        self._decoder = Decoder(self._pca.transform(x), y, present)

    def _predict(self, x: np.ndarray) -> np.ndarray:
        return self._decoder(self._pca.transform(x))


@describe
class CCABaseline(PairBaseline):
    r"""Canonical correlation analysis of principal components.

    The latents are the most correlated combinations of the principal components of the standardised source
    and target, over the cells that have both. Their weights are derived from the leading singular vectors of

    .. math:: (D_x + r)^{-1/2}\, C\, (D_y + r)^{-1/2}

    with :math:`D_x` and :math:`D_y` the variances of the components, and :math:`C` their covariance.

    Parameters
    ----------
    %(n_latent)s
    n_components
        Maximum number of principal components, of each modality or as a pair for source and target.
    regularisation
        :math:`r`, in squared standard deviations of a feature. 0 is classical CCA; larger values approach
        partial least squares.
    decoder
        Least-squares map that predicts the target from the latents of the source: fitted to these latents
        (``"crossed"``, default), or to the latents of the target itself (``"own"``).
    power
        The standard deviation of each latent is its canonical correlation to this power. 0 is classical CCA;
        0.5 gives the expected latents of probabilistic CCA. With larger powers, dimensions that the
        modalities share weigh more in distances. Predictions of a crossed decoder do not change.

    References
    ----------
    Bach and Jordan, "A probabilistic interpretation of canonical correlation analysis", 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import CCABaseline
    >>> z = np.random.default_rng(0).normal(size=(100, 2))
    >>> x, y = z @ [[1.0, 2, 3], [3, 1, 0]], z @ [[1.0, 0], [1, 1]]
    >>> cca = CCABaseline(n_latent=2).fit(x, y)
    >>> bool(np.abs(cca.transform_source(x) - cca.transform_target(y)).max() < 1e-6)
    True
    """

    def __init__(
        self,
        n_latent: int = 10,
        n_components: int | tuple[int, int] = 50,
        regularisation: float = 0.0,
        decoder: Literal["crossed", "own"] = "crossed",
        power: float = 0.0,
    ) -> None:
        if decoder not in ("crossed", "own"):
            raise ValueError(f"decoder={decoder!r} must be 'crossed' or 'own'.")
        self.n_latent = n_latent
        self.n_components = n_components
        self.regularisation = regularisation
        self.decoder = decoder
        self.power = power

    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        has_target = ~np.isnan(y).all(1)
        both = present & has_target
        if both.sum() < 2:
            raise ValueError(
                f"{both.sum()} training cells have both modalities, too few to correlate. Give cells that "
                "have both."
            )
        filled = np.nan_to_num(y)
        self._pcas = [self._reduce(x[present], 0), self._reduce(filled[has_target], 1)]
        components = [pca.transform(values) for pca, values in zip(self._pcas, (x, filled), strict=True)]
        a, b = (c[both] - c[both].mean(0) for c in components)
        spreads = [np.sqrt(c.var(0) + self.regularisation) for c in (a, b)]
        # Components without variance, from constant features, get weight 0.
        scales = [np.divide(1, s, out=np.zeros_like(s), where=s > 1e-9) for s in spreads]
        left, _, right = np.linalg.svd((a * scales[0]).T @ (b * scales[1]) / len(a), full_matrices=False)
        n = min(self.n_latent, left.shape[1])
        weights = [left[:, :n] * scales[0][:, None], right[:n].T * scales[1][:, None]]
        latents = [values @ w for values, w in zip((a, b), weights, strict=True)]
        deviations = [np.where(z.std(0) > 1e-9, z.std(0), 1.0) for z in latents]
        self.correlations_ = np.clip((latents[0] * latents[1]).mean(0) / np.prod(deviations, axis=0), 0, 1)
        # Latents scaled to exactly 0 would be of no use to a decoder.
        strength = np.maximum(self.correlations_, 1e-6) ** self.power
        self._weights = [w * strength / d for w, d in zip(weights, deviations, strict=True)]
        self._centres = [c[both].mean(0) for c in components]
        if self.decoder == "crossed":
            self._decoder = Decoder(self._latents(x, 0), y, present)
        else:
            self._decoder = Decoder(self._latents(filled, 1), y, has_target)

    def _reduce(self, values: np.ndarray, which: int) -> PCA:
        n = self.n_components[which] if isinstance(self.n_components, tuple) else self.n_components
        return PCA(min(n, *values.shape), random_state=0).fit(values)

    def _latents(self, values: np.ndarray, which: int) -> np.ndarray:
        """Latents of standardised values of the source (0) or the target (1)."""
        return (self._pcas[which].transform(values) - self._centres[which]) @ self._weights[which]

    def _predict(self, x: np.ndarray) -> np.ndarray:
        return self._decoder(self._latents(x, 0))

    @describe
    def transform_source(self, source: np.ndarray) -> np.ndarray:
        """Latents of the source.

        Parameters
        ----------
        %(source)s

        Returns
        -------
        ``(n_cells, n_latent)`` latents, NaN for cells without the modality.
        """
        source = np.asarray(source, dtype=float)
        latents = self._latents(self._inputs(source), 0)
        latents[np.isnan(source).all(1)] = np.nan
        return latents

    @describe
    def transform_target(self, target: np.ndarray) -> np.ndarray:
        """Latents of the target.

        Parameters
        ----------
        %(target)s

        Returns
        -------
        ``(n_cells, n_latent)`` latents, NaN for cells without the modality.
        """
        target = np.asarray(target, dtype=float)
        latents = self._latents(np.nan_to_num(self._target(target)), 1)
        latents[np.isnan(target).all(1)] = np.nan
        return latents


class Decoder:
    """Least-squares map from latents to standardised features, each fitted to the cells that have it.

    Parameters
    ----------
    latents
        ``(n_cells, n_latent)`` latents.
    y
        ``(n_cells, n_features)`` standardised values, NaN where missing.
    present
        ``(n_cells,)`` mask of the cells that have latents.
    """

    def __init__(self, latents: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        self._ridge = RidgeBaseline(_LEAST_SQUARES)
        self._ridge._fit(latents, y, present)

    def __call__(self, latents: np.ndarray) -> np.ndarray:
        """Standardised features predicted from latents."""
        return self._ridge._predict(latents)
