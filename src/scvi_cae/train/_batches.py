"""Batches of cells for Lightning, drawn from data that lie on the device, or are read a part at a time."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

import lightning.pytorch as pl
import numpy as np
import torch

from scvi_cae.data import StreamedData

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scvi_cae.data import ResidentData, Split
    from scvi_cae.module import Observation


#: Coupling losses are relative to covariances over a batch, so that batches that only measure them are large.
VALIDATION_BATCH_SIZE = 8192
#: Every cell of a batch.
ALL = slice(None)
#: Least fraction of a batch's cells that have several modalities.
PAIRED_FRACTION = 0.5


def n_repeats(n_paired: int, n_cells: int, paired_fraction: float) -> int:
    """How often paired cells come again in a pass, in all, so that they are ``paired_fraction`` of it.

    Parameters
    ----------
    n_paired, n_cells
        Numbers of paired cells, and of all.
    paired_fraction
        The least fraction.

    Raises
    ------
    ValueError
        If ``paired_fraction`` is not a number of at least 0 and below 1.
    """
    if not isinstance(paired_fraction, Real) or not 0 <= paired_fraction < 1:
        raise ValueError(f"paired_fraction={paired_fraction!r} must be a number of at least 0 and below 1.")
    if not n_paired:
        return 0
    needed = paired_fraction / (1 - paired_fraction) * (n_cells - n_paired)
    return max(math.ceil(needed - n_paired), 0)


def part_of(
    data: ResidentData | StreamedData, batches: list[torch.Tensor], part: slice
) -> Iterator[dict[str, Observation]]:
    """Some cells of each batch.

    Streamed cells have masks of values only in batches with gaps. Processes that share a batch must compute the same
    sums, and one's part may have gaps where another's has none: then all have them.
    """
    own = data.batches([cells[part] for cells in batches])
    if not isinstance(data, StreamedData) or part.step in (None, 1):
        yield from own
        return
    for batch in own:
        yield {name: x._replace(observed=x.observed.expand_as(x.values)) for name, x in batch.items()}


class Batches:
    """One pass over cells.

    Batches have the same size up to one cell, and each pattern of measured modalities has its share of every
    batch, up to one cell: pairs do not vanish from a batch by chance, and averages over batches weigh every cell
    alike. Where pairs are few beside other cells, they come several times in a pass.

    Parameters
    ----------
    data
        The data.
    cells
        Positions of the cells.
    patterns
        ``(len(cells),)`` code of each cell's pattern of measured modalities.
    batch_size
        Largest number of cells in a batch.
    shuffle
        Whether each pass makes new batches, rather than the same ones.
    stream
        What random numbers are drawn from; torch's global generator by default.
    paired
        Boolean ``(len(cells),)``: which cells are paired.
    paired_fraction
        Least fraction of a batch's cells that are paired, if there are any.

    Attributes
    ----------
    part
        Which cells of each batch come, where several processes share it.
    n_cells
        Number of cells in a pass, each as often as it comes.
    """

    def __init__(
        self,
        data: ResidentData | StreamedData,
        cells: np.ndarray,
        patterns: np.ndarray,
        batch_size: int,
        shuffle: bool,
        stream: torch.Generator | None = None,
        paired: np.ndarray | None = None,
        paired_fraction: float = 0.0,
    ) -> None:
        self._data = data
        self._cells = torch.from_numpy(cells)
        self._patterns = torch.from_numpy(patterns).double()
        self._paired = torch.from_numpy(np.flatnonzero(() if paired is None else paired))
        self._n_repeats = n_repeats(len(self._paired), len(cells), paired_fraction)
        self.n_cells = len(cells) + self._n_repeats
        self._n_batches = -(-self.n_cells // batch_size)
        self._shuffle = shuffle
        self._stream = stream
        self.part = ALL

    def __len__(self) -> int:
        return self._n_batches

    def deal(self) -> list[torch.Tensor]:
        """Positions of each batch's cells in a pass."""
        cells, patterns = self._cells, self._patterns
        if self._n_repeats:
            copies, rest = divmod(self._n_repeats, len(self._paired))
            some = torch.randperm(len(self._paired), generator=self._stream)[:rest]
            again = torch.cat([self._paired.repeat(copies), self._paired[some]])
            cells, patterns = torch.cat([cells, cells[again]]), torch.cat([patterns, patterns[again]])
        if isinstance(self._data, StreamedData):
            # Cells that are stored together come together; a pass that is to repeat itself has its own seed.
            stream = self._stream if self._shuffle else torch.Generator().manual_seed(0)
            order = self._data.order(cells.numpy(), patterns.numpy(), self._n_batches, stream)
            cells = cells[order]
        else:
            keys = patterns
            if self._shuffle:
                keys = keys + torch.rand(len(keys), dtype=keys.dtype, generator=self._stream)
            cells = cells[torch.argsort(keys, stable=True)]
        return [cells[i :: self._n_batches] for i in range(self._n_batches)]

    def __iter__(self) -> Iterator[dict[str, Observation]]:
        yield from part_of(self._data, self.deal(), self.part)


