"""Canonical correlation analysis of principal components: the linear method that the paper compares with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.data import AlignedModality, check_mudata, check_not_view, positions
from scvi_cae.evaluate import CCABaseline, RidgeBaseline

from ._latents import cell_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData

    from ._latents import Cells

#: Close to none, as few uncorrelated latents need: the maps back are least squares.
_LEAST_SQUARES = np.array([1e-6])


class PCACCA:
    """Fitted principal components and canonical correlations of two modalities, with the maps back from latents.

    Made by :func:`pca_cca`, not by hand.

    Parameters
    ----------
    baseline
        The fitted analysis, from the first modality to the second.
    decoders
        Map from latents of each modality (first) to features of each (second).
    features
        Names of the features of the two modalities, in their order.
    layers
        Layer of each that is read, ``None`` for ``X``.
    mdata
        What was fitted to.

    Attributes
    ----------
    modalities : tuple of str
        The two modalities.
    features : dict
        Names of the features of each, in the order in which they are predicted.
    n_latent : int
        Number of dimensions.
    correlations : numpy.ndarray
        ``(n_latent,)`` canonical correlations of the training cells, descending.
    """

    def __init__(
        self,
        baseline: CCABaseline,
        decoders: Mapping[tuple[str, str], RidgeBaseline],
        features: Mapping[str, Sequence[str]],
        layers: Mapping[str, str | None],
        mdata: MuData,
    ) -> None:
        self._baseline, self._decoders, self._layers, self._mdata = (
            baseline,
            dict(decoders),
            dict(layers),
            mdata,
        )
        self.features = {name: list(of) for name, of in features.items()}
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
            MuData with the same features; the one that was fitted to by default. A modality may be absent.

        Returns
        -------
        By modality, ``(n_obs, n_latent)``, NaN for cells without it.

        Raises
        ------
        ValueError
            If features of a modality are not those that were fitted to.
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
        """Predict a modality from the other, or reconstruct it from itself.

        Parameters
        ----------
        source
            Modality to predict from.
        target
            Modality to predict.
        adata
            MuData with the same features; the one that was fitted to by default.
        indices
            Positions of cells, or a mask; all by default.

        Returns
        -------
        Data frame of cells by features of ``target``, in the units of the data; NaN for cells without ``source``.

        Raises
        ------
        ValueError
            If there is no such modality, or its features are not those that were fitted to.
        """
        for name in (source, target):
            if name not in self.modalities:
                raise ValueError(f"No modality {name!r} in this {self!r}.")
        mdata = self._mdata if adata is None else adata
        cells = np.arange(mdata.n_obs) if indices is None else positions(indices, mdata.n_obs)
        values = self._decoders[source, target].predict(self._latents(mdata, source, cells))
        return pd.DataFrame(values, index=mdata.obs_names[cells], columns=self.features[target])

    def _latents(self, mdata: MuData, modality: str, cells: np.ndarray) -> np.ndarray:
        aligned = AlignedModality(mdata, modality, self._layers[modality], self.features[modality])
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

    What Gala et al. (2021) compare coupled autoencoders with. Features are standardised, each modality is reduced to
    principal components, and those combinations of components that correlate most are the latents (:class:`scvi_cae.evaluate.CCABaseline`). Latents lie where those of a model do, so
    that every function of :mod:`scvi_cae.tl` that reads latents works on them with ``use_rep=key_added``.

    Parameters
    ----------
    mdata
        MuData. Counts should be normalised and log-transformed.
    modalities
        The two modalities; not needed if ``mdata`` has two only.
    n_latent
        Number of dimensions, at most the number of components. Published: 3, 5, 10.
    n_components
        Number of principal components of each modality, or of both; of a modality with fewer features or training cells,
        as many as there are. Published: 10, 20, 50.
    layers
        Layer to read of a modality, by default ``X``.
    train_cells
        Cells that everything is fitted to: components and correlations to those that have both modalities, the maps back
        to those that have what they start from and lead to. By default those of a model, so that the two compare: its
        ``mdata.obs[f"{use_rep}_set"]``, as written by :meth:`scvi_cae.CoupledAE.write_latent`. Without a model,
        positions, such as ``split.train``, or a mask.
    use_rep
        Where that model has written.
    decoder
        How the other modality is predicted: ``"own"`` (default), by the map back from the target's own latents, applied to
        those of the source, as published; or ``"crossed"``, by a map from the source's latents to the target, which
        predicts better, since it knows that latents correlate by less than 1. Both are least squares of the training
        cells. A modality is always reconstructed by the first.
    key_added
        Beginning of the keys written.

    Returns
    -------
    What was fitted: :meth:`PCACCA.transform` gives latents of other cells, :meth:`PCACCA.predict` predictions. Writes,
    as :meth:`scvi_cae.CoupledAE.write_latent`:

    ``mdata.obsm[f"{key_added}_{modality}"]``
        ``(n_obs, n_latent)`` latents, NaN for cells without the modality.
    ``mdata.obsm[key_added]``
        Their mean over the modalities that a cell has; NaN for cells that have neither.
    ``mdata[modality].obsm[key_added]``
        The same as the first, in the modality's own order.
    ``mdata.obs[f"{key_added}_set"]``
        What each cell was: as in the model's column, or ``"training"`` and ``"test"``.

    Raises
    ------
    KeyError
        If nothing says which cells train.
    ValueError
        If ``modalities`` are not two of ``mdata``, fewer than two training cells have both, a feature is measured in no
        training cell, ``decoder`` is another word, or ``mdata`` is a view.

    Notes
    -----
    Latents are white: those of the training cells that have both modalities have mean 0 and the identity as
    covariance (``ddof=0``), in each modality. The published code whitened by all cells, test cells among them, and used
    scikit-learn's iterative :class:`~sklearn.cross_decomposition.CCA`, of which these are the exact solution.

    Missing values count as the training mean when cells are embedded, and are left out of the fit of the maps back.

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
    check_not_view(mdata)
    names = list(mdata.mod) if modalities is None else list(modalities)
    unknown = [name for name in names if name not in mdata.mod]
    if unknown or len(names) != 2 or len(set(names)) != 2:
        raise ValueError(
            f"Canonical correlation is of two modalities, not of {names}; the MuData has {shorten(list(mdata.mod))}. Name "
            "two: modalities=(..., ...)."
        )
    stray = [name for name in layers or {} if name not in names]
    if stray:
        raise ValueError(f"layers names {shorten(stray)}, which is not among the modalities {names}.")
    if decoder not in ("own", "crossed"):
        raise ValueError(f"decoder={decoder!r} must be 'own' or 'crossed'.")
    keys = [key_added, *(f"{key_added}_{name}" for name in names)]
    if not key_added or "/" in key_added or {*keys} & {*mdata.mod}:
        raise ValueError(
            f"key_added={key_added!r} cannot name latents: it must not be empty, contain a slash, or give the name of a "
            "modality."
        )
    a, b = names
    training = cell_mask(mdata, use_rep, train_cells)
    layer_of: dict[str, str | None] = {name: (layers or {}).get(name) for name in names}
    features = {name: mdata[name].var_names.astype(str).tolist() for name in names}
    values = {
        name: AlignedModality(mdata, name, layer_of[name], features[name]).values(np.flatnonzero(training))
        for name in names
    }
    both = np.all([~np.isnan(x).all(1) for x in values.values()], axis=0)
    if both.sum() < 2:
        raise ValueError(
            f"{both.sum()} training cells have both {a!r} and {b!r}: nothing to correlate. Give others: train_cells=..."
        )
    for name, x in values.items():
        never = np.isnan(x[both]).all(0)
        if never.any():
            raise ValueError(
                f"Modality {name!r} has features without a value in any training cell that has both modalities: "
                f"{shorten(np.array(features[name])[never])}. Leave them out."
            )
    n_a, n_b = np.broadcast_to(n_components, 2).tolist()
    # Of other cells, components would correlate with each other, and latents would not be white.
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
    _write(mdata, fitted.transform(), key_added)
    if isinstance(train_cells, str) and train_cells == "training":
        mdata.obs[f"{key_added}_set"] = mdata.obs[f"{use_rep}_set"]
    else:
        sets = np.where(training, "training", "test")
        mdata.obs[f"{key_added}_set"] = pd.Categorical(sets, ["training", "validation", "test"])
    return fitted


def _write(mdata: MuData, of: Mapping[str, np.ndarray], key: str) -> None:
    """Write latents where a model writes its own."""
    stacked = np.stack(list(of.values()))
    present = np.isfinite(stacked)
    n = present.sum(0)
    joint = np.full(n.shape, np.nan)
    mdata.obsm[key] = np.divide(np.where(present, stacked, 0).sum(0), n, out=joint, where=n > 0)
    for name, z in of.items():
        mdata.obsm[f"{key}_{name}"] = z
        adata = mdata.mod[name]
        adata.obsm[key] = z[mdata.obs_names.get_indexer(adata.obs_names)]
