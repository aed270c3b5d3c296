"""Latents of several data sets in one table of cells."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.data import SETS, has_column, obs_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

    from scvi_cae.model import CoupledAE, Ensemble

#: What the latent of all modalities together is called.
JOINT = "joint"
#: Columns that the result has of its own.
OWN = ("dataset", "modality", "cell", "set")


def concat_latents(
    model: CoupledAE | Ensemble, data: Mapping[str, MuData], modalities: Sequence[str] | None = None
) -> AnnData:
    """Latents of cells of several data sets side by side, such as of a reference and of queries.

    Cells of all data sets are in one space, so that one neighbourhood graph, UMAP or clustering is of all of them.

    Parameters
    ----------
    model
        Trained model; of an ensemble, latents of all models side by side.
    data
        MuData with the model's features by name of the data set, such as ``{"reference": mdata, "query": query}``, queries
        as :meth:`scvi_cae.CoupledAE.prepare_query_mudata` returns them.
    modalities
        Latents of which modalities: then a cell has a row for each of these that it has; ``"joint"`` may be among
        them. ``None`` (default): the joint latent of each cell, the mean over its modalities.

    Returns
    -------
    AnnData in memory, with the latents in ``.X``, float32, and a row for each cell, of the data sets in their order; cells
    without a modality are left out. ``.obs`` has

    ``dataset``
        Name of the data set.
    ``modality``
        ``"joint"``, or the modality that the latent is of.
    ``cell``
        Name of the cell in its data set.
    ``set``
        Set of the cell in the training, as ``model.set_membership`` tells it.

    and the columns of labels of the model and the columns of ``mdata.obs`` that all data sets have. Names of rows are
    ``dataset:cell``, and ``dataset:cell:modality`` with ``modalities``.

    Raises
    ------
    RuntimeError
        If the model is not trained.
    ValueError
        If no data set is given; if a modality is not one of the model's, or no data set has it; if data have other
        features.

    Warns
    -----
    UserWarning
        If columns of the data have the names of the result's own.

    Examples
    --------
    >>> import scvi_cae
    >>> from scvi_cae import tl
    >>> cells = scvi_cae.datasets.simulate_patchseq(n_cells=300)
    >>> mdata, other = cells[:200].copy(), cells[200:].copy()
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
    >>> model.train(max_epochs=20, enable_progress_bar=False)
    >>> query = scvi_cae.CoupledAE.prepare_query_mudata(other, model)
    >>> latents = tl.concat_latents(model, {"reference": mdata, "query": query})
    >>> latents.shape, latents.obs["dataset"].value_counts().to_dict()
    ((300, 5), {'reference': 200, 'query': 100})

    They can be plotted together: ``sc.pp.neighbors(latents, use_rep="X"); sc.tl.umap(latents)``.
    """
    if not data:
        raise ValueError("Give at least one data set: {'reference': mdata, 'query': query}.")
    wanted = [JOINT] if modalities is None else list(dict.fromkeys(modalities))
    unknown = [name for name in wanted if name not in (JOINT, *model.modalities)]
    if unknown or not wanted:
        raise ValueError(
            f"modalities={modalities!r} must be {JOINT!r} or modalities of the model: {shorten(model.modalities)}."
        )
    aligned = {str(name): model.align(mdata) for name, mdata in data.items()}
    lacking = [name for name in wanted if name != JOINT and not any(x.has(name) for x in aligned.values())]
    if lacking:
        raise ValueError(f"No data set has the modality {shorten(lacking)}. Leave it out of modalities.")
    columns = _shared_columns([x.mdata for x in aligned.values()], model.labels)
    parts, tables = [], []
    for dataset, of in aligned.items():
        cells = pd.DataFrame({column: obs_column(of.mdata, column) for column in columns}, index=of.cells)
        cells["dataset"], cells["cell"] = dataset, of.cells.astype(str)
        cells["set"] = model.set_membership(of)
        for name in wanted:
            if name != JOINT and not of.has(name):
                continue
            latent = model.get_latent_representation(of, None if name == JOINT else name)
            has = np.isfinite(latent).all(axis=1)
            rows = cells[has].assign(modality=name)
            ending = "" if modalities is None else f":{name}"
            rows.index = pd.Index([f"{dataset}:{cell}{ending}" for cell in rows["cell"]])
            parts.append(latent[has].astype(np.float32))
            tables.append(rows)
    for column in columns:
        if len({table[column].dtype for table in tables}) > 1:  # such as different categories
            tables = [table.astype({column: object}) for table in tables]
    obs = pd.concat(tables).infer_objects()
    for column, names in (("dataset", list(aligned)), ("modality", wanted), ("set", SETS)):
        obs[column] = pd.Categorical(obs[column], names)
    return anndata.AnnData(np.concatenate(parts), obs=obs[[*OWN, *columns]])


def _shared_columns(data: list[MuData], labels: list[str]) -> list[str]:
    """Columns of labels, and of annotations, that all data sets have."""
    candidates = dict.fromkeys([*labels, *map(str, data[0].obs.columns)])
    shared = [name for name in candidates if all(has_column(mdata, name) for mdata in data)]
    same = [name for name in shared if name in OWN]
    if same:
        warnings.warn(
            f"Columns {shorten(same)} of the data are left out, since the result has columns of these names. Rename them "
            "to keep them.",
            UserWarning,
            stacklevel=3,
        )
    return [name for name in shared if name not in OWN]
