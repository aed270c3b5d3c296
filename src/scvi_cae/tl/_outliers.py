"""Cells whose modalities disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd
from sklearn.covariance import LedoitWolf

from ._latents import cell_mask, latents
from ._parameters import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._latents import Cells

#: Cells outside the training set, which give the reference distribution of scores.
CalibrationCells: TypeAlias = "Cells | Literal['validation']"


@describe
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
    r"""Find cells whose latents in two modalities are unusually far apart.

    .. math:: s = \sqrt{(d - \mu)^\top \Sigma^{-1} (d - \mu)}

    The score :math:`s` of a cell is the Mahalanobis distance of the difference :math:`d` of its two latents
    from the mean difference :math:`\mu`; dimensions in which the modalities agree closely have more weight.
    Outliers may be swapped or mislabelled samples, doublets, bad recordings, or cells of a kind that is
    absent from the training data.

    The training cells give :math:`\mu` and :math:`\Sigma`. They cannot give the reference distribution of
    scores, since training has reduced the distances between their latents; the calibration cells, to which
    the model was not fitted, give it. The p-value of a cell is the fraction of calibration cells, including
    the cell itself, with a score at least as large (split conformal prediction). Of cells that are
    exchangeable with the calibration cells, at most a fraction ``level`` has a p-value of ``level`` or less,
    for any distribution of scores.

    Parameters
    ----------
    %(mdata)s
        Results are written to it.
    %(use_rep)s
    modalities
        The two modalities; not needed if only two have latents.
    level
        False positive rate: fraction of typical cells that may be flagged as outliers.
    train_cells
        Cells from which mean and covariance are estimated. The Ledoit-Wolf covariance is invertible also with
        few cells.
    calibration_cells
        Cells that give the reference distribution of scores: by default the validation cells, which only
        chose the epoch; or positions or a mask of cells, such as some of the test cells. Training cells are
        not allowed.
    %(cells)s
        The p-values of training cells would be too large. If the calibration cells are the only held-out
        cells, each is compared with the others.
    %(key_added)s

    Returns
    -------
    ``None``. The function writes, for all cells:

    ``mdata.obs[f"{key_added}_score"]``
        The score; NaN for cells without one of the two modalities.
    ``mdata.obs[f"{key_added}_p_value"]``
        The p-value; NaN for cells without a score, and for cells that are not tested.
    ``mdata.obs[key_added]``
        Whether the p-value is at most ``level`` (pandas' ``boolean``); missing for cells without a p-value.
    ``mdata.uns[key_added]``
        ``modalities``, ``level``, ``n_training``, ``n_calibration``, and ``cut``: cells with a larger score
        are outliers.

    Raises
    ------
    KeyError
        If latents or the set of each cell is missing.
    ValueError
        If the number of modalities is not two; if ``level`` is not between 0 and 1; if too few training or
        calibration cells have both modalities (with fewer than ``1 / level - 1`` calibration cells, no
        p-value can be as low as ``level``); if calibration cells are training cells.

    Notes
    -----
    P-values are valid for each cell on its own. Among many cells, about a fraction ``level`` of the typical
    ones is flagged; :func:`scipy.stats.false_discovery_control` on the p-values limits the fraction of
    typical cells among the flagged ones.

    References
    ----------
    Bates, Candes, Lei, Romano and Sesia, "Testing for outliers with conformal p-values", Annals of Statistics
    2023.

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
        raise ValueError(f"level={level!r}, the false positive rate, must be between 0 and 1.")
    z = latents(mdata, use_rep, modalities)
    if len(z) != 2:
        raise ValueError(
            f"Outliers are found by two modalities, not by {list(z)}. Name two: modalities=(..., ...)."
        )
    a, b = z.values()
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"Latents of {' and '.join(map(repr, z))} have {a.shape[1]} and {b.shape[1]} dimensions. Write "
            "latents of one model, which share a space."
        )
    difference = a - b
    both = np.isfinite(difference).all(1)
    training = both & cell_mask(mdata, use_rep, train_cells)
    if training.sum() <= a.shape[1]:
        raise ValueError(
            f"Only {training.sum()} training cells have both {' and '.join(map(repr, z))}, too few for a "
            f"covariance in {a.shape[1]} dimensions. Choose other cells: train_cells=..."
        )
    calibration = both & _calibration_mask(mdata, use_rep, calibration_cells)
    if (calibration & training).any():
        raise ValueError(
            f"{(calibration & training).sum()} calibration cells are training cells, whose latents agree "
            "better than those of new cells. Choose others: calibration_cells=..."
        )
    n = int(calibration.sum())
    n_flagged = int(np.floor(level * (n + 1) + 1e-9))
    if n_flagged < 1:
        raise ValueError(
            f"{n} calibration cells have both modalities, but it takes {int(np.ceil(1 / level - 1 - 1e-9))} "
            f"for level={level}. Raise the level, or choose more cells: calibration_cells=..."
        )
    covariance = LedoitWolf().fit(difference[training])
    score = np.full(mdata.n_obs, np.nan)
    score[both] = np.sqrt(covariance.mahalanobis(difference[both]))

    reference = np.sort(score[calibration])
    tested = both & cell_mask(mdata, use_rep, cells)
    as_large = n - np.searchsorted(reference, score[tested], side="left")
    # A calibration cell is already counted in n and as_large.
    own = calibration[tested]
    p_value = np.full(mdata.n_obs, np.nan)
    p_value[tested] = (as_large + ~own) / (n + ~own)

    flag = pd.array(p_value <= level, dtype="boolean")
    flag[~tested] = pd.NA
    mdata.obs[f"{key_added}_score"] = score
    mdata.obs[f"{key_added}_p_value"] = p_value
    mdata.obs[key_added] = pd.Series(flag, index=mdata.obs_names)
    mdata.uns[key_added] = {
        "modalities": list(z),
        "level": float(level),
        "n_training": int(training.sum()),
        "n_calibration": n,
        "cut": float(reference[n - n_flagged]),
    }


def _calibration_mask(mdata: MuData, use_rep: str, cells: CalibrationCells) -> np.ndarray:
    """Mask of the calibration cells."""
    if not (isinstance(cells, str) and cells == "validation"):
        return cell_mask(mdata, use_rep, cells)
    cell_mask(mdata, use_rep, "training")  # raises if the column is missing
    mask = mdata.obs[f"{use_rep}_set"].to_numpy() == "validation"
    if not mask.any():
        raise ValueError(
            f"mdata.obs[{use_rep + '_set'!r}] has no validation cells, which give the reference distribution "
            "of scores. Train with validation cells, as with splits.k_fold(mdata, validation_size=0.1), or "
            "use some of the test cells: calibration_cells=positions."
        )
    return mask
