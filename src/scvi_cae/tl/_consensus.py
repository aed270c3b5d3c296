"""Consensus of the cell types of many fits, and its stability."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, pairwise_distances_argmin

from scvi_cae._arguments import check_whole, shorten
from scvi_cae.data import SETS, check_mudata, check_not_view, held_out, obs_column

from ._consistent import categorical, check_key, fitted_modality, number_types
from ._latents import cell_mask, latents
from ._mixture import fit_mixture
from ._parameters import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from scvi_cae.model import CoupledAE, Ensemble
    from scvi_cae.model._many import Fit

#: A trained model, a fit of :func:`scvi_cae.fit_many`, or the prefix of the keys of latents in a MuData.
Source: TypeAlias = "CoupledAE | Fit | str"


@describe
def consensus_types(
    mdata: MuData,
    fits: Sequence[Source] | Ensemble,
    modality: str | None = None,
    n_types: int | None = None,
    *,
    reference_key: str | None = None,
    key_added: str = "consensus_type",
    n_init: int = 5,
    n_dimensions: int = 10,
    tol: float = 1e-3,
    random_state: int = 0,
) -> None:
    r"""Find consensus types of many fits, and assign every cell to one by each of its modalities.

    The types of a single fit (:func:`consistent_types`) depend on its random seed. Here, a mixture is fitted
    to the latents of each fit, and a cell is represented by its type probabilities in all fits. K-means on
    the representations of the training cells gives the consensus types. Each modality of every cell, held out
    or not, is then assigned to the nearest centre.

    Parameters
    ----------
    mdata
        MuData that the models can embed. Types are written to it.
    fits
        At least two trained models or fits of the same split,
        ``scvi_cae.fit_many(mdata, [split], seeds=range(10))``; an ensemble of them; or prefixes of the keys
        of latents, as written by :meth:`scvi_cae.CoupledAE.write_latent`.
    modality
        Modality to which the mixtures and the consensus are fitted; by default the first one of the fits.
    n_types
        Number of types of each fit, and of the consensus. By default, BIC chooses the number of each fit, and
        the consensus has their median.
    %(reference_key)s
    %(key_added)s
    %(n_init)s
    %(n_dimensions)s
    %(tol)s
    %(random_state)s

    Raises
    ------
    KeyError
        If latents, the reference column or the set of each cell is missing.
    ValueError
        If there are fewer than two fits, or they differ in modalities; if too few cells are in the training
        sets of all fits; if the fits distinguish fewer than ``n_types`` types; if another argument is out of
        range.

    Notes
    -----
    The co-assignment of cells :math:`i` and :math:`j` is the probability that a fit assigns them to the same
    type, averaged over the :math:`F` fits,

    .. math:: c_{ij} = \frac{1}{F} \sum_{f=1}^F \sum_k p_{fk}(i)\, p_{fk}(j),

    where :math:`p_{fk}` is the probability of type :math:`k` in fit :math:`f`. It is 1 if all fits are
    certain of the same type.

    For each modality ``m``, the function writes

    ``.obs[f"{key_added}_{m}"]``
        Type: categorical, "1", "2", ..., missing for cells without ``m``.
    ``.obs[f"{key_added}_{m}_stability"]``
        Mean co-assignment of the cell, by its latents in ``m``, with the training cells of its type, by their
        latents in ``modality``, excluding the cell itself.

    ``.obs[f"{key_added}_set"]``
        ``"training"`` for cells in the training set of any fit, ``"validation"`` for other cells in the
        validation set of any fit, ``"test"`` for the rest. With ``use_rep=key_added``, :func:`agreement` uses
        this column to select held-out cells.

    and ``.uns[key_added]`` with

    ``"types"``
        Data frame by type. ``n_training``: number of training cells. ``reference``, ``reference_share``: with
        a reference, as in :func:`consistent_types`. ``stability``: mean over its training cells. ``jaccard``:
        overlap (cells in both over cells in either) with the most similar type of a fit, averaged over fits;
        above 0.75 for types that most fits find, below 0.5 for types that few fits find (Hennig 2007).
        ``nearest``, ``nearest_coassignment``: the other type with the highest mean co-assignment, and that
        mean.
    ``"pairwise_ami"``
        Data frame of ``modality``, ``cells`` (training or held-out), ``fit_1``, ``fit_2`` and ``ami``:
        adjusted mutual information between the types of two fits.
    ``"n_types_by_fit"``
        Number of types of each fit.
    ``"params"``
        Arguments of the call.

    Only training cells are fitted to: each mixture to the training cells of its fit, the consensus to the
    cells that all fits were trained on. The folds of a full cross-validation have no such cells in common.

    References
    ----------
    Topchy, Jain and Punch, "Clustering ensembles: models of consensus and weak partitions", 2005 (k-means of
    indicators).

    Hennig, "Cluster-wise assessment of cluster stability", 2007.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200, n_types=3)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> split = scvi_cae.splits.k_fold(mdata, 5)[0]
    >>> fits = scvi_cae.fit_many(mdata, [split], seeds=[0, 1, 2], settings=[{"n_latent": 3}], max_epochs=20)
    >>> scvi_cae.tl.consensus_types(mdata, fits, n_types=3, n_init=2)
    >>> mdata.uns["consensus_type"]["types"].index.tolist()
    ['1', '2', '3']
    """
    check_mudata(mdata)
    check_not_view(mdata)
    check_key(key_added)
    given: Any = fits
    sources: list[Source] = [given] if isinstance(fits, str) else list(getattr(given, "models", given))
    if len(sources) < 2:
        raise ValueError("A consensus needs at least two fits. For a single fit, use consistent_types.")
    check_whole(n_types, "n_types", optional=True)
    found = [_latents_and_sets(mdata, source) for source in sources]
    names = list(found[0][0])
    for number, (z, _) in enumerate(found):
        if set(z) != set(names):
            raise ValueError(
                f"Fits 0 and {number} have latents of different modalities: {shorten(names)} and "
                f"{shorten(list(z))}. Pass fits of the same modalities."
            )
    modality = fitted_modality(found[0][0], modality)
    reference = None if reference_key is None else obs_column(mdata, reference_key)
    sets = np.stack([codes for _, codes in found])
    train = (sets == 0).all(0) & np.all([np.isfinite(z[modality]).all(1) for z, _ in found], axis=0)
    if train.sum() < max(2, n_types or 0):
        raise ValueError(
            f"{train.sum()} cells with {modality!r} are in the training sets of all fits, too few for "
            f"{n_types or 'any'} types. Pass fits of the same split: "
            "fit_many(mdata, [split], seeds=range(10))."
        )

    # By modality, the type probabilities of each fit.
    probabilities: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for z, own in found:
        mixture = fit_mixture(
            z[modality][(own == 0) & np.isfinite(z[modality]).all(1)],
            n_types,
            n_init=n_init,
            n_dimensions=n_dimensions,
            tol=tol,
            random_state=random_state,
        )
        for name in names:
            probabilities[name].append(mixture.probabilities(z[name]))
    n_by_fit = np.array([p.shape[1] for p in probabilities[modality]])
    n_types = int(np.quantile(n_by_fit, 0.5, method="lower")) if n_types is None else int(n_types)

    x = {name: np.hstack(p) for name, p in probabilities.items()}
    k_means = _k_means(x[modality][train], n_types, random_state)
    order, types = number_types(k_means.labels_, n_types, reference, train)
    centres = k_means.cluster_centers_[order]
    codes = {name: _nearest(values, centres) for name, values in x.items()}
    fitted = np.where(train, codes[modality], -1)
    for name in names:
        column = f"{key_added}_{name}"
        mdata.obs[column] = categorical(codes[name], list(types.index))
        stability = _coassignment(x[name], codes[name], centres, x[modality], fitted) / len(sources)
        mdata.obs[f"{column}_stability"] = stability
        if name == modality:
            types["stability"] = [_mean(stability[fitted == i]) for i in range(n_types)]
    types["jaccard"] = _jaccard(fitted, probabilities[modality], n_types)
    between = centres @ centres.T / len(sources)
    np.fill_diagonal(between, -np.inf)
    alone = n_types == 1
    types["nearest"] = np.array([""] if alone else types.index[between.argmax(1)], dtype=object)
    types["nearest_coassignment"] = [np.nan] if alone else between.max(1)
    # Cells that were used to train or to validate any fit are not held out.
    joint = sets.min(0)
    mdata.obs[f"{key_added}_set"] = categorical(joint, SETS)
    held = held_out(np.asarray(categorical(joint, SETS), dtype=object))
    mdata.uns[key_added] = {
        "types": types,
        "pairwise_ami": _pairwise_ami(probabilities, {"training": (sets == 0).all(0), "held-out": held}),
        "n_types_by_fit": n_by_fit,
        "params": {
            "modality": modality,
            "n_types": n_types,
            "n_fits": len(sources),
            "reference_key": reference_key or "",
            "n_init": n_init,
            "n_dimensions": n_dimensions,
            "tol": tol,
            "random_state": random_state,
        },
    }


def _latents_and_sets(mdata: MuData, source: Source) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Latents by modality, and the set of each cell: its position in ``SETS``, -1 if unknown."""
    if isinstance(source, str):
        z = latents(mdata, source)
        cell_mask(mdata, source, "training")  # raises if the column is missing
        column = mdata.obs[f"{source}_set"]
    else:
        given: Any = source
        model = getattr(given, "model", given)
        if not hasattr(model, "get_latent_representation"):
            raise TypeError(
                "fits must be trained models, fits of fit_many, or keys of latents, not "
                f"{type(source).__name__}."
            )
        data = model.align(mdata)
        wanted = [name for name in model.modalities if name in mdata.mod]
        z = {name: np.asarray(model.get_latent_representation(data, name), dtype=float) for name in wanted}
        column = model.set_membership(data)
    return z, pd.Categorical(column.astype(object), SETS).codes.astype(np.int64)