class BootstrapBatches:
    """Batches of cells drawn at random with replacement, as the published code trained.

    Parameters
    ----------
    data
        The data.
    cells
        Positions of the cells.
    batch_size
        Number of cells in a batch.
    n_batches
        Number of batches in an epoch.
    stream
        What random numbers are drawn from; torch's global generator by default.

    Attributes
    ----------
    part
        Which cells of each batch come, where several processes share it.
    n_cells
        Number of cells in a pass, each as often as it comes.
    """

    def __init__(
        self,
        data: ResidentData | StreamedData,
        cells: np.ndarray,
        batch_size: int,
        n_batches: int,
        stream: torch.Generator | None = None,
    ) -> None:
        self._data = data
        self._cells = torch.from_numpy(cells)
        self._batch_size = batch_size
        self._n_batches = n_batches
        self.n_cells = n_batches * batch_size
        self._stream = stream
        self.part = ALL

    def __len__(self) -> int:
        return self._n_batches

    def deal(self) -> list[torch.Tensor]:
        """Positions of each batch's cells in a pass."""
        size = (self._n_batches, self._batch_size)
        return list(self._cells[torch.randint(len(self._cells), size, generator=self._stream)])

    def __iter__(self) -> Iterator[dict[str, Observation]]:
        yield from part_of(self._data, self.deal(), self.part)


class Epoch:
    """All batches of an epoch as the only item of a loader.

    (A list would be taken for several loaders.)

    Parameters
    ----------
    batches
        The batches.
    """

    def __init__(self, batches: Iterable[dict[str, Observation]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Iterable[dict[str, Observation]]]:
        yield self.batches


AnyBatches = TypeVar("AnyBatches", bound=Batches | BootstrapBatches)


class CoupledDataSplitter(pl.LightningDataModule):
    """Training and validation batches of a split; what scvi-tools' runner expects of a data splitter.

    Parameters
    ----------
    data
        The data.
    split
        Positions of training, validation and test cells.
    patterns
        ``(n_cells,)`` code of every cell's pattern of measured modalities.
    batch_size
        Largest number of cells in a training batch.
    bootstrap_batches
        Number of batches in an epoch, if they are drawn with replacement; by default every training cell is in one
        batch of an epoch.
    stream
        What batches are drawn from; torch's global generator by default.
    paired
        Boolean ``(n_cells,)``: which cells have several modalities.
    paired_fraction
        Least fraction of a training batch's cells that have, unless batches are drawn with replacement: where there are
        fewer, such cells come several times in an epoch, so that a large reference of one modality does not leave a
        batch without the pairs that couple it to the others.
    """

    def __init__(
        self,
        data: ResidentData | StreamedData,
        split: Split,
        patterns: np.ndarray,
        batch_size: int,
        bootstrap_batches: int | None = None,
        stream: torch.Generator | None = None,
        paired: np.ndarray | None = None,
        paired_fraction: float = PAIRED_FRACTION,
    ) -> None:
        super().__init__()

        # bool is a kind of int
        if bootstrap_batches is not None and (
            not isinstance(bootstrap_batches, Integral)
            or isinstance(bootstrap_batches, bool)
            or bootstrap_batches < 1
        ):
            raise ValueError(f"bootstrap_batches={bootstrap_batches!r} must be a whole number of at least 1.")
        self.data = data
        self.patterns = patterns
        self.train_idx, self.val_idx, self.test_idx = split.train, split.validation, split.test
        self.n_train, self.n_val = len(split.train), len(split.validation)
        # Read by scvi-tools when it logs a run to mlflow.
        self.train_size = self.n_train / (self.n_train + self.n_val + len(split.test))
        self.data_loader_kwargs = {"batch_size": batch_size}
        self.stream = stream
        self.paired = np.zeros(len(patterns), dtype=bool) if paired is None else paired
        self.paired_fraction = paired_fraction
        self.bootstrap_batches = None if bootstrap_batches is None else int(bootstrap_batches)

    def setup(self, stage: str) -> None:
        """Move the data to the trainer's device, once."""
        assert self.trainer is not None
        self.data.to(self.trainer.strategy.root_device)

    @property
    def n_steps(self) -> int:
        """Number of steps in an epoch."""
        return len(self.train_batches())

    def train_batches(self) -> Batches | BootstrapBatches:
        """Batches of training cells, new ones in each pass."""
        cells, batch_size = self.train_idx, self.data_loader_kwargs["batch_size"]
        if self.bootstrap_batches is not None:
            return BootstrapBatches(self.data, cells, batch_size, self.bootstrap_batches, self.stream)
        return Batches(
            self.data,
            cells,
            self.patterns[cells],
            batch_size,
            shuffle=True,
            stream=self.stream,
            paired=self.paired[cells],
            paired_fraction=self.paired_fraction,
        )

    def train_dataloader(self) -> Epoch:
        """An epoch of training cells as one Lightning batch: batches, new ones in each epoch."""
        return Epoch(self._share(self.train_batches()))

    def validation_batches(self) -> Batches:
        """Batches of validation cells."""
        patterns = self.patterns[self.val_idx]
        return Batches(self.data, self.val_idx, patterns, VALIDATION_BATCH_SIZE, shuffle=False)

    def val_dataloader(self) -> Batches:
        """Batches of validation cells, the same in each epoch."""
        return self._share(self.validation_batches())

    def _share(self, batches: AnyBatches) -> AnyBatches:
        """Leave each process its own cells of the batches that all of them draw."""
        assert self.trainer is not None
        batches.part = slice(self.trainer.global_rank, None, self.trainer.world_size)
        return batches

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch: it is on the device already."""
        return batch
