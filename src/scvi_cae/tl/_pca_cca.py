"""Canonical correlation analysis of principal components: the linear baseline of Gala et al. (2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.data import (
    SETS,
    AlignedMatrix,
    check_latent_key,
    check_mudata,
    positions,
    write_latents,
)
from scvi_cae.evaluate import CCABaseline, RidgeBaseline

from ._latents import cell_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData

    from ._latents import Cells

#: Negligible penalty, which makes the decoders least-squares maps: few uncorrelated latents need no
#: regularisation.
_LEAST_SQUARES = np.array([1e-6])


class PCACCA:
    """Fitted principal components and canonical correlations of two modalities, with decoders to features.

    Use :func:`pca_cca` to fit one.

    Parameters
    ----------
    baseline
        The fitted analysis, from the first modality to the second.
    decoders
        Map from the latents of one modality to the features of another, by (source, target).
    features
        Names of the features of the two modalities, in their order.
    layers
        Layer that is read of each modality, ``None`` for ``X``.
    mdata
        The data that were fitted to.

    Attributes
    ----------
    modalities : tuple of str
        The two modalities.
    features : dict
        Names of the features of each modality, in the order of predictions.
    n_latent : int
        Number of latent dimensions.
    correlations : numpy.ndarray
        ``(n_latent,)`` canonical correlations of the training cells, in descending order.
    """

    def __init__(
        self,
        baseline: CCABaseline,
        decoders: Mapping[tuple[str, str], RidgeBaseline],
        features: Mapping[str, Sequence[str]],
        layers: Mapping[str, str | None],
        mdata: MuData,
    ) -> None:
        self._baseline, self._mdata = baseline, mdata
        self._decoders, self._layers = dict(decoders), dict(layers)
        self.features = {name: list(names) for name, names in features.items()}
        self.modalities = tuple(self.features)
        self.correlations = baseline.correlations_
        self.n_latent = len(self.correlations)

    def __repr__(self) -> str:
        return f"PCACCA of {' and '.join(map(repr, self.modalities))}, {self.n_latent} dimensions"

    def transform(self, mdata: MuData | None = None) -> dict[str, np.ndarray]:
        """Latents of cells in each modality.

        Parameters
        ----------
        mdata
            MuData with the same features; by default the one that was fitted to. A modality may be absent.

        Returns
        -------
        ``(n_obs, n_latent)`` latents by modality; NaN for cells without the modality.

        Raises
        ------
        ValueError
            If a modality does not have the features that were fitted to.
        """
        mdata = self._mdata if mdata is None else mdata
        cells = np.arange(mdata.n_obs)
        return {name: self._latents(mdata, name, cells) for name in self.modalities}

    def predict(
        self,
        source: str,
        target: str,
        adata: MuData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> pd.DataFrame:
        """Predict one modality from the other, or reconstruct it from itself.

        Parameters
        ----------
        source
            Modality to predict from.
        target
            Modality to predict.
        adata
            MuData with the same features; by default the one that was fitted to.
        indices
            Positions of cells, or a mask; all cells by default.

        Returns
        -------
        Data frame of cells by features of ``target``, in the units of the data; NaN for cells without
        ``source``.

        Raises
        ------
        ValueError
            If ``source`` or ``target`` is unknown, or ``source`` does not have the features that were fitted
            to.
        """
        for name in (source, target):
            if name not in self.modalities:
                raise ValueError(f"{self!r} has no modality {name!r}.")
        mdata = self._mdata if adata is None else adata
        cells = np.arange(mdata.n_obs) if indices is None else positions(indices, mdata.n_obs)
        values = self._decoders[source, target].predict(self._latents(mdata, source, cells))
        return pd.DataFrame(
            values, index=mdata.obs_names[cells].rename("cell"), columns=self.features[target]
        )

    def _latents(self, mdata: MuData, modality: str, cells: np.ndarray) -> np.ndarray:
        aligned = AlignedMatrix(mdata, modality, self._layers[modality], self.features[modality])
        baseline = self._baseline
        transform = (baseline.transform_source, baseline.transform_target)[self.modalities.index(modality)]
        return transform(aligned.values(cells))


def pca_cca(
    mdata: MuData,
    modalities: Sequence[str] | None = None,
    *,
    n_latent: int = 3,
    n_components: int | Sequence[int] = 50,
    layers: Mapping[str, str] | None = None,
    train_cells: Cells = "training",
    use_rep: str = "X_cae",
    decoder: Literal["own", "crossed"] = "own",
    key_added: str = "X_cca",
) -> PCACCA:
    """Embed two modalities in one space by canonical correlation analysis of their principal components.

    The linear baseline of Gala et al. (2021). Features are standardised, each modality is reduced to
    principal components, and the linear combinations of components with the highest correlations are the
    latents (:class:`scvi_cae.evaluate.CCABaseline`). They are stored under the same keys as those of a model,
    so that all functions of :mod:`scvi_cae.tl` that read latents accept ``use_rep=key_added``.

    Parameters
    ----------
    mdata
        MuData. Counts should be normalised and log-transformed.
    modalities
        The two modalities; not needed if ``mdata`` has only two.
    n_latent
        Number of latent dimensions, at most the number of components. Published: 3, 5, 10.
    n_components
        Number of principal components, one for both modalities or one for each. It is reduced to the number
        of features or of training cells if that is smaller. Published: 10, 20, 50.
    layers
        Layer to read by modality; by default ``X``.
    train_cells
        Cells to fit to: components and correlations are fitted to cells with both modalities, a decoder to
        cells with its source and target. By default the training cells of a model, for comparison with it:
        those in ``mdata.obs[f"{use_rep}_set"]``, as written by :meth:`scvi_cae.CoupledAE.write_latent`.
        Without a model, use positions, such as ``split.train``, or a mask.
    use_rep
        Prefix of the keys that the model has written.
    decoder
        Decoder for cross-modal prediction. ``"own"`` (default): the least-squares map from the latents of the
        target to its features, applied to the latents of the source, as published. ``"crossed"``: the
        least-squares map from the latents of the source to the features of the target; it predicts better,
        since it takes into account that latents correlate by less than 1. Both are fitted to the training
        cells. Reconstruction always uses the first.
    key_added
        Prefix of the keys that are written.

    Returns
    -------
    The fitted analysis: :meth:`PCACCA.transform` embeds other cells, :meth:`PCACCA.predict` predicts. The
    function writes, as :meth:`scvi_cae.CoupledAE.write_latent` does:

    ``mdata.obsm[f"{key_added}_{modality}"]``
        ``(n_obs, n_latent)`` latents; NaN for cells without the modality.
    ``mdata.obsm[key_added]``
        Mean of the latents over the modalities of a cell; NaN for cells with neither.
    ``mdata[modality].obsm[key_added]``
        Latents of the modality, in its own order of cells.
    ``mdata.obs[f"{key_added}_set"]``
        Set of each cell: that of the model, or ``"training"`` and ``"test"``.

    Raises
    ------
    KeyError
        If the set of each cell is missing.
    ValueError
        If ``modalities`` are not two of ``mdata``, fewer than two training cells have both, a feature is
        measured in no training cell, ``decoder`` is another word, or ``mdata`` is a view.

    Notes
    -----
    Latents are white: over the training cells with both modalities, they have mean 0 and identity covariance
    (``ddof=0``) in each modality. The published code whitened over all cells, including test cells, and used
    scikit-learn's iterative :class:`~sklearn.cross_decomposition.CCA`; this is its exact solution.

    For embedding, missing values are replaced by the training mean; in fitting decoders, they are left out.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> split = scvi_cae.splits.k_fold(mdata, 5)[0]
    >>> cca = scvi_cae.tl.pca_cca(mdata, ("rna", "ephys"), n_components=10, train_cells=split.train)
    >>> mdata.obsm["X_cca_ephys"].shape
    (200, 3)
    >>> cca.predict("rna", "ephys", indices=split.test).shape
    (40, 24)
    """
    check_mudata(mdata)
    names = list(mdata.mod) if modalities is None else list(modalities)
    unknown = [name for name in names if name not in mdata.mod]
    if unknown or len(names) != 2 or len(set(names)) != 2:
        raise ValueError(
            f"Canonical correlation is of two modalities, not of {names}. Name two of "
            f"{shorten(list(mdata.mod))}: modalities=(..., ...)."
        )
    stray = [name for name in layers or {} if name not in names]
    if stray:
        raise ValueError(f"layers names {shorten(stray)}, which is none of the modalities {names}.")
    if decoder not in ("own", "crossed"):
        raise ValueError(f"decoder={decoder!r} must be 'own' or 'crossed'.")
    check_latent_key(mdata, key_added, names)
    a, b = names
    training = cell_mask(mdata, use_rep, train_cells)
    layer_of: dict[str, str | None] = {name: (layers or {}).get(name) for name in names}
    features = {name: mdata[name].var_names.astype(str).tolist() for name in names}
    values = {
        name: AlignedMatrix(mdata, name, layer_of[name], features[name]).values(np.flatnonzero(training))
        for name in names
    }
    both = np.all([~np.isnan(x).all(1) for x in values.values()], axis=0)
    if both.sum() < 2:
        raise ValueError(
            f"{both.sum()} training cells have both {a!r} and {b!r}, too few to correlate. Choose others: "
            "train_cells=..."
        )
    for name, x in values.items():
        never = np.isnan(x[both]).all(0)
        if never.any():
            raise ValueError(
                f"{name!r} has features without a value in any training cell with both modalities: "
                f"{shorten(np.array(features[name])[never])}. Leave them out."
            )
    n_a, n_b = np.broadcast_to(n_components, 2).tolist()
    # Components of other cells would correlate on these, and latents would not be white.
    baseline = CCABaseline(n_latent, (n_a, n_b)).fit(values[a][both], values[b][both])
    z = {a: baseline.transform_source(values[a]), b: baseline.transform_target(values[b])}
    within = {name: RidgeBaseline(_LEAST_SQUARES).fit(z[name], values[name]) for name in names}
    decoders = {
        (source, target): within[target]
        if source == target or decoder == "own"
        else RidgeBaseline(_LEAST_SQUARES).fit(z[source], values[target])
        for source in names
        for target in names
    }
    fitted = PCACCA(baseline, decoders, features, layer_of, mdata)
    if isinstance(train_cells, str) and train_cells == "training":
        sets = mdata.obs[f"{use_rep}_set"]
    else:
        sets = pd.Categorical(np.where(training, "training", "test"), SETS)
    latents = fitted.transform()
    write_latents(mdata, key_added, _joint(latents), latents, sets)
    return fitted


def _joint(latents: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean of the latents over the modalities of a cell; NaN without any."""
    stacked = np.stack(list(latents.values()))
    present = np.isfinite(stacked)
    n = present.sum(0)
    joint = np.full(n.shape, np.nan)
    return np.divide(np.where(present, stacked, 0).sum(0), n, out=joint, where=n > 0)
