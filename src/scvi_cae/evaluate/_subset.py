"""Some of the paired cells, and what is left of the others: what methods of a learning curve are fitted to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from mudata import MuData

from scvi_cae._mudata import annotations_apart
from scvi_cae.data import Split, obs_column
from scvi_cae.model import CoupledAE

from ._held_out import CellSet


class Subset(NamedTuple):
    """Training cells of which some have all modalities, and the others one.

    Parameters
    ----------
    pairs
        Positions of the cells that have all modalities.
    others
        Positions of cells that have one.
    kept
        That modality; ``None`` without such cells.
    """

    pairs: np.ndarray
    others: np.ndarray
    kept: str | None

    @property
    def cells(self) -> np.ndarray:
        """Positions of all cells of the subset, in the order of the data."""
        return np.sort(np.concatenate([self.pairs, self.others]))

    def of(self, cells: CellSet) -> CellSet:
        """The cells of the subset among others, with NaN where they lack a modality."""
        chosen = cells.among(self.cells)
        cut = np.isin(chosen.positions, self.others)[:, None]
        values = {m: x if m == self.kept else np.where(cut, np.nan, x) for m, x in chosen.values.items()}
        return CellSet(chosen.positions, values)

    def mudata(self, model: CoupledAE, test: np.ndarray) -> tuple[MuData, Split]:
        """The subset and test cells as data of their own, set up in the same way.

        Parameters
        ----------
        model
            A model of all data.
        test
            Positions of the test cells, which keep all modalities.

        Returns
        -------
        The MuData, and positions of training and test cells in it, the latter in the given order.
        """
        mdata, setup, registry = model.adata, model.setup, model.registry
        positions = np.sort(np.concatenate([self.cells, test]))
        names = mdata.obs_names[positions]
        whole = mdata.obs_names[np.concatenate([self.pairs, test])]
        modalities = {}
        for name in setup.modalities:
            adata = mdata[name]
            modalities[name] = adata[adata.obs_names.isin(names if name == self.kept else whole)].copy()
            if name in setup.batch_keys:
                batches = obs_column(mdata, setup.batch_keys[name], name)
                modalities[name].obs[setup.batch_keys[name]] = batches.reindex(modalities[name].obs_names)
        # A label can be in the annotations of a modality that the others do not keep.
        obs = pd.DataFrame(mdata.obs).assign(**{key: obs_column(mdata, key) for key in setup.labels})
        with annotations_apart():
            subset = MuData(modalities, obs=obs.loc[names].copy())
        CoupledAE.setup_mudata(subset, source_registry=registry, **registry["setup_args"])
        train, test = (subset.obs_names.get_indexer(mdata.obs_names[c]) for c in (self.cells, test))
        return subset, Split(train, np.empty(0, dtype=np.int64), test)
