"""Predictions of one model and its companions, and the weights with which they are combined."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch

from ._encoding import decode, device_of, encode, measured_values
from ._stacking import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scvi_cae.data import AlignedData

    from ._calibration import Calibration, Predicted
    from ._companions import Companions
    from ._coupled_ae import CoupledAE

    #: Stacks by sources and target.
    Stacks = dict[tuple[tuple[str, ...], str], Stack]
    #: Prediction from some sources, in the order of the model, of the rows that have all of them.
    Predictor = Callable[[tuple[str, ...], np.ndarray], np.ndarray]
    #: Predictions of rows from one source.
    CompanionPredictor = Callable[[str, np.ndarray], list[np.ndarray]]

#: Largest number of sources of which every combination has its own weights.
MAX_SOURCES = 3
#: Largest number of values of cells that weights are fitted to.
MAX_VALUES = 2**25


def subsets(sources: Sequence[str]) -> list[tuple[str, ...]]:
    """Combinations of sources that have weights of their own: all of few, else single ones and all together."""
    sizes = range(1, len(sources) + 1) if len(sources) <= MAX_SOURCES else (1, len(sources))
    return [subset for size in sizes for subset in combinations(sources, size)]


def candidates(
    subset: tuple[str, ...],
    target: str,
    stacks: Stacks,
    network: Predictor,
    companion: CompanionPredictor,
    rows: np.ndarray,
) -> list[np.ndarray]:
    """Predictions that are combined: the network's, and from one source those of the companions.

    From several sources, the others are the combined predictions from each, whose weights more cells have determined.

    Parameters
    ----------
    subset, target
        The sources, and the target.
    stacks
        Weights of single sources.
    network, companion
        Predictions by either.
    rows
        Rows to predict.
    """
    if len(subset) == 1:
        return [network(subset, rows), *companion(subset[0], rows)]
    singles = []
    for name in subset:
        found = candidates((name,), target, stacks, network, companion, rows)
        stack = stacks.get(((name,), target))
        singles.append(found[0] if stack is None else stack.combine(found))
    return [network(subset, rows), *singles]


def combined(
    sources: Sequence[str],
    target: str,
    present: np.ndarray,
    stacks: Stacks,
    network: Predictor,
    companion: CompanionPredictor,
    n_features: int,
) -> np.ndarray:
    """Combine predictions of cells that may lack some of the sources.

    Parameters
    ----------
    sources, target
        Names of the arms.
    present
        Boolean ``(n_cells, n_sources)``: which sources a cell has.
    stacks
        Weights; where there are none, the network predicts alone.
    network, companion
        As in :func:`candidates`.
    n_features
        Number of features of the target.

    Returns
    -------
    ``(n_cells, n_features)``, NaN for cells without any source.
    """
    out = np.full((len(present), n_features), np.nan)
    for pattern in np.unique(present, axis=0):
        subset = tuple(name for name, there in zip(sources, pattern, strict=True) if there)
        rows = np.flatnonzero((present == pattern).all(1))
        if not subset or not len(rows):
            continue
        stack = stacks.get((subset, target))
        if stack is None:
            out[rows] = network(subset, rows)
        else:
            out[rows] = stack.combine(candidates(subset, target, stacks, network, companion, rows))
    return out


def probabilities(values: np.ndarray) -> np.ndarray:
    """Non-negative rows that sum to 1, of a sum of probabilities whose weights need not."""
    values = np.maximum(values, 0)
    return values / values.sum(1, keepdims=True)


def predict_cells(
    model: CoupledAE,
    companions: Companions,
    stacks: Stacks,
    data: AlignedData,
    sources: Sequence[str],
    target: str,
    cells: np.ndarray,
    batch_size: int | None = None,
    batch: int | None = None,
) -> np.ndarray:
    """Combined prediction of cells by one model and its companions, ``(len(cells), n_features)``."""
    latents = {name: encode(model.module, data, name, cells, batch_size) for name in sources}

    def network(subset: tuple[str, ...], rows: np.ndarray) -> np.ndarray:
        return decode(model.module, _rows(latents, subset, rows), target, batch_size, batch)[1]

    def companion(source: str, rows: np.ndarray) -> list[np.ndarray]:
        return companions.predict(data, source, target, cells[rows])

    present = np.stack([data[name].present[cells] for name in sources], axis=1)
    values = combined(
        sources,
        target,
        present,
        stacks,
        network,
        companion,
        len(data.setup.features[target]),
    )
    return probabilities(values) if target in data.setup.labels else values


def _rows(latents: Mapping[str, torch.Tensor], subset: Sequence[str], rows: np.ndarray) -> dict:
    return {name: latents[name][rows] for name in subset}


def fit_stacks(
    models: Sequence[CoupledAE],
    companions: Sequence[Companions],
    data: AlignedData,
    held_out: Sequence[np.ndarray],
) -> Stacks:
    """Weights of every prediction across arms, from cells that each model was not trained on.

    Parameters
    ----------
    models, companions
        The models, and their companions.
    data
        The data.
    held_out
        Positions of the cells that each model was not trained on.
    """
    setup, module = data.setup, models[0].module
    stacks: Stacks = {}
    for target in setup.arms:
        for subset in subsets(module.sources[target]):
            predictions: list[list[np.ndarray]] = []
            truth = []
            n_kept = max(MAX_VALUES // (len(models) * len(setup.features[target])), 10)
            for model, beside, cells in zip(models, companions, held_out, strict=True):
                has = np.all([data[name].present[cells] for name in (*subset, target)], axis=0)
                chosen = cells[has]
                if len(chosen) > n_kept:
                    chosen = np.sort(np.random.default_rng(0).choice(chosen, n_kept, replace=False))
                if len(chosen):
                    truth.append(measured_values(model.module, data, target, chosen))
                    predictions.append(_of_member(model, beside, stacks, data, subset, target, chosen))
            if not truth or len({len(found) for found in predictions}) > 1:
                continue
            values = np.concatenate(truth).astype(np.float64)
            together = [np.concatenate(parts) for parts in zip(*predictions, strict=True)]
            is_label = target in setup.labels
            with np.errstate(invalid="ignore"):
                known = np.where(np.isfinite(values), values, np.nan)
                n = np.isfinite(known).sum(0)
                mean = np.where(n > 0, np.nansum(known, axis=0) / np.maximum(n, 1), np.nan)
                scale = np.sqrt(np.nansum((known - mean) ** 2, axis=0) / np.maximum(n, 1))
            if is_label:
                scale = np.ones_like(scale)
            stacks[subset, target] = Stack.fit(together, values, mean, scale, common=is_label)
    return stacks


def _of_member(
    model: CoupledAE,
    companions: Companions,
    stacks: Stacks,
    data: AlignedData,
    subset: tuple[str, ...],
    target: str,
    cells: np.ndarray,
) -> list[np.ndarray]:
    """Predictions of cells that have all sources, one by one."""
    latents = {name: encode(model.module, data, name, cells) for name in subset}
    return candidates(
        subset,
        target,
        stacks,
        lambda names, rows: decode(model.module, _rows(latents, names, rows), target)[1],
        lambda source, rows: companions.predict(data, source, target, cells[rows]),
        np.arange(len(cells)),
    )


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

    def __init__(self, model: CoupledAE, companions: Companions, whole: Companions, stacks: Stacks) -> None:
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
        device = device_of(self._model.module)
        latents = {name: torch.from_numpy(cells.latents[name][chosen]).to(device) for name in sources}
        present = np.stack([np.isfinite(cells.latents[name][chosen, 0]) for name in sources], axis=1)
        values = combined(
            sources,
            target,
            present,
            self._stacks,
            lambda names, rows: decode(self._model.module, _rows(latents, names, rows), target)[1],
            lambda source, rows: [values[chosen[rows]] for values in self._companions.stored(source, target)],
            cells.values.shape[1],
        )
        return network._replace(residuals=cells.values[chosen] - values)

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
        network = self._model._predicted(data, sources, target, cells, batch_size, calibration)
        values = predict_cells(
            self._model, self._whole, self._stacks, data, sources, target, cells, batch_size
        )
        return network._replace(values=values)


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
