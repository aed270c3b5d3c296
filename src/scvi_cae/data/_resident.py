"""Observations of all cells on a device, of which minibatches are index selections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from scvi_cae.module import Observation

    from ._aligned import Aligned

    #: Function from raw values and indicators of technical batches to an observation.
    Observe = Callable[[torch.Tensor, torch.Tensor | None], Observation]


def tensor(values: np.ndarray | None, device: torch.device | str = "cpu") -> torch.Tensor | None:
    """An array as a tensor on a device; ``None`` stays ``None``.

    Parameters
    ----------
    values
        The array.
    device
        The device.
    """
    return None if values is None else torch.from_numpy(values).to(device)


def _observed(aligned: Aligned, cells: np.ndarray, observe: Observe) -> Observation:
    """Observation of some cells and of one more that lacks the modality, without a second copy of the values."""
    n_features = aligned.n_features
    batches = tensor(aligned.batch_indicators(cells[:1]))
    absent = observe(
        torch.full((1, n_features), torch.nan),
        None if batches is None else batches.new_zeros(1, batches.shape[1]),
    )
    out = absent.map(lambda part: part.new_zeros(len(cells) + 1, *part.shape[1:]))
    if out.observed.shape[1] > 1:
        out = out._replace(observed=out.observed[:, :1].clone())
    for places, values in aligned.chunks(cells):
        part = observe(torch.from_numpy(values), tensor(aligned.batch_indicators(cells[places])))
        rows = torch.from_numpy(places)
        if part.observed.shape[1] > out.observed.shape[1]:
            # The first missing value: from here on the mask is by value.
            out = out._replace(observed=out.observed.repeat(1, n_features))
        for whole, piece in zip(out, part, strict=True):
            if whole is not None and piece is not None:
                whole[rows] = piece
    return out


def take(observation: Observation, rows: torch.Tensor) -> Observation:
    """Rows of an observation, in the shape of ``rows``."""
    if rows.dim() == 1:
        return observation.map(lambda part: part.index_select(0, rows))
    flat = rows.flatten()
    return observation.map(lambda part: part.index_select(0, flat).unflatten(0, rows.shape))


def concatenate(observations: Sequence[Observation]) -> Observation:
    """Observations of the same shapes, one after another."""
    values, observed, present, weights = zip(*observations, strict=True)
    batch_weights = None if weights[0] is None else torch.cat(weights)
    return type(observations[0])(torch.cat(values), torch.cat(observed), torch.cat(present), batch_weights)


class ResidentData:
    """Observations of all cells as tensors on a device.

    Each arm stores only the cells that have it, plus one absent row, to which all other cells refer.

    Parameters
    ----------
    arms
        Aligned data of each arm.
    observe
        For each arm, the function that makes an :class:`~scvi_cae.module.Observation` of raw values and technical
        batches.
    """

    def __init__(
        self,
        arms: Mapping[str, Aligned],
        observe: Mapping[str, Observe],
    ) -> None:
        self._observations: dict[str, Observation] = {}
        self._rows: dict[str, torch.Tensor] = {}
        for name, aligned in arms.items():
            cells = np.flatnonzero(aligned.present)
            self._observations[name] = _observed(aligned, cells, observe[name])
            rows = np.full(len(aligned.present), len(cells))
            rows[cells] = np.arange(len(cells))
            self._rows[name] = torch.from_numpy(rows)

    def to(self, device: torch.device) -> None:
        """Move the data to a device."""
        self._observations = {
            name: x.map(lambda part: part.to(device)) for name, x in self._observations.items()
        }
        self._rows = {name: rows.to(device) for name, rows in self._rows.items()}

    @property
    def device(self) -> torch.device:
        """Device of the data."""
        return next(iter(self._rows.values())).device

    def minibatch(self, cells: torch.Tensor) -> dict[str, Observation]:
        """Observations of some cells, given by their positions, by arm."""
        out = {}
        for name, x in self._observations.items():
            rows = self._rows[name].index_select(0, cells)
            out[name] = take(x, rows)
        return out

    def minibatches(self, minibatches: Iterable[torch.Tensor]) -> Iterator[dict[str, Observation]]:
        """Minibatches of cells, given by their positions, in turn."""
        return (self.minibatch(cells.to(self.device)) for cells in minibatches)


class StackedData:
    """Observations of the same cells under several standardisations, for members that are trained together.

    Parameters
    ----------
    data
        The data under each standardisation.
    member_data
        For each member, the position of its data among these.

    Attributes
    ----------
    padding
        Position that stands for no cell, to fill up minibatches.
    """

    def __init__(self, data: Sequence[ResidentData], member_data: Sequence[int]) -> None:
        self._rows = {
            # One more cell, which has no modality, is padding.
            name: torch.cat([rows, rows.new_tensor([len(data[0]._observations[name].values) - 1])])
            for name, rows in data[0]._rows.items()
        }
        self.padding = len(next(iter(data[0]._rows.values())))
        self._observations = {name: concatenate([d._observations[name] for d in data]) for name in self._rows}
        self._member_data = torch.tensor(member_data)[:, None]
        self._n_data = len(data)

    def to(self, device: torch.device) -> None:
        """Move the data to a device."""
        self._observations = {
            name: x.map(lambda part: part.to(device)) for name, x in self._observations.items()
        }
        self._rows = {name: rows.to(device) for name, rows in self._rows.items()}
        self._member_data = self._member_data.to(device)

    @property
    def device(self) -> torch.device:
        """Device of the data."""
        return self._member_data.device

    def minibatch(self, cells: torch.Tensor) -> dict[str, Observation]:
        """Observations of each member's cells: ``(n_members, n_cells)`` positions, ``padding`` for none."""
        out = {}
        for name, x in self._observations.items():
            rows = self._rows[name][cells] + self._member_data * (len(x.values) // self._n_data)
            out[name] = take(x, rows)
        return out
