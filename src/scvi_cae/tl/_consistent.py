"""Cell types as components of a mixture of latents, the same for every modality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.data import check_not_view, obs_column

from ._contingency import contingency, match_labels
from ._latents import cell_mask, latents
from ._mixture import REGULARISATION, fit_mixture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._latents import Cells


def consistent_types(
    mdata: MuData,
    use_rep: str = "X_cae",
    modality: str | None = None,
    n_types: int | Sequence[int] | None = None,
    *,
    reference_key: str | None = None,
    train_cells: Cells = "training",
    key_added: str = "consistent_type",
    n_init: int = 5,
    n_dimensions: int = 10,
    tol: float = 1e-3,
    random_state: int = 0,
) -> None:
    """Find types in the latents of one modality, and the type of every cell by each of its modalities.

    A mixture of normal distributions is fitted to training cells; the same mixture labels the latents of every modality.
    A type is consistent if a cell has it by both of its modalities: :func:`scvi_cae.tl.agreement` counts on held-out
    cells.

    Parameters
    ----------
    mdata
        MuData with latents, as written by :meth:`scvi_cae.CoupledAE.write_latent`; written to.
    use_rep
        Beginning of the latents' keys in ``.obsm``.
    modality
        Modality whose latents the mixture is fitted to; the first one with latents by default.
    n_types
        Number of types, or numbers to choose from by BIC. By default 1, 2, ... until BIC has not fallen for 5 numbers;
        at most 50, and no more than leave ``2 * (n_dimensions + 1)`` training cells for each on average.
    reference_key
        Column of reference labels, in ``mdata.obs`` or a modality's ``.obs``. Types are matched to them one to one by the
        Hungarian method, on training cells, and numbered in their order; types left over follow, the largest first.
        Without, all are numbered by size.
    train_cells
        Cells that the mixture is fitted to, those of them that have ``modality``: ``"training"``, ``"all"``, positions, or
        a mask.
    key_added
        Beginning of the keys under which types are written.
    n_init
        Number of initialisations for each number of types. Each has its best number; the median is chosen.
    n_dimensions
        Most dimensions of the mixture. Of more, such as those of an ensemble, it is of the first principal components
        of the training cells: full covariance matrices of 50 dimensions would take more cells than there are.
    tol
        Gain in log-likelihood per cell at which a fit has converged. 1e-6, as published, takes three to eight times as long.
    random_state
        Seed.

    Raises
    ------
    KeyError
        If there are no latents, no reference, or nothing says which cells trained.
    ValueError
        If there are too few training cells with ``modality``, or another argument is out of range.

    Notes
    -----
    Written are, for each modality ``m`` with latents:

    ``.obs[f"{key_added}_{m}"]``
        Type by the cell's latent in ``m``: categorical, "1", "2", ..., missing for cells without ``m``. All types are
        categories.
    ``.obs[f"{key_added}_{m}_probability"]``
        Its probability, by the mixture.

    and ``.uns[key_added]``:

    ``"types"``
        Data frame by type: ``weight`` in the mixture, ``n_training`` cells and, with a reference, the matched
        ``reference`` label, empty for types without, and ``reference_share``, the fraction of the type's labelled training
        cells that have it. A low one says that the match means little.
    ``"bic"``
        Data frame of ``n_types``, ``init`` and ``bic``.
    ``"means"``, ``"covariances"``
        ``(n_types, n_dim)`` and ``(n_types, n_dim, n_dim)``; with principal components, also their ``"components"``
        ``(n_dim, n_latent)`` and ``"centre"`` ``(n_latent,)``.
    ``"params"``
        What the types were found with.

    Gala et al. (2021) (Fig. 3) take covariances, regularisation and the rule for the number of types as here, but fit to
    all cells, test cells included, from 50 initialisations, for one network chosen among 21. For several networks
    see :func:`scvi_cae.tl.consensus_types`. On 1,087 training cells with 10 dimensions, the defaults take about 3 seconds.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200, n_types=3)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> model = scvi_cae.CoupledAE(mdata, n_latent=3)
    >>> model.train(max_epochs=20, enable_progress_bar=False)
    >>> model.write_latent(mdata)
    >>> scvi_cae.tl.consistent_types(mdata, n_types=3, reference_key="cell_type")
    >>> mdata.obs[["consistent_type_rna", "consistent_type_ephys"]].shape
    (200, 2)
    """
    z = latents(mdata, use_rep)
    check_not_view(mdata)
    check_key(key_added)
    modality = fitted_modality(z, modality)
    train = cell_mask(mdata, use_rep, train_cells)
    reference = None if reference_key is None else obs_column(mdata, reference_key)
    train = train & np.isfinite(z[modality]).all(1)
    if train.sum() < 2:
        raise ValueError(
            f"{train.sum()} of the cells to fit to have latents of {modality!r}; a mixture needs at least 2. Give another "
            "modality, or other train_cells."
        )
    mixture = fit_mixture(
        z[modality][train],
        n_types,
        n_init=n_init,
        n_dimensions=n_dimensions,
        tol=tol,
        random_state=random_state,
    )
    probabilities = {name: mixture.probabilities(values) for name, values in z.items()}
    order, types = number_types(probabilities[modality][train].argmax(1), mixture.n_types, reference, train)
    types.insert(0, "weight", mixture.gaussians.weights_[order])
    for name, p in probabilities.items():
        absent = np.isnan(p).any(1)
        codes = np.where(absent, -1, np.nan_to_num(p[:, order]).argmax(1))
        mdata.obs[f"{key_added}_{name}"] = categorical(codes, list(types.index))
        mdata.obs[f"{key_added}_{name}_probability"] = p.max(1)
    found = {
        "types": types,
        "bic": mixture.bic,
        "means": mixture.gaussians.means_[order],
        "covariances": mixture.gaussians.covariances_[order],
        "params": {
            "use_rep": use_rep,
            "modality": modality,
            "n_types": mixture.n_types,
            "reference_key": reference_key or "",
            "n_init": n_init,
            "tol": tol,
            "reg_covar": REGULARISATION,
            "random_state": random_state,
        },
    }
    if mixture.projection is not None:
        found |= {"components": mixture.projection.components_, "centre": mixture.projection.mean_}
    mdata.uns[key_added] = found


def check_key(key_added: str) -> None:
    """Refuse keys that cannot be written to a file."""
    if not key_added or "/" in key_added:
        raise ValueError(f"key_added={key_added!r} must not be empty, or contain a slash.")


def fitted_modality(z: dict[str, np.ndarray], modality: str | None) -> str:
    """Name of the modality to fit to, the first one by default."""
    if modality is None:
        return next(iter(z))
    if modality not in z:
        raise KeyError(f"No latents of modality {modality!r}; there are those of {shorten(list(z))}.")
    return modality


def number_types(
    codes: np.ndarray, n_types: int, reference: pd.Series | None, train: np.ndarray
) -> tuple[np.ndarray, pd.DataFrame]:
    """Number types by a reference, or by size.

    Parameters
    ----------
    codes
        ``(n_train,)`` types of training cells, from 0.
    n_types
        Number of types.
    reference
        ``(n_obs,)`` reference labels, if any.
    train
        ``(n_obs,)`` mask of the training cells.

    Returns
    -------
    The old number of each new type, and a data frame by type, named "1", "2", ...: ``n_training`` and, with a reference,
    ``reference`` and ``reference_share``.
    """
    sizes = np.bincount(codes, minlength=n_types)
    by_size = np.argsort(-sizes, kind="stable")
    names = [str(i + 1) for i in range(n_types)]
    if reference is None:
        order, matched = by_size, {}
    else:
        found = pd.Series(categorical(codes, [str(i) for i in range(n_types)]))
        known = reference[train].reset_index(drop=True)
        table = contingency(known, found)
        if not table.to_numpy().any():
            raise ValueError(
                f"No training cell has a label in the reference {reference.name!r}; types cannot be matched to it."
            )
        matched = {int(column): row for column, row in match_labels(table).items()}
        order = np.array([*matched, *(i for i in by_size if i not in matched)])
    types = pd.DataFrame({"n_training": sizes[order]}, index=pd.Index(names, dtype=object))
    if reference is not None:
        labels = [matched.get(i, "") for i in order]
        shares = table / table.sum()
        types["reference"] = np.array(labels, dtype=object)
        found_shares = [
            shares.at[label, str(i)] if label else np.nan for i, label in zip(order, labels, strict=True)
        ]
        types["reference_share"] = np.array(found_shares, dtype=float)
    return order, types


def categorical(codes: np.ndarray, names: Sequence[str]) -> pd.Categorical:
    """Names of numbers, missing for -1; all names are categories."""
    return pd.Categorical(np.array([*names, None], dtype=object)[codes], categories=list(names))
