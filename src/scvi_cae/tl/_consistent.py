"""Cell types as components of a mixture of latents, shared by all modalities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.data import check_not_view, obs_column

from ._contingency import contingency, match_labels
from ._latents import cell_mask, latents
from ._mixture import REGULARISATION, fit_mixture
from ._parameters import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._latents import Cells


@describe
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
    """Find types in the latents of one modality, and assign every cell to one by each of its modalities.

    A Gaussian mixture is fitted to the latents of the training cells; the same mixture labels the latents of
    all modalities. A cell is typed consistently if both of its modalities have the same type;
    :func:`agreement` gives the fraction of such cells among held-out cells.

    Parameters
    ----------
    %(mdata)s
        Types are written to it.
    %(use_rep)s
    modality
        Modality to whose latents the mixture is fitted; by default the first one with latents.
    n_types
        Number of types, or numbers to choose from by BIC. By default 1, 2, ... until BIC has not decreased
        for 5 numbers. The search ends at 50 types, or before types have fewer than ``2 * (n_dim + 1)``
        training cells on average in ``n_dim`` dimensions.
    %(reference_key)s
    train_cells
        Cells to fit the mixture to: ``"training"``, ``"all"``, positions, or a mask. Cells without
        ``modality`` are left out.
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
        If too few training cells have ``modality``, or another argument is out of range.

    Notes
    -----
    For each modality ``m`` with latents, the function writes

    ``.obs[f"{key_added}_{m}"]``
        Type by the latents in ``m``: categorical, "1", "2", ..., missing for cells without ``m``. All types
        are categories.
    ``.obs[f"{key_added}_{m}_probability"]``
        Probability of this type in the mixture.

    and ``.uns[key_added]`` with

    ``"types"``
        Data frame by type. ``weight``: weight in the mixture. ``n_training``: number of training cells. With
        a reference, ``reference``: matched label, empty if unmatched; ``reference_share``: fraction of the
        labelled training cells of the type with this label. If the fraction is low, the match means little.
    ``"bic"``
        Data frame of ``n_types``, ``init`` and ``bic``.
    ``"means"``, ``"covariances"``
        ``(n_types, n_dim)`` and ``(n_types, n_dim, n_dim)``; with principal components, also their
        ``"components"`` ``(n_dim, n_latent)`` and ``"centre"`` ``(n_latent,)``.
    ``"params"``
        Arguments of the call.

    Gala et al. (2021) (Fig. 3) use the same covariances, regularisation and rule for the number of types, but
    fit to all cells, including test cells, from 50 initialisations, for one network chosen from 21. For
    several networks, see :func:`consensus_types`. On 1,087 training cells with 10 dimensions, the defaults
    take about 3 seconds.

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
            f"{train.sum()} of the cells to fit to have latents of {modality!r}; a mixture needs at least 2. "
            "Choose another modality, or other train_cells."
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
    """Raise an error if a key cannot be written to a file."""
    if not key_added or "/" in key_added:
        raise ValueError(f"key_added={key_added!r} must not be empty or contain a slash.")


def fitted_modality(z: dict[str, np.ndarray], modality: str | None) -> str:
    """Name of the modality to fit to; by default the first one."""
    if modality is None:
        return next(iter(z))
    if modality not in z:
        raise KeyError(f"No latents of modality {modality!r}. Modalities with latents: {shorten(list(z))}.")
    return modality


def number_types(
    codes: np.ndarray, n_types: int, reference: pd.Series | None, train: np.ndarray
) -> tuple[np.ndarray, pd.DataFrame]:
    """Number types by a reference, or by decreasing size.

    Of ``(n_train,)`` types of the cells in the ``(n_obs,)`` mask ``train``, numbered from 0, returns the old
    number of each new type, and a data frame with rows "1", "2", ... and the columns ``n_training`` and, with
    ``(n_obs,)`` reference labels, ``reference`` and ``reference_share``.
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
                f"No training cell has a label in the reference {reference.name!r}. Use another "
                "reference_key, or None."
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
    """Categorical of the names at ``codes``, missing for -1; all names are categories."""
    return pd.Categorical(np.array([*names, None], dtype=object)[codes], categories=list(names))
