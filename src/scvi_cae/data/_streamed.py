"""Batches of data that are too large to lie on a device: read from disk, or made dense, a part at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np
import torch

from ._order import block_order
from ._resident import ResidentData, tensor
from ._splits import presence_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scvi_cae.module import Observation

    from ._alignment import AlignedModality, CellBlock
    from ._labels import AlignedLabels
    from ._resident import Observe

#: Size of the modalities, made dense, that lie on the device, in gigabytes.
RESIDENT_GB = 2.0
#: Number of cells in memory at a time of modalities that do not.
BUFFER_SIZE = 65_536
#: Number of cells that are read together: enough to make up for the cost of a read, few beside the buffer.
BLOCK_SIZE = 1024


class StreamedData:
    """Modalities of which a part is in memory at a time; small ones lie on the device.

    A pass reads blocks of cells that are stored together, in random order, into a buffer, and makes batches of the
    buffer's cells in random order, while a thread reads the next buffer. What has been read stays as it is stored,
    sparse or dense; batches are made dense and standardised one by one. Cells of the rarest patterns of modalities,
    one buffer of them at most, are read once and kept, wherever they are stored: their share of each batch costs no
    search for them.

    Parameters
    ----------
    resident
        The aligned modalities that lie on the device.
    streamed
        Those that are read, at least one.
    observe
        For each modality, the function that makes an :class:`~scvi_cae.module.Observation` of raw values and batches.
    buffer_size
        Number of cells in a buffer. In memory are two buffers and, while one is read, a copy of it; and the cells
        that are kept.
    """

    def __init__(
        self,
        resident: Mapping[str, AlignedModality | AlignedLabels],
        streamed: Mapping[str, AlignedModality | AlignedLabels],
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

        Modalities may store them in different orders; the first that has a cell counts.
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
        """Move what lies on the device, and all batches to come, to another one."""
        self._resident.to(device)
        self._device = torch.device(device)

    @property
    def device(self) -> torch.device:
        """Where batches are made."""
        return self._device

    def _read(self, cells: np.ndarray) -> dict[str, CellBlock]:
        return {name: x.read(cells) for name, x in self._streamed.items()}

    def _assemble(self, loaded: Mapping[str, CellBlock], cells: np.ndarray) -> dict[str, Observation]:
        """Each modality of cells that are in memory."""
        kept = self._is_kept[cells]
        out = self._resident.batch(torch.from_numpy(cells).to(self._device))
        for name, block in loaded.items():
            values = block.values(cells)
            if kept.any():
                values[kept] = self._kept[name].values(cells[kept])
            batch = tensor(self._streamed[name].batch(cells), self._device)
            out[name] = self._observe[name](torch.from_numpy(values).to(self._device), batch)
        return {name: out[name] for name in self._names}

    def batch(self, cells: torch.Tensor) -> dict[str, Observation]:
        """Each modality of some cells, given by their positions; what is not kept is read."""
        positions = cells.cpu().numpy()
        return self._assemble(self._read(positions[~self._is_kept[positions]]), positions)

    def _n_at_once(self, n_cells: int, n_batches: int) -> int:
        """Number of batches that fill a buffer, at least one."""
        return max(self._buffer_size * n_batches // max(n_cells, 1), 1)

    def order(
        self, cells: np.ndarray, patterns: np.ndarray, n_batches: int, stream: torch.Generator | None = None
    ) -> np.ndarray:
        """Order of cells of which every ``n_batches``-th make a batch, for batches that are read one after another.

        Parameters
        ----------
        cells
            Positions of the cells.
        patterns
            ``(len(cells),)`` code of each cell's pattern of measured modalities.
        n_batches
            Number of batches.
        stream
            What random numbers are drawn from; torch's global generator by default.

        Returns
        -------
        Places in ``cells``.
        """
        blocks, places = np.divmod(self._address[cells], BLOCK_SIZE)
        n_at_once = self._n_at_once(len(cells), n_batches)
        return block_order(patterns, blocks, places, n_batches, n_at_once, stream)

    def batches(self, batches: Sequence[torch.Tensor]) -> Iterator[dict[str, Observation]]:
        """Batches of cells, given by their positions, in turn; while some are used, the next are read.

        Parameters
        ----------
        batches
            Positions of each batch's cells.
        """
        positions = [cells.cpu().numpy() for cells in batches]
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
    modalities: Mapping[str, AlignedModality | AlignedLabels],
    observe: Mapping[str, Observe],
    resident_gb: float = RESIDENT_GB,
    buffer_size: int = BUFFER_SIZE,
) -> ResidentData | StreamedData:
    """Data to draw batches from, on the device as far as they fit.

    The smallest modalities lie on the device as long as they, made dense, take ``resident_gb`` in all. The others
    are streamed from where they are, on disk or, sparse, in memory.

    Parameters
    ----------
    modalities
        The aligned modalities.
    observe
        For each modality, the function that makes an :class:`~scvi_cae.module.Observation` of raw values and batches.
    resident_gb
        Gigabytes (10⁹ bytes) of modalities that lie on the device: 0 to stream all, infinity to stream none.
    buffer_size
        Number of cells of streamed modalities that are in memory at a time, see :class:`StreamedData`.

    Raises
    ------
    ValueError
        If ``resident_gb`` is not a number of at least 0, or ``buffer_size`` not a whole number of at least 1.
    """
    if isinstance(resident_gb, bool) or not isinstance(resident_gb, Real) or not resident_gb >= 0:
        raise ValueError(f"resident_gb={resident_gb!r} must be a number of at least 0.")
    if isinstance(buffer_size, bool) or not isinstance(buffer_size, Integral) or buffer_size < 1:
        raise ValueError(f"buffer_size={buffer_size!r} must be a whole number of at least 1.")
    sizes = {name: 4e-9 * x.present.sum() * x.n_features for name, x in modalities.items()}
    by_size = sorted(sizes, key=lambda name: sizes[name])
    total = dict(zip(by_size, np.cumsum([sizes[name] for name in by_size]), strict=True))
    resident = {name: x for name, x in modalities.items() if total[name] <= resident_gb}
    streamed = {name: x for name, x in modalities.items() if name not in resident}
    if not streamed:
        return ResidentData(modalities, observe)
    return StreamedData(resident, streamed, observe, int(buffer_size))
