"""Latents, set membership and labels of cells, as stored in a MuData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from scvi_cae._arguments import shorten
from scvi_cae.data import category_names, check_mudata, held_out, obs_column, positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from mudata import MuData

#: A selection of cells: by set, by position, or as a mask.
Cells: TypeAlias = "Literal['held-out', 'training', 'all'] | Sequence[int] | np.ndarray"


def latents(mdata: MuData, use_rep: str, modalities: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Latents of all cells in each modality.

    Parameters
    ----------
    mdata
        MuData with ``.obsm[f"{use_rep}_{modality}"]``, as written by :meth:`scvi_cae.CoupledAE.write_latent`.
    use_rep
        Prefix of the keys.
    modalities
        Names of modalities; by default all with latents.

    Returns
    -------
    ``(n_obs, n_latent)`` latents by modality; NaN for cells without the modality.

    Raises
    ------
    KeyError
        If a modality has no latents.
    """
    check_mudata(mdata)
    found = [name for name in mdata.mod if f"{use_rep}_{name}" in mdata.obsm]
    wanted = found if modalities is None else list(modalities)
    missing = [name for name in wanted if name not in found]
    if missing or not wanted:
        raise KeyError(
            f"No latents of {shorten(missing) if missing else 'any modality'} under use_rep={use_rep!r}: "
            f"expected mdata.obsm[{use_rep + '_' + (missing[0] if missing else next(iter(mdata.mod)))!r}]. "
            f"Write them with model.write_latent(mdata, key={use_rep!r})."
        )
    return {name: np.asarray(mdata.obsm[f"{use_rep}_{name}"], dtype=float) for name in wanted}


def cell_mask(mdata: MuData, use_rep: str, cells: Cells) -> np.ndarray:
    """Mask of selected cells.

    Parameters
    ----------
    mdata
        MuData with the set of each cell in ``.obs[f"{use_rep}_set"]``, as written by
        :meth:`scvi_cae.CoupledAE.write_latent`; not needed for ``"all"`` and for positions.
    use_rep
        Prefix of the key.
    cells
        ``"held-out"``: test cells or, if there are no test cells, validation cells, which only chose the
        epoch. ``"training"``, ``"all"``, positions, or a mask.

    Returns
    -------
    ``(n_obs,)`` mask.

    Raises
    ------
    KeyError
        If the set of each cell is missing.
    ValueError
        If the set is empty, a position is out of range, or ``cells`` is another word.
    """
    key = f"{use_rep}_set"
    sets = mdata.obs.get(key)
    if isinstance(cells, str) and cells in ("held-out", "training") and (sets is None or sets.isna().all()):
        raise KeyError(
            f"The set of each cell (training, validation or test) is missing from mdata.obs[{key!r}]. Write "
            f"it with model.write_latent(mdata, key={use_rep!r}), or select cells by position or as 'all'."
        )
    mask = np.zeros(mdata.n_obs, dtype=bool)
    mask[chosen_cells(cells, mdata.n_obs, sets)] = True
    return mask


def chosen_cells(cells: Cells, n_cells: int, sets: pd.Series | None) -> np.ndarray:
    """Positions of selected cells.

    Parameters
    ----------
    cells
        As in :func:`cell_mask`.
    n_cells
        Number of cells.
    sets
        Set of each cell; not needed for ``"all"`` and for positions.

    Raises
    ------
    ValueError
        If the set is empty, a position is out of range, or ``cells`` is another word.
    """
    if not isinstance(cells, str):
        return positions(cells, n_cells, "cells")
    if cells == "all":
        return np.arange(n_cells)
    if cells not in ("held-out", "training"):
        raise ValueError(f"cells={cells!r} must be 'held-out', 'training', 'all', positions or a mask.")
    assert sets is not None
    names = sets.to_numpy()
    chosen = np.flatnonzero(names == "training" if cells == "training" else held_out(names))
    if not len(chosen):
        raise ValueError(f"The data have no {cells} cells. Use cells='all', or positions.")
    return chosen


def labels_of(mdata: MuData, key: str) -> pd.Series:
    """``(n_obs,)`` labels of all cells as text, ``None`` where missing or blank."""
    return category_names(obs_column(mdata, key))
