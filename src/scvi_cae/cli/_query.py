"""Data of other cells on the command line: brought to a model's features, and embedded."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from scvi_cae.data import ALL_MEMBERS, QUERY_REPORT, check_latent_key, write_latents
from scvi_cae.model import CoupledAE, Ensemble

from ._files import read_names
from ._messages import note

if TYPE_CHECKING:
    from mudata import MuData

    from ._options import Preparation


def prepare(mdata: MuData, model: CoupledAE | Ensemble, how: Preparation) -> MuData:
    """Bring data to the features of a model, perhaps to its normalisation and distribution, and say what was found.

    Parameters
    ----------
    mdata
        The data.
    model
        The model, or an ensemble, whose models have the same features.
    how
        What the options say.
    """
    first = model.models[0]
    tables: Any = {modality: read_names(path) for modality, path in how.rename.items()}
    with warnings.catch_warnings():
        if how.normalize:  # which the following advises
            warnings.filterwarnings("ignore", message=r".*model\.normalize_query")
        if how.align:
            warnings.filterwarnings("ignore", message=r".*model\.align_query")
        query = CoupledAE.prepare_query_mudata(mdata, first, tables, how.min_features)
    for name, row in query.uns[QUERY_REPORT].items():
        note(
            f"Modality {name!r}: {row['n_matched']} of the model's {len(first.setup.features[name])} features found, "
            f"{row['n_renamed']} of them renamed, {row['n_missing']} missing; {row['n_dropped']} others left out."
        )
    if how.normalize:
        query = first.normalize_query(query, how.match_medians)
    for modality, method in how.align.items():
        query = model.align_query(query, cast("Any", method), modality)
    for name, row in query.uns[QUERY_REPORT].items():
        if row["aligned"]:
            still = "still differs from" if row["shifted"] else "no longer differs from"
            note(f"Modality {name!r}: aligned by {row['aligned']}; it {still} the training cells.")
    return query


def write_latent(model: CoupledAE | Ensemble, query: MuData, mdata: MuData, key: str) -> None:
    """Write the latents of prepared data to the data that they were prepared from.

    Parameters
    ----------
    model
        The model.
    query
        The prepared data.
    mdata
        The data; cells that ``query`` lacks have no latent.
    key
        Key of the latents.
    """
    check_latent_key(mdata, key, model.modalities)
    rows = mdata.obs_names.get_indexer(query.obs_names)

    def latent(modality: str | None) -> np.ndarray:
        z = model.get_latent_representation(query, modality)
        out = np.full((mdata.n_obs, z.shape[1]), np.nan, dtype=z.dtype)
        out[rows] = z
        return out

    member = ALL_MEMBERS if isinstance(model, Ensemble) else None
    sets = pd.Series(model.set_membership(query), index=query.obs_names).reindex(mdata.obs_names)
    write_latents(mdata, key, latent(None), {name: latent(name) for name in query.mod}, sets, member)
