"""Minibatches of data that are too large for a device: read from disk, or made dense, in parts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import torch

from scvi_cae._arguments import check_whole

from ._order import block_order
from ._resident import ResidentData, tensor
from ._splits import presence_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scvi_cae.module import Observation

    from ._aligned import Aligned, CellBlock
    from ._resident import Observe

#: Size of the arms' data, made dense, that are kept on the device, in gigabytes.
RESIDENT_GB = 2.0
#: Number of cells of other data in memory at a time.
BUFFER_SIZE = 65_536
#: Number of cells read together: many enough for the cost of a read, few beside the buffer.
BLOCK_SIZE = 1024


class StreamedData:
    """Data of which a part is in memory at a time; those of small arms are kept on the device.

    An epoch reads blocks of cells that are stored together, in random order, into a buffer, and makes minibatches of
    the buffer's cells in random order, while a thread reads the next buffer. Data in the buffer remain as they are
    stored, sparse or dense; minibatches are made dense and standardised one by one. Cells of the rarest patterns of
    modalities, one buffer of them at most, are read once and kept, so that each minibatch gets its share without
    another read.

    Parameters
    ----------
    resident
        Aligned data that are kept on the device.
    streamed
        Aligned data that are read, of at least one arm.
    observe
        For each arm, the function that makes an :class:`~scvi_cae.module.Observation` of raw values and technical
        batches.
    buffer_size
        Number of cells in a buffer. Memory holds two buffers, a copy of the one that is being read, and the cells
        that are kept.
    """

    def __init__(
        self,
        resident: Mapping[str, Aligned],
        streamed: Mapping[str, Aligned],
        observe: Mapping[str, Observe],
        buffer_size: int = BUFFER_SIZE,
    ) -> None:
        self._names = [name for name in observe if name in resident or name in streamed]
        self._resident = ResidentData(resident, observe)
        self._streamed = dict(streamed)
        self._observe = dict(observe)
        self._buffer_size = buffer_size
        self._device = torch.device("cpu")
        self._address = self._addresses()
        self._is_kept = self._rarest({name: x.present for name, x in {**resident, **streamed}.items()})
        self._kept = self._read(np.flatnonzero(self._is_kept))

    def _addresses(self) -> np.ndarray:
        """``(n_cells,)`` place of each cell in the order in which cells are stored.

        Where modalities store cells in different orders, the first one that has a cell determines its place.
        """
        rows = np.stack([x.rows for x in self._streamed.values()])
        first = (rows >= 0).argmax(0)
        order = np.lexsort((np.take_along_axis(rows, first[None], 0)[0], first))
        address = np.empty_like(order)
        address[order] = np.arange(len(order))
        return address

    def _rarest(self, present: Mapping[str, np.ndarray]) -> np.ndarray:
        """Boolean ``(n_cells,)``: cells to read, of the rarest patterns that together fill one buffer at most."""
        patterns = presence_pattern(present)
        to_read = np.any([present[name] for name in self._streamed], axis=0)
        values, counts = np.unique(patterns[to_read], return_counts=True)
        rarest = np.argsort(counts, kind="stable")
        fitting = rarest[np.cumsum(counts[rarest]) <= self._buffer_size]
        return to_read & np.isin(patterns, values[fitting])

    def to(self, device: torch.device) -> None:
        """Move the data on the device, and all further minibatches, to another device."""
        self._resident.to(device)
        self._device = torch.device(device)

    @property
    def device(self) -> torch.device:
        """Device on which minibatches are made."""
        return self._device

    def _read(self, cells: np.ndarray) -> dict[str, CellBlock]:
        return {name: x.read(cells) for name, x in self._streamed.items()}

    def _assemble(self, loaded: Mapping[str, CellBlock], cells: np.ndarray) -> dict[str, Observation]:
        """Observations of cells that are in memory, by arm."""
        kept = self._is_kept[cells]
        out = self._resident.minibatch(torch.from_numpy(cells).to(self._device))
        for name, block in loaded.items():
            values = block.values(cells)
            if kept.any():
                values[kept] = self._kept[name].values(cells[kept])
            batches = tensor(self._streamed[name].batch_indicators(cells), self._device)
            out[name] = self._observe[name](torch.from_numpy(values).to(self._device), batches)
        return {name: out[name] for name in self._names}

    def minibatch(self, cells: torch.Tensor) -> dict[str, Observation]:
        """Observations of some cells, given by their positions, by arm; cells that are not kept are read."""
        positions = cells.cpu().numpy()
        return self._assemble(self._read(positions[~self._is_kept[positions]]), positions)

    def _n_at_once(self, n_cells: int, n_minibatches: int) -> int:
        """Number of minibatches that fill a buffer, at least one."""
        return max(self._buffer_size * n_minibatches // max(n_cells, 1), 1)

    def order(
        self,
        cells: np.ndarray,
        patterns: np.ndarray,
        n_minibatches: int,
        stream: torch.Generator | None = None,
    ) -> np.ndarray:
        """Order of cells of which every ``n_minibatches``-th makes a minibatch, for minibatches read in turn.

        Parameters
        ----------
        cells
            Positions of the cells.
        patterns
            ``(len(cells),)`` code of each cell's pattern of measured modalities.
        n_minibatches
            Number of minibatches.
        stream
            Source of random numbers; torch's global generator by default.

        Returns
        -------
        Places in ``cells``.
        """
        blocks, places = np.divmod(self._address[cells], BLOCK_SIZE)
        n_at_once = self._n_at_once(len(cells), n_minibatches)
        return block_order(patterns, blocks, places, n_minibatches, n_at_once, stream)

    def minibatches(self, minibatches: Sequence[torch.Tensor]) -> Iterator[dict[str, Observation]]:
        """Minibatches of cells, given by their positions, in turn; the next ones are read while some are used.

        Parameters
        ----------
        minibatches
            Positions of each minibatch's cells.
        """
        positions = [cells.cpu().numpy() for cells in minibatches]
        n_at_once = self._n_at_once(sum(map(len, positions)), len(positions))
        buffers = [positions[i : i + n_at_once] for i in range(0, len(positions), n_at_once)]
        wanted = [cells[~self._is_kept[cells]] for cells in map(np.concatenate, buffers)]
        with ThreadPoolExecutor(1, thread_name_prefix="scvi_cae-read") as reader:
            ahead = reader.submit(self._read, wanted[0]) if wanted else None
            for i, buffer in enumerate(buffers):
                assert ahead is not None
                loaded = ahead.result()
                # A reference to what has been read would keep it in memory for longer than it is used.
                ahead = reader.submit(self._read, wanted[i + 1]) if i + 1 < len(buffers) else None
                for cells in buffer:
                    yield self._assemble(loaded, cells)
                del loaded


def training_data(
    arms: Mapping[str, Aligned],
    observe: Mapping[str, Observe],
    resident_gb: float = RESIDENT_GB,
    buffer_size: int = BUFFER_SIZE,
) -> ResidentData | StreamedData:
    """Data to draw minibatches from, on the device as far as they fit.

    The data of the smallest arms are kept on the device, as long as they take at most ``resident_gb`` in total when
    made dense. Others are streamed from disk or, if they are sparse, from memory.

    Parameters
    ----------
    arms
        Aligned data of each arm.
    observe
        For each arm, the function that makes an :class:`~scvi_cae.module.Observation` of raw values and technical
        batches.
    resident_gb
        Gigabytes (10⁹ bytes) of data to keep on the device: 0 to stream all, infinity to stream none.
    buffer_size
        Number of streamed cells in memory at a time, see :class:`StreamedData`.

    Raises
    ------
    ValueError
        If ``resident_gb`` is not a number of at least 0, or ``buffer_size`` not a whole number of at least 1.
    """
    if isinstance(resident_gb, bool) or not isinstance(resident_gb, Real) or not resident_gb >= 0:
        raise ValueError(f"resident_gb={resident_gb!r} must be a number of at least 0.")
    check_whole(buffer_size, "buffer_size")
    sizes = {name: 4e-9 * x.present.sum() * x.n_features for name, x in arms.items()}
    by_size = sorted(sizes, key=lambda name: sizes[name])
    total = dict(zip(by_size, np.cumsum([sizes[name] for name in by_size]), strict=True))
    resident = {name: x for name, x in arms.items() if total[name] <= resident_gb}
    streamed = {name: x for name, x in arms.items() if name not in resident}
    if not streamed:
        return ResidentData(arms, observe)
    return StreamedData(resident, streamed, observe, int(buffer_size))
