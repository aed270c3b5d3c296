"""Standardised data that lie on a device once, for batches that are index selections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scvi_cae.module import Observation

    from ._alignment import AlignedModality


class ResidentData:
    """All modalities of all cells as tensors.

    A modality is stored for the cells that have it only, plus one row that says "not measured", to which
    every other cell points.

    Parameters
    ----------
    modalities
        The aligned modalities.
    standardise
        For each modality, the function that makes an :class:`~scvi_cae.module.Observation` of raw values.
    """

    def __init__(
        self,
        modalities: Mapping[str, AlignedModality],
        standardise: Mapping[str, Callable[[torch.Tensor], Observation]],
    ) -> None:
        self._observations: dict[str, Observation] = {}
        self._rows: dict[str, torch.Tensor] = {}
        for name, aligned in modalities.items():
            cells = np.flatnonzero(aligned.present)
            nobody = np.full((1, aligned.n_features), np.nan, dtype=np.float32)
            observation = standardise[name](torch.from_numpy(np.concatenate([aligned.values(cells), nobody])))
            rows = np.full(len(aligned.present), len(cells))
            rows[cells] = np.arange(len(cells))
            self._observations[name] = observation
            self._rows[name] = torch.from_numpy(rows)

    def to(self, device: torch.device) -> None:
        """Move the data to a device."""
        self._observations = {
            name: type(x)(*(part.to(device) for part in x)) for name, x in self._observations.items()
        }
        self._rows = {name: rows.to(device) for name, rows in self._rows.items()}

    @property
    def device(self) -> torch.device:
        """Where the data lie."""
        return next(iter(self._rows.values())).device

    def batch(self, cells: torch.Tensor) -> dict[str, Observation]:
        """Each modality of some cells, given by their positions."""
        out = {}
        for name, x in self._observations.items():
            rows = self._rows[name].index_select(0, cells)
            out[name] = type(x)(*(part.index_select(0, rows) for part in x))
        return out
