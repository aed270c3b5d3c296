"""Assembly of a MuData from counts and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import numpy as np
import scanpy as sc
from mudata import MuData

from scvi_cae._mudata import annotations_apart
from scvi_cae._normalization import NORMALIZATION, Normalization

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData
    from scipy import sparse


def rna_modality(counts: sparse.csr_matrix, obs: pd.DataFrame, var: pd.DataFrame) -> AnnData:
    """AnnData with raw counts in ``layers["counts"]`` and log1p counts per million in ``X``, of which ``.uns`` has a record."""
    rna = anndata.AnnData(counts.astype(np.float32), obs=obs, var=var, layers={"counts": counts})
    sc.pp.normalize_total(rna, target_sum=1e6)
    sc.pp.log1p(rna)
    rna.uns[NORMALIZATION] = Normalization("log", 1e6, genes=tuple(rna.var_names)).to_uns()
    return rna


def join_modalities(modalities: Mapping[str, AnnData], obs: pd.DataFrame) -> MuData:
    """Join modalities by cell name, with the rows of ``obs`` matched by name."""
    with annotations_apart():
        mdata = MuData(dict(modalities))
    mdata.obs = obs.loc[mdata.obs_names]
    return mdata
