"""Latents of cells, and where scanpy looks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scvi_cae._arguments import check_whole
from scvi_cae.data import check_latent_key, write_latents

from ._core import CoreModel
from ._encoding import encode, mean_latent
from ._parameters import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from mudata import MuData

    from scvi_cae.data import AlignedData


class EmbeddingMixin(CoreModel):
    """Embedding of cells."""

    @describe
    def get_latent_representation(
        self,
        adata: MuData | AlignedData | None = None,
        modality: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """Latents of cells.

        Parameters
        ----------
        %(adata)s
        modality
            Key of a modality, or of a column of labels. By default the joint latent: the mean over the modalities that
            a cell has, without labels.
        %(indices)s
        %(batch_size)s

        Returns
        -------
        ``(n_cells, n_latent)`` float32 array. A modality's latent is NaN for cells without it; the joint latent
        is finite for every cell with at least one of the model's modalities.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If no arm has this name, the data have none of the model's modalities, or a modality that is read has other
            features or infinite values.
        """
        names = self.modalities if modality is None else [modality]
        check_whole(batch_size, "batch_size", optional=True)
        data = self._align(adata, names)
        cells = self._positions(data, indices)
        return mean_latent([self._latent(data, name, cells, batch_size) for name in names]).cpu().numpy()

    def _latent(
        self, data: AlignedData, arm: str, cells: np.ndarray, batch_size: int | None = None
    ) -> torch.Tensor:
        """Latents of cells in one arm, in the coordinates in which they are given."""
        z, axes = encode(self.module, data, arm, cells, batch_size), self._trained().axes
        return z if axes is None else axes.apply(z)

    def write_latent(self, adata: MuData | AlignedData | None = None, key: str = "X_cae") -> None:
        """Write latents where scanpy looks for them.

        Parameters
        ----------
        adata
            MuData to embed and to write to; the model's own data by default.
        key
            Key in ``.obsm``.

        Notes
        -----
        The joint latent is written to ``mdata.obsm[key]``, for ``sc.pp.neighbors(mdata, use_rep=key)``; that of each
        modality ``m`` of the MuData to ``mdata.obsm[f"{key}_{m}"]``, NaN for cells without it, and to
        ``mdata[m].obsm[key]``, where features can colour it. ``mdata.obs[f"{key}_set"]`` holds the set of each cell
        (:meth:`set_membership`), so that held-out latents can be distinguished from fitted ones. Anything under these keys is
        replaced. For data backed by a file, they are written to memory only.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If ``key`` is one that MuData uses itself, or cannot write to a file; if the data are a view, have none
            of the model's modalities, or other features.
        """
        data = self._align(adata, self.modalities)
        check_latent_key(data.mdata, key, self.modalities)
        cells = self._positions(data, None)
        latents = {name: self._latent(data, name, cells) for name in self.modalities}
        joint = mean_latent(list(latents.values())).cpu().numpy()
        of_modalities = {name: z.cpu().numpy() for name, z in latents.items() if data.has(name)}
        write_latents(data.mdata, key, joint, of_modalities, self.set_membership(data))

    @describe
    def set_membership(self, adata: MuData | AlignedData | None = None) -> pd.Series:
        """Set of each cell in the training: training, validation or test set.

        Parameters
        ----------
        %(adata)s

        Returns
        -------
        Categorical Series by cell, matched by name: ``"training"`` (weights and standardisation were fitted to it),
        ``"validation"`` (it chose the epoch), or ``"test"`` (neither, as all cells of other names). Missing for a cell
        that has none of the modalities, and for one that has the name of a training or validation cell, but in no
        modality its values: another cell, or the same after another normalisation. In data that
        :meth:`prepare_query_mudata` returned, such a cell is another one, and ``"test"``. Missing for all cells if the
        training cells are unknown (published weights).

        Raises
        ------
        RuntimeError
            If the model is not trained.

        Warns
        -----
        UserWarning
            If cells have names of training cells, but other values.
        """
        data = self._align(adata, self.modalities)
        return pd.Series(self._sets(data), index=data.cells)