def _k_means(x: np.ndarray, n_types: int, random_state: int) -> KMeans:
    """Clusters of type probabilities, none of them empty."""
    n_distinct = len(np.unique(x.round(6), axis=0))
    if n_types > n_distinct:
        raise ValueError(
            f"n_types={n_types}, but the fits distinguish only {n_distinct} kinds of training cells. Use "
            "fewer types."
        )
    return KMeans(n_types, n_init=20, random_state=random_state).fit(x)


def _nearest(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the nearest centre; -1 for rows with NaN."""
    out = np.full(len(x), -1)
    present = np.isfinite(x).all(1)
    if present.any():
        out[present] = pairwise_distances_argmin(x[present], centres)
    return out


def _coassignment(
    x: np.ndarray, codes: np.ndarray, centres: np.ndarray, x_fitted: np.ndarray, fitted: np.ndarray
) -> np.ndarray:
    """Expected number of fits that assign a cell and a training cell of its consensus type to the same type.

    NaN for cells without a type. For two cells, this is the scalar product of their type probabilities over
    all fits. It is linear, so its mean over the training cells of a type is the product with their mean, the
    centre.
    """
    out = np.full(len(x), np.nan)
    present = codes >= 0
    out[present] = (x[present] * centres[codes[present]]).sum(1)
    # Exclude a training cell from the mean of its own type.
    own = present & (codes == fitted)
    sizes = np.bincount(fitted[fitted >= 0], minlength=len(centres))[codes[own]]
    rest = sizes * out[own] - (x[own] * x_fitted[own]).sum(1)
    out[own] = np.divide(rest, sizes - 1, out=np.full(len(rest), np.nan), where=sizes > 1)
    return out


def _jaccard(fitted: np.ndarray, probabilities: Sequence[np.ndarray], n_types: int) -> np.ndarray:
    """Overlap of each consensus type with the most similar type of a fit, averaged over fits."""
    train = fitted >= 0
    one_hot = np.eye(n_types)[fitted[train]]
    best = []
    for p in probabilities:
        theirs = np.eye(p.shape[1])[p[train].argmax(1)]
        both = one_hot.T @ theirs
        either = one_hot.sum(0)[:, None] + theirs.sum(0) - both
        best.append((both / either).max(1))
    return np.mean(best, axis=0)


def _pairwise_ami(probabilities: dict[str, list[np.ndarray]], groups: dict[str, np.ndarray]) -> pd.DataFrame:
    """Adjusted mutual information between the types of every two fits."""
    rows = []
    for name, of_fits in probabilities.items():
        present = np.all([np.isfinite(p).all(1) for p in of_fits], axis=0)
        for group, mask in groups.items():
            cells = mask & present
            if not cells.any():
                continue
            labels = [p[cells].argmax(1) for p in of_fits]
            rows += [
                (name, group, i, j, adjusted_mutual_info_score(labels[i], labels[j]))
                for i, j in combinations(range(len(labels)), 2)
            ]
    return pd.DataFrame(rows, columns=["modality", "cells", "fit_1", "fit_2", "ami"])


def _mean(values: np.ndarray) -> float:
    """Mean of the finite values, NaN without any."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan
