"""How far cells are from those that an arm was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten

from ._core import CoreModel
from ._parameters import describe
from ._reference import reconstruct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from scvi_cae.data import AlignedData


class NoveltyMixin(CoreModel):
    """Distances of cells from those that the model knows."""

    @describe
    def novelty(
        self,
        adata: MuData | AlignedData | None = None,
        modality: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> pd.DataFrame:
        """Distance of cells from those that the model knows, in one modality.

        Two properties make a cell novel: values that the autoencoder, which has learnt how features covary, cannot
        reconstruct, and a latent far from all others, each relative to the training cells. A cell's distance is
        ranked among those of the reference cells: the validation cells, which were not trained on. A model with fewer
        than 20 of them ranks it among the training cells, which are nearer than other cells are: these then seem too
        novel.

        Parameters
        ----------
        %(adata)s
        modality
            Key of the modality; optional if ``adata`` has only one of the model's.
        %(indices)s

        Returns
        -------
        Data frame of the cells with ``distance``, about 1 for a training cell, and ``p_value``, the fraction of
        reference cells that are at least as far away, the cell itself included. Of further cells like the reference
        cells, a fraction of at most ``p`` has a value of at most ``p``. The smallest possible value is ``1 / (n + 1)``
        with ``n`` reference cells: 0.01 takes 99 of them. Predictions from a cell with a small ``p_value`` are
        unreliable. NaN for cells without the modality.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If the modality is one of labels, or must be named, or the model has no reference distribution of it:
            published weights, or a training with too few cells.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, enable_progress_bar=False)
        >>> model.novelty(modality="ephys").columns.tolist()
        ['distance', 'p_value']
        """
        if modality is None:
            adata = None if adata is None else self._align(adata, self.modalities)
            there = [name for name in self.modalities if adata is not None and adata.has(name)]
            if len(there) != 1:
                raise ValueError(f"Name the modality: modality=... is one of {shorten(self.modalities)}.")
            modality = there[0]
        if modality in self.labels:
            raise ValueError(
                f"{modality!r} are labels: a class is known, or it is not. Name a modality that is measured."
            )
        data = self._align(adata, [modality])
        cells = self._positions(data, indices)
        reference = self._trained().references.get(modality)
        if reference is None:
            raise ValueError(
                f"The model has no reference distribution of {modality!r}: too few cells with it trained or validated "
                "the model."
            )
        out = pd.DataFrame(np.nan, index=data.cells[cells], columns=["distance", "p_value"])
        has = data[modality].present[cells]
        if has.any():
            distance = reference.distance(reconstruct(self.module, data, modality, cells[has]))
            out.loc[has, "distance"], out.loc[has, "p_value"] = distance, reference.p_values(distance)
        return out
