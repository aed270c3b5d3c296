"""Cells whose modalities disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd
from sklearn.covariance import LedoitWolf

from ._latents import cell_mask, latents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._latents import Cells

#: Cells that did not train, which typical distances are taken from.
CalibrationCells: TypeAlias = "Cells | Literal['validation']"


def outliers(
    mdata: MuData,
    use_rep: str = "X_cae",
    modalities: Sequence[str] | None = None,
    *,
    level: float = 0.05,
    train_cells: Cells = "training",
    calibration_cells: CalibrationCells = "validation",
    cells: Cells = "held-out",
    key_added: str = "outlier",
) -> None:
    r"""Find cells whose latents in two modalities are farther apart than those of typical cells.

    Such cells may be swapped or mislabelled samples, doublets, bad recordings, or cells of a kind that the model has
    not seen. The score is the Mahalanobis distance of the difference :math:`d` of a cell's two latents from the mean
    difference :math:`\mu`,

    .. math:: s = \sqrt{(d - \mu)^\top \Sigma^{-1} (d - \mu)},

    so that dimensions in which the modalities agree closely count more. Training cells give :math:`\mu` and
    :math:`\Sigma`, but not what is typical: the model has pulled their latents together. That is taken from calibration
    cells, which it was not fitted to. The p-value of a cell is the share of calibration cells, with the cell itself
    among them, that have a score at least as large (split conformal prediction). For cells that are like the
    calibration cells, at most a fraction ``level`` has a p-value of ``level`` or less, whatever the distribution of
    scores.

    Parameters
    ----------
    mdata
        MuData with latents, as written by :meth:`scvi_cae.CoupledAE.write_latent` or :func:`pca_cca`.
    use_rep
        Beginning of the keys of latents in ``mdata.obsm``.
    modalities
        The two modalities; not needed if only two have latents.
    level
        Rate of false positives: fraction of typical cells that may be called outliers.
    train_cells
        Cells that mean and covariance (Ledoit and Wolf's, which is invertible with few cells, too) are taken from.
    calibration_cells
        Cells that say what is typical: by default the validation cells, which did no more than choose the epoch. Or
        positions or a mask of cells, such as some of the test cells. None may have trained.
    cells
        Cells to test. Held-out by default: the p-values of training cells would be too large. If the only held-out
        cells are the calibration cells, each is compared with the others.
    key_added
        Beginning of the keys written.

    Returns
    -------
    ``None``. Writes, for all cells:

    ``mdata.obs[f"{key_added}_score"]``
        The score; NaN for cells that lack one of the two modalities.
    ``mdata.obs[f"{key_added}_p_value"]``
        The p-value; NaN for those, and for cells that are not tested.
    ``mdata.obs[key_added]``
        Whether the p-value is at most ``level``; missing where there is none (pandas' ``boolean``).
    ``mdata.uns[key_added]``
        ``modalities``, ``level``, ``n_training``, ``n_calibration``, and ``cut``: cells with a larger score are
        outliers.

    Raises
    ------
    KeyError
        If there are no latents, or nothing says which cells trained.
    ValueError
        If ``modalities`` are not two, ``level`` is not between 0 and 1, there are too few training cells or calibration
        cells with both modalities (of the latter, fewer than ``1 / level - 1`` can never give a p-value of ``level``),
        or calibration cells are training cells.

    Notes
    -----
    P-values hold one by one. Of many cells, about ``level`` of the typical ones are flagged;
    :func:`scipy.stats.false_discovery_control` of the p-values limits the share of typical cells among those flagged.

    References
    ----------
    Bates, Candes, Lei, Romano and Sesia, "Testing for outliers with conformal p-values", Annals of Statistics 2023.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
    >>> model.train(max_epochs=20, train_size=0.6, validation_size=0.2, enable_progress_bar=False)
    >>> model.write_latent(mdata)
    >>> scvi_cae.tl.outliers(mdata, level=0.1)
    >>> worst = mdata.obs["outlier_p_value"].nsmallest(3).index
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level!r} must lie between 0 and 1: the fraction of typical cells to flag.")
    of = latents(mdata, use_rep, modalities)
    if len(of) != 2:
        raise ValueError(
            f"Outliers are of two modalities, not of {list(of)}. Name two: modalities=(..., ...)."
        )
    a, b = of.values()
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"Latents of {' and '.join(map(repr, of))} have {a.shape[1]} and {b.shape[1]} dimensions: they are of no "
            "common space."
        )
    difference = a - b
    both = np.isfinite(difference).all(1)
    training = both & cell_mask(mdata, use_rep, train_cells)
    if training.sum() <= a.shape[1]:
        raise ValueError(
            f"Only {training.sum()} training cells have both modalities, {' and '.join(map(repr, of))}: too few for a "
            f"covariance in {a.shape[1]} dimensions."
        )
    calibration = both & _calibration_mask(mdata, use_rep, calibration_cells)
    if (calibration & training).any():
        raise ValueError(
            f"{(calibration & training).sum()} calibration cells are training cells, whose latents agree better than "
            "those of new cells. Give others: calibration_cells=..."
        )
    n = int(calibration.sum())
    n_flagged = int(np.floor(level * (n + 1) + 1e-9))
    if n_flagged < 1:
        raise ValueError(
            f"{n} calibration cells have both modalities, but it takes {int(np.ceil(1 / level - 1 - 1e-9))} for "
            f"level={level}. Raise the level, or give more cells: calibration_cells=..."
        )
    covariance = LedoitWolf().fit(difference[training])
    score = np.full(mdata.n_obs, np.nan)
    score[both] = np.sqrt(covariance.mahalanobis(difference[both]))

    typical = np.sort(score[calibration])
    tested = both & cell_mask(mdata, use_rep, cells)
    as_large = n - np.searchsorted(typical, score[tested], side="left")
    # A calibration cell is already among them.
    own = calibration[tested]
    p_value = np.full(mdata.n_obs, np.nan)
    p_value[tested] = (as_large + ~own) / (n + ~own)

    flag = pd.array(p_value <= level, dtype="boolean")
    flag[~tested] = pd.NA
    mdata.obs[f"{key_added}_score"] = score
    mdata.obs[f"{key_added}_p_value"] = p_value
    mdata.obs[key_added] = pd.Series(flag, index=mdata.obs_names)
    mdata.uns[key_added] = {
        "modalities": list(of),
        "level": float(level),
        "n_training": int(training.sum()),
        "n_calibration": n,
        "cut": float(typical[n - n_flagged]),
    }


def _calibration_mask(mdata: MuData, use_rep: str, cells: CalibrationCells) -> np.ndarray:
    """Which cells calibrate."""
    if not (isinstance(cells, str) and cells == "validation"):
        return cell_mask(mdata, use_rep, cells)
    cell_mask(mdata, use_rep, "training")  # raises if nothing says which cells are which
    mask = mdata.obs[f"{use_rep}_set"].to_numpy() == "validation"
    if not mask.any():
        raise ValueError(
            f"mdata.obs[{use_rep + '_set'!r}] names no validation cells, which say how far apart the latents of typical "
            "cells are. Train with validation cells, as with splits.k_fold(mdata, validation_size=0.1), or give some "
            "of the test cells: calibration_cells=positions."
        )
    return mask
