"""Latents of cells in a MuData, where scanpy looks for them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from scvi_cae._arguments import shorten

from ._checks import check_not_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from mudata import MuData


#: What latents of all models of an ensemble, side by side, are called.
ALL_MEMBERS = "all, in sample"


def check_latent_key(mdata: MuData, key: str, modalities: Sequence[str]) -> None:
    """Check that latents can be written to a MuData under a key.

    Parameters
    ----------
    mdata
        The MuData.
    key
        Key in ``.obsm``.
    modalities
        Modalities whose latents are written.

    Raises
    ------
    ValueError
        If the key is empty, holds a slash or is one of MuData's own; if the data are a view.
    """
    check_not_view(mdata)
    names = [key, *(f"{key}_{name}" for name in modalities)]
    if not key or "/" in key or set(names) & set(mdata.mod):
        raise ValueError(
            f"key={key!r} cannot name latents: it must not be empty, contain a slash, or give the name of a "
            f"modality, under which MuData keeps which cells have it."
        )


def write_latents(
    mdata: MuData,
    key: str,
    joint: np.ndarray,
    of_modalities: Mapping[str, np.ndarray],
    sets: pd.Series | pd.Categorical,
    member: str | None = None,
) -> None:
    """Write latents and sets of cells to a MuData; see :meth:`scvi_cae.CoupledAE.write_latent`.

    Parameters
    ----------
    mdata
        The MuData.
    key
        Key in ``.obsm``.
    joint
        ``(n_cells, n_latent)`` joint latents.
    of_modalities
        ``(n_cells, n_latent)`` latents by modality of the MuData.
    sets
        ``(n_cells,)`` sets of the cells.
    member
        Which models of an ensemble the latents are of; ``None`` for a single model.
    """
    nowhere = np.isnan(joint).any(1)
    if nowhere.any():
        warnings.warn(
            f"{nowhere.sum()} cells have none of the model's modalities, and NaN for a latent, which scanpy refuses: "
            f"{shorten(mdata.obs_names[nowhere])}. Leave them out: "
            f"mdata = mdata[np.isfinite(mdata.obsm[{key!r}]).all(1)].copy().",
            UserWarning,
            stacklevel=3,
        )
    mdata.obsm[key] = joint
    for name, z in of_modalities.items():
        mdata.obsm[f"{key}_{name}"] = z
        adata = mdata.mod[name]
        adata.obsm[key] = z[mdata.obs_names.get_indexer(adata.obs_names)]
    mdata.obs[f"{key}_set"] = sets
    mdata.uns.pop(f"{key}_member", None)
    if member is not None:
        mdata.uns[f"{key}_member"] = member
