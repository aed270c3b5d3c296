"""Latents and novelty of cells by an ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae._arguments import check_whole
from scvi_cae.data import ALL_MEMBERS, check_latent_key, write_latents

from ._ensemble_core import EnsembleCore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from scvi_cae.data import AlignedData

    from ._coupled_ae import CoupledAE


class EnsembleEmbedding(EnsembleCore):
    """Latents of all models side by side, or of one, and distances from the cells that they know."""

    def get_latent_representation(
        self,
        adata: MuData | AlignedData | None = None,
        modality: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
        member: int | None = None,
    ) -> np.ndarray:
        """Latents of cells, of all models together or of one.

        Each model has a space of its own, so that latents of different models are not comparable, and cannot be averaged.
        When they are concatenated and divided by the square root of the number of models, the squared distance of two
        cells is the mean of their squared distances in the models.

        Parameters
        ----------
        adata, modality, indices, batch_size
            As in :meth:`scvi_cae.CoupledAE.get_latent_representation`; the data of the training by default.
        member
            Number of a model, for its latents alone. ``None`` (default): those of all, concatenated. Most of them were
            trained on a cell of the training, which is in sample; one model was not trained on its part of the cells.

        Returns
        -------
        ``(n_cells, n_latent)`` float32 array, with ``n_models * n_latent`` columns by default.

        Raises
        ------
        RuntimeError
            If the ensemble is not trained.
        ValueError
            If there is no such model; else as in :meth:`scvi_cae.CoupledAE.get_latent_representation`.
        """
        data = self.align(adata)
        if member is not None:
            return self._member(member).get_latent_representation(data, modality, indices, batch_size)
        latents = [m.get_latent_representation(data, modality, indices, batch_size) for m in self.models]
        return np.concatenate(latents, axis=1) / np.float32(np.sqrt(len(latents)))

    def _member(self, number: int) -> CoupledAE:
        self._trained()
        check_whole(
            number, "member", minimum=0, maximum=len(self.models) - 1, of="the number of the last model"
        )
        return self.models[number]

    def write_latent(
        self, adata: MuData | AlignedData | None = None, key: str = "X_cae", member: int | None = None
    ) -> None:
        """Write latents where scanpy looks for them.

        Parameters
        ----------
        adata
            MuData to embed and to write to; the data of the training by default.
        key
            Key in ``.obsm``, and prefix of the modalities' keys, as in :meth:`scvi_cae.CoupledAE.write_latent`.
        member
            Number of the model whose latents are written; ``None`` (default) for those of all, concatenated.

        Notes
        -----
        ``mdata.uns[f"{key}_member"]`` says which model it is, or ``"all, in sample"``; ``mdata.obs[f"{key}_set"]`` the set of
        each cell in its training. With all of them, a cell of the training is ``"training"``, since most models were
        trained on it: functions of :mod:`scvi_cae.tl` that report on held-out cells need the latents of one model, of
        which the cells of one part are ``"validation"``, or cells that took no part.

        Raises
        ------
        RuntimeError
            If the ensemble is not trained.
        ValueError
            If there is no such model; else as in :meth:`scvi_cae.CoupledAE.write_latent`.
        """
        data = self.align(adata)
        check_latent_key(data.mdata, key, self.modalities)
        names = [name for name in self.modalities if data.has(name)]
        latents = {name: self.get_latent_representation(data, name, member=member) for name in names}
        joint = self.get_latent_representation(data, member=member)
        sets = (self if member is None else self._member(member)).set_membership(data)
        of = ALL_MEMBERS if member is None else str(member)
        write_latents(data.mdata, key, joint, latents, sets, of)

    def novelty(
        self,
        adata: MuData | AlignedData | None = None,
        modality: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> pd.DataFrame:
        """Distance of cells from those that the models know, in one modality.

        Parameters
        ----------
        adata, modality, indices
            As in :meth:`scvi_cae.CoupledAE.novelty`.

        Returns
        -------
        Data frame of the cells with ``distance`` and ``p_value``: means over the models that were not trained on a cell,
        all of them for a new one.

        Raises
        ------
        RuntimeError
            If the ensemble is not trained.
        ValueError
            As in :meth:`scvi_cae.CoupledAE.novelty`.
        """
        first = self._trained()
        data = first._align(adata, self.modalities if modality is None else [modality])
        cells = first._positions(data, indices)
        by = self._predictors(data)[cells]
        total, number = np.zeros((2, len(cells), 2))
        for k, model in enumerate(self.models):
            rows = np.flatnonzero(by[:, k])
            if len(rows):
                total[rows] += model.novelty(data, modality, cells[rows]).to_numpy()
                number[rows] += 1
        columns = ["distance", "p_value"]
        return pd.DataFrame(total / np.maximum(number, 1), index=data.cells[cells], columns=columns)
