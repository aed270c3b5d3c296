"""Cell types on which many fits agree, and how stable they are."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, pairwise_distances_argmin

from scvi_cae._arguments import shorten
from scvi_cae.data import check_mudata, check_not_view, obs_column

from ._consistent import categorical, check_key, fitted_modality, number_types
from ._latents import cell_mask, latents
from ._mixture import fit_mixture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from scvi_cae.model import CoupledAE, Ensemble
    from scvi_cae.model._many import Fit

#: A trained model, a fit of many, or the beginning of the keys of latents in a MuData.
Source: TypeAlias = "CoupledAE | Fit | str"

#: What a cell can be to a fit, as :meth:`scvi_cae.CoupledAE.write_latent` writes it.
SETS = ["training", "validation", "test"]


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
    """Find the types on which many fits agree, of every cell by each of its modalities.

    A single fit's types depend on its random numbers. Here each fit has its own mixture
    (:func:`scvi_cae.tl.consistent_types`). The probabilities of the types of all fits describe a cell; k-means of the
    training cells finds the consensus. Every modality of every cell, held out or not, is then assigned to the nearest
    centre, by what the fits say of it.

    Parameters
    ----------
    mdata
        MuData that the models can embed; written to.
    fits
        At least two trained models or fits of the same split, ``scvi_cae.fit_many(mdata, [split], seeds=range(10))``; an
        ensemble of them; or beginnings of the keys of latents, as written by :meth:`scvi_cae.CoupledAE.write_latent`.
    modality
        Modality that the mixtures and the consensus are fitted to; the first one of the fits by default.
    n_types
        Number of types of each fit, and of the consensus. By default each fit has the number that BIC chooses, and the
        consensus their median.
    reference_key
        Column of reference labels, by which types are numbered, as in :func:`scvi_cae.tl.consistent_types`.
    key_added
        Beginning of the keys under which types are written.
    n_init, n_dimensions, tol
        Of each fit's mixture, as in :func:`scvi_cae.tl.consistent_types`.
    random_state
        Seed.

    Raises
    ------
    KeyError
        If latents, the reference, or what says which cells trained, are missing.
    ValueError
        If there are fewer than two fits, or their modalities differ; if too few cells trained every fit; if there are to be
        more types than the fits tell apart; if another argument is out of range.

    Notes
    -----
    Two cells' co-assignment is the probability that a fit gives them the same type, averaged over fits: 1 if all fits are
    sure of it.

    Written are, for each modality ``m``:

    ``.obs[f"{key_added}_{m}"]``
        Type: categorical, "1", "2", ..., missing for cells without ``m``.
    ``.obs[f"{key_added}_{m}_stability"]``
        Mean co-assignment of the cell, by its latents in ``m``, with the training cells of this type by ``modality``, itself
        left out.

    ``.obs[f"{key_added}_set"]``
        What cells were to the fits: ``"training"`` if they were that to any, else ``"validation"`` if that to any, else
        ``"test"``. So ``use_rep=key_added`` tells :func:`scvi_cae.tl.agreement` which cells are held out.

    and ``.uns[key_added]``:

    ``"types"``
        Data frame by type: ``n_training`` cells; with a reference, ``reference`` and ``reference_share`` as in
        :func:`scvi_cae.tl.consistent_types`; ``stability``, the mean over its training cells; ``jaccard``, the overlap
        (cells in both over cells in either) with the most similar type of a fit, averaged over fits: above 0.75 for types that most fits find, below 0.5 for types that few do (Hennig 2007);
        ``nearest``, the other type with which its cells are most often co-assigned, and that ``nearest_coassignment``.
    ``"pairwise_ami"``
        Data frame of ``modality``, ``cells`` (training or held-out), ``fit_1``, ``fit_2`` and ``ami``: adjusted mutual
        information between the types of two fits.
    ``"n_types_by_fit"``
        Number of types of each fit.
    ``"params"``
        What the types were found with.

    Only training cells fit anything: a fit's own fit its mixture, those that trained every fit the consensus. The fits of
    all folds of a cross-validation share none.

    References
    ----------
    Topchy, Jain and Punch, "Clustering ensembles: models of consensus and weak partitions", 2005 (k-means of indicators).
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
        raise ValueError("A consensus needs at least two fits. For a single one, use consistent_types.")
    if n_types is not None and (not isinstance(n_types, (int, np.integer)) or n_types < 1):
        raise ValueError(f"n_types={n_types!r} must be a whole number of at least 1, or None.")
    found = [_latents_and_sets(mdata, source) for source in sources]
    names = list(found[0][0])
    for number, (z, _) in enumerate(found):
        if set(z) != set(names):
            raise ValueError(
                f"Fits 0 and {number} have latents of different modalities: {shorten(names)} and {shorten(list(z))}. Give "
                "fits of the same modalities."
            )
    modality = fitted_modality(found[0][0], modality)
    reference = None if reference_key is None else obs_column(mdata, reference_key)
    sets = np.stack([codes for _, codes in found])
    train = (sets == 0).all(0) & np.all([np.isfinite(z[modality]).all(1) for z, _ in found], axis=0)
    if train.sum() < max(2, n_types or 0):
        raise ValueError(
            f"{train.sum()} cells with {modality!r} trained every fit, too few to find {n_types or 'any'} types. Give "
            "fits of the same split: "
            "fit_many(mdata, [split], seeds=range(10))."
        )

    # What each fit says of each cell: probabilities of its types.
    said: dict[str, list[np.ndarray]] = {name: [] for name in names}
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
            said[name].append(mixture.probabilities(z[name]))
    n_by_fit = np.array([p.shape[1] for p in said[modality]])
    n_types = int(np.quantile(n_by_fit, 0.5, method="lower")) if n_types is None else int(n_types)

    x = {name: np.hstack(p) for name, p in said.items()}
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
    types["jaccard"] = _jaccard(fitted, said[modality], n_types)
    between = centres @ centres.T / len(sources)
    np.fill_diagonal(between, -np.inf)
    alone = n_types == 1
    types["nearest"] = np.array([""] if alone else types.index[between.argmax(1)], dtype=object)
    types["nearest_coassignment"] = [np.nan] if alone else between.max(1)
    # Whatever trained or validated any fit is not held out.
    joint = sets.min(0)
    mdata.obs[f"{key_added}_set"] = categorical(joint, SETS)
    held_out = joint == (2 if (joint == 2).any() else 1)
    mdata.uns[key_added] = {
        "types": types,
        "pairwise_ami": _pairwise_ami(said, {"training": (sets == 0).all(0), "held-out": held_out}),
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
    """Latents by modality, and what each cell was to the training: the number in ``SETS``, -1 if unknown."""
    if isinstance(source, str):
        z = latents(mdata, source)
        cell_mask(mdata, source, "training")  # says what is missing
        column = mdata.obs[f"{source}_set"]
    else:
        given: Any = source
        model = getattr(given, "model", given)
        if not hasattr(model, "get_latent_representation"):
            raise TypeError(
                f"fits must be trained models, fits of fit_many, or keys of latents, not {type(source).__name__}."
            )
        wanted = [name for name in model.measured if name in mdata.mod]
        z = {name: np.asarray(model.get_latent_representation(mdata, name), dtype=float) for name in wanted}
        column = model.cell_sets(mdata)
    return z, pd.Categorical(column.astype(object), SETS).codes.astype(np.int64)


def _k_means(x: np.ndarray, n_types: int, random_state: int) -> KMeans:
    """Clusters of what fits say, none of them empty."""
    n_distinct = len(np.unique(x.round(6), axis=0))
    if n_types > n_distinct:
        raise ValueError(
            f"n_types={n_types}, but the fits tell {n_distinct} kinds of training cells apart. Ask for fewer."
        )
    return KMeans(n_types, n_init=20, random_state=random_state).fit(x)


def _nearest(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Number of the nearest centre; -1 for rows with NaN."""
    out = np.full(len(x), -1)
    present = np.isfinite(x).all(1)
    if present.any():
        out[present] = pairwise_distances_argmin(x[present], centres)
    return out


def _coassignment(
    x: np.ndarray, codes: np.ndarray, centres: np.ndarray, x_fitted: np.ndarray, fitted: np.ndarray
) -> np.ndarray:
    """Expected number of fits that give a cell and a training cell of its type the same type, NaN without.

    Probabilities of the same type multiply, and add up over types and fits: a product of two rows, and with the mean of
    training cells, the mean of such products.
    """
    out = np.full(len(x), np.nan)
    present = codes >= 0
    out[present] = (x[present] * centres[codes[present]]).sum(1)
    # A cell is no evidence of its own stability.
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


def _pairwise_ami(said: dict[str, list[np.ndarray]], groups: dict[str, np.ndarray]) -> pd.DataFrame:
    """Adjusted mutual information between the types of every two fits."""
    rows = []
    for name, probabilities in said.items():
        present = np.all([np.isfinite(p).all(1) for p in probabilities], axis=0)
        for group, mask in groups.items():
            cells = mask & present
            if not cells.any():
                continue
            labels = [p[cells].argmax(1) for p in probabilities]
            rows += [
                (name, group, i, j, adjusted_mutual_info_score(labels[i], labels[j]))
                for i, j in combinations(range(len(labels)), 2)
            ]
    return pd.DataFrame(rows, columns=["modality", "cells", "fit_1", "fit_2", "ami"])


def _mean(values: np.ndarray) -> float:
    """Mean, NaN of none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan
