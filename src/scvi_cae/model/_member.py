"""A model of an ensemble as a predictor whose errors are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from ._calibration import Predicted
from ._combination import combined, latents_of, predict_cells
from ._encoding import decode, device_of, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scvi_cae.data import AlignedData

    from ._calibration import Calibration, CalibrationCells
    from ._combination import SharedCompanions, Stacks
    from ._companions import Companions
    from ._coupled_ae import CoupledAE


class Member:
    """A model of an ensemble with its companions, as a predictor whose errors are known.

    Parameters
    ----------
    model
        The model.
    companions
        Its companions.
    whole
        Companions that are fitted to all training cells, which predict cells that are in no training.
    stacks
        Weights of all predictions.
    """

    def __init__(
        self, model: CoupledAE, companions: Companions, whole: Companions | SharedCompanions, stacks: Stacks
    ) -> None:
        self._model = model
        self._companions = companions
        self._whole = whole
        self._stacks = stacks
        self._pool: Sequence[Member] = ()
        self._found: dict[tuple[tuple[str, ...], str], Calibration | None] = {}

    def pooled(self, members: Sequence[Member]) -> Member:
        """The member as predictor of cells that it was not trained on, with the residuals of all members."""
        alone = Member(self._model, self._companions, self._companions, self._stacks)
        alone._pool = members
        return alone

    def _calibration(self, sources: Sequence[str], target: str) -> Calibration | None:
        """Errors of combined predictions on validation cells, relative to the network's errors nearby."""
        key = tuple(sources), target
        if key not in self._found:
            self._found[key] = self._calibrate(sources, target)
        own = self._found[key]
        pool = [member._calibration(sources, target) for member in self._pool]
        others = [calibration for calibration in pool if calibration is not None]
        if own is None or not others:
            return own
        return own._replace(
            names=np.concatenate([x.names for x in others]),
            residuals=np.concatenate([x.residuals for x in others]),
            scales=np.concatenate([x.scales for x in others]),
        )

    def _calibrate(self, sources: Sequence[str], target: str) -> Calibration | None:
        network = self._model._calibration(sources, target)
        if network is None or not self._stacks:
            return network
        cells = self._model._trained().calibration[target].validation
        chosen = cells.chosen(sources)
        return network._replace(
            residuals=cells.values[chosen] - self._of_stored(cells, chosen, sources, target)
        )

    def class_scores(self, sources: Sequence[str], label: str) -> pd.Series:
        """Probability of their true class of validation cells that have all sources, by name; none if there are none."""
        if label not in self._model._trained().calibration:
            return pd.Series(dtype=float)
        cells = self._model._trained().calibration[label].validation
        chosen = cells.complete(sources)
        values = self._of_stored(cells, chosen, sources, label)
        return cells.true_class(chosen, values)

    def _of_stored(
        self, cells: CalibrationCells, chosen: np.ndarray, sources: Sequence[str], target: str
    ) -> np.ndarray:
        """Combined predictions of some of the cells that calibrate a target, which have a source."""
        device = device_of(self._model.module)
        latents = {name: torch.from_numpy(cells.latents[name][chosen]).to(device) for name in sources}
        present = np.stack([np.isfinite(cells.latents[name][chosen, 0]) for name in sources], axis=1)
        return combined(
            sources,
            target,
            present,
            self._stacks,
            lambda names, rows: decode(self._model.module, latents_of(latents, names, rows), target)[1],
            lambda source, rows: [values[chosen[rows]] for values in self._companions.stored(source, target)],
            cells.values.shape[1],
        )

    def _predicted(
        self,
        data: AlignedData,
        sources: Sequence[str],
        target: str,
        cells: np.ndarray,
        batch_size: int | None,
        calibration: Calibration | None,
    ) -> Predicted:
        """Combined predictions of cells, and the network's expected errors."""
        latents = {name: encode(self._model.module, data, name, cells, batch_size) for name in sources}
        values = predict_cells(
            self._model, self._whole, self._stacks, data, latents, target, cells, batch_size
        )
        scales = self._model._expected_errors(latents, target, calibration)
        return Predicted(values, scales, calibration)


def out_of_fold_members(members: Sequence[Member], sees: np.ndarray) -> list[Member]:
    """Members that predict cells of the training, which they were not trained on.

    Parameters
    ----------
    members
        All members, whose residuals tell how large errors are.
    sees
        Boolean ``(n_members,)``: which of them predict the cells.
    """
    return [member.pooled(members) for member, chosen in zip(members, sees, strict=True) if chosen]
