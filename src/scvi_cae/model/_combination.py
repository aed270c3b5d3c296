"""Predictions of one model and its companions, and the weights with which they are combined."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from scvi_cae.module import mean_and_spread

from ._encoding import decode, encode, measured_values
from ._pooling import Pool
from ._stacking import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from scvi_cae.data import AlignedData

    from ._companions import Companions
    from ._coupled_ae import CoupledAE

    #: Weights by sources and target, of labels as pools.
    Stacks = dict[tuple[tuple[str, ...], str], Stack | Pool]
    #: Prediction from some sources, in the order of the model, of the rows that have all of them.
    Predictor = Callable[[tuple[str, ...], np.ndarray], np.ndarray]
    #: Predictions of rows from one source.
    CompanionPredictor = Callable[[str, np.ndarray], list[np.ndarray]]

#: Largest number of sources of which every combination has its own weights.
MAX_SOURCES = 5
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


class SharedCompanions:
    """Companions that several models ask about the same cells in turn: the last answers are kept.

    Parameters
    ----------
    companions
        The companions.
    """

    def __init__(self, companions: Companions) -> None:
        self._companions = companions
        self._last: dict[tuple[str, str], tuple[np.ndarray, list[np.ndarray]]] = {}

    def predict(self, data: AlignedData, source: str, target: str, cells: np.ndarray) -> list[np.ndarray]:
        """As :meth:`Companions.predict`, of the same data in every call."""
        last = self._last.get((source, target))
        if last is None or not np.array_equal(last[0], cells):
            last = self._last[source, target] = cells, self._companions.predict(data, source, target, cells)
        return last[1]


def predict_cells(
    model: CoupledAE,
    companions: Companions | SharedCompanions,
    stacks: Stacks,
    data: AlignedData,
    latents: Mapping[str, torch.Tensor],
    target: str,
    cells: np.ndarray,
    batch_size: int | None = None,
    batch: int | None = None,
) -> np.ndarray:
    """Combined prediction of cells by one model and its companions, ``(len(cells), n_features)``, from latents by source."""
    sources = list(latents)

    def network(subset: tuple[str, ...], rows: np.ndarray) -> np.ndarray:
        return decode(model.module, latents_of(latents, subset, rows), target, batch_size, batch)[1]

    regressed: dict[str, list[np.ndarray]] = {}

    def companion(source: str, rows: np.ndarray) -> list[np.ndarray]:
        if source not in regressed:
            regressed[source] = companions.predict(data, source, target, cells)
        return [values[rows] for values in regressed[source]]

    present = np.stack([_informs(model, data, name, cells) for name in sources], axis=1)
    return combined(
        sources,
        target,
        present,
        stacks,
        network,
        companion,
        len(data.setup.features[target]),
    )


def _informs(model: CoupledAE, data: AlignedData, source: str, cells: np.ndarray) -> np.ndarray:
    """Boolean ``(len(cells),)``: which cells have a source, and not a class that no training cell of the model has."""
    present = data[source].present[cells]
    if source not in data.setup.labels:
        return present
    known = model.module.arm(source).likelihood.varies.cpu().numpy()
    return present & data[source].values(cells)[:, known].any(axis=1)


def latents_of(
    latents: Mapping[str, torch.Tensor], subset: Sequence[str], rows: np.ndarray
) -> dict[str, torch.Tensor]:
    """Latents of some sources and rows."""
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
        The models, and their companions, all of which have the same regressions.
    data
        The data.
    held_out
        Positions of the cells that each model was not trained on.
    """
    stacks: Stacks = {}
    for target in data.setup.arms:
        sources = models[0].module.sources[target]
        if not sources:
            continue
        usable = data[target].present & np.any([data[name].present for name in sources], axis=0)
        n_kept = max(MAX_VALUES // (len(models) * len(data.setup.features[target])), 10)
        parts = [
            _HeldOut(model, beside, data, target, _some(cells[usable[cells]], n_kept))
            for model, beside, cells in zip(models, companions, held_out, strict=True)
        ]
        mean, spread = mean_and_spread(np.concatenate([part.truth for part in parts]))
        for subset in subsets(sources):
            rows = [part.rows(subset) for part in parts]
            if not sum(map(len, rows)):
                continue
            predictions = [
                candidates(subset, target, stacks, part.network, part.companion, chosen)
                for part, chosen in zip(parts, rows, strict=True)
            ]
            together = [np.concatenate(found) for found in zip(*predictions, strict=True)]
            values = np.concatenate([part.truth[chosen] for part, chosen in zip(parts, rows, strict=True)])
            stacks[subset, target] = (
                Pool.fit(together, values)
                if target in data.setup.labels
                else Stack.fit(together, values, mean, spread)
            )
    return stacks


def _some(cells: np.ndarray, n_kept: int) -> np.ndarray:
    """At most ``n_kept`` of some cells, at random."""
    if len(cells) <= n_kept:
        return cells
    return np.sort(np.random.default_rng(0).choice(cells, n_kept, replace=False))


class _HeldOut:
    """Predictions of cells by one model that was not trained on them and its companions, each computed once.

    Parameters
    ----------
    model, companions
        The model, and its companions.
    data
        The data.
    target
        Name of the arm to predict.
    cells
        Positions of cells that have it.
    """

    def __init__(
        self, model: CoupledAE, companions: Companions, data: AlignedData, target: str, cells: np.ndarray
    ) -> None:
        self._model = model
        self._companions = companions
        self._data = data
        self._target = target
        self._cells = cells
        self._latents = {
            name: encode(model.module, data, name, cells) for name in model.module.sources[target]
        }
        self._decoded: dict[tuple[str, ...], np.ndarray] = {}
        self._regressed: dict[str, list[np.ndarray]] = {}
        self.truth = measured_values(model.module, data, target, cells).astype(np.float64)

    def rows(self, subset: tuple[str, ...]) -> np.ndarray:
        """Rows of the cells that have all sources."""
        return np.flatnonzero(np.all([self._data[name].present[self._cells] for name in subset], axis=0))

    def network(self, subset: tuple[str, ...], rows: np.ndarray) -> np.ndarray:
        """Prediction of rows by the network."""
        if subset not in self._decoded:
            latents = {name: self._latents[name] for name in subset}
            self._decoded[subset] = decode(self._model.module, latents, self._target)[1]
        return self._decoded[subset][rows]

    def companion(self, source: str, rows: np.ndarray) -> list[np.ndarray]:
        """Predictions of rows by the companions."""
        if source not in self._regressed:
            self._regressed[source] = self._companions.predict(self._data, source, self._target, self._cells)
        return [values[rows] for values in self._regressed[source]]
