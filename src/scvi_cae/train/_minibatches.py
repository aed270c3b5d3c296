"""Minibatches of cells for Lightning, drawn from data on the device or read in parts."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar

import lightning.pytorch as pl
import numpy as np
import torch

from scvi_cae._arguments import check_whole
from scvi_cae.data import StreamedData

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scvi_cae.data import ResidentData, Split
    from scvi_cae.module import Observation


#: Coupling losses are relative to covariances over a minibatch, so those that only measure them are large.
VALIDATION_MINIBATCH_SIZE = 8192
#: Every cell of a minibatch.
ALL = slice(None)
#: Smallest fraction of a minibatch's cells that are paired.
PAIRED_FRACTION = 0.5
#: Largest number of times that an epoch has a paired cell.
MAX_COPIES = 50
#: Steps of the default schedule: one for each pair, which more would overfit, but not fewer or more than these.
MIN_STEPS, MAX_STEPS = 100, 500
#: Smallest number of epochs of the default schedule, for large data, and largest, for small data.
MIN_EPOCHS, MAX_EPOCHS = 10, 100


def n_repeats(n_paired: int, n_cells: int, paired_fraction: float) -> int:
    """Extra repetitions of paired cells per epoch that make them ``paired_fraction`` of all cells drawn.

    No cell is in an epoch more than 50 times: very few pairs among very many cells are a smaller fraction.

    Parameters
    ----------
    n_paired, n_cells
        Numbers of paired cells and of all cells.
    paired_fraction
        The fraction.

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
    return min(max(math.ceil(needed - n_paired), 0), (MAX_COPIES - 1) * n_paired)


def part_of(
    data: ResidentData | StreamedData, minibatches: list[torch.Tensor], part: slice
) -> Iterator[dict[str, Observation]]:
    """Part of each minibatch.

    Streamed cells have a mask of each value only in minibatches with gaps. Processes that share a minibatch must
    compute the same sums, and the part of one may have gaps where that of another has none, so that all get such masks.
    """
    own = data.minibatches([cells[part] for cells in minibatches])
    if not isinstance(data, StreamedData) or part.step in (None, 1):
        yield from own
        return
    for minibatch in own:
        yield {name: x._replace(observed=x.observed.expand_as(x.values)) for name, x in minibatch.items()}


class Minibatches:
    """Minibatches of one epoch.

    Minibatches have the same size up to one cell, and each pattern of modalities has its share of every minibatch, up
    to one cell: no minibatch lacks pairs by chance, and averages over minibatches weight all cells equally. Where pairs
    are few relative to other cells, they are drawn several times per epoch.

    Parameters
    ----------
    data
        The data.
    cells
        Positions of the cells.
    patterns
        ``(len(cells),)`` code of each cell's pattern of modalities.
    batch_size
        Largest number of cells in a minibatch.
    shuffle
        Whether each epoch has new minibatches, rather than the same ones.
    stream
        Source of random numbers; torch's global generator by default.
    paired
        Boolean ``(len(cells),)``: which cells are paired.
    paired_fraction
        Smallest fraction of a minibatch's cells that are paired, if any are; see :func:`n_repeats`.

    Attributes
    ----------
    part
        The cells of each minibatch that this process uses, where several processes share it.
    n_cells
        Number of cells per epoch, repetitions included.
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
        self._n_minibatches = -(-self.n_cells // batch_size)
        self._shuffle = shuffle
        self._stream = stream
        self.part = ALL

    def __len__(self) -> int:
        return self._n_minibatches

    def draw(self) -> list[torch.Tensor]:
        """Positions of each minibatch's cells in an epoch."""
        cells, patterns = self._cells, self._patterns
        if self._n_repeats:
            copies, rest = divmod(self._n_repeats, len(self._paired))
            some = torch.randperm(len(self._paired), generator=self._stream)[:rest]
            again = torch.cat([self._paired.repeat(copies), self._paired[some]])
            cells, patterns = torch.cat([cells, cells[again]]), torch.cat([patterns, patterns[again]])
        if isinstance(self._data, StreamedData):
            # Cells that are stored together are drawn together; epochs that repeat each other have a seed of their own.
            stream = self._stream if self._shuffle else torch.Generator().manual_seed(0)
            order = self._data.order(cells.numpy(), patterns.numpy(), self._n_minibatches, stream)
            cells = cells[order]
        else:
            keys = patterns
            if self._shuffle:
                keys = keys + torch.rand(len(keys), dtype=keys.dtype, generator=self._stream)
            cells = cells[torch.argsort(keys, stable=True)]
        return [cells[i :: self._n_minibatches] for i in range(self._n_minibatches)]

    def __iter__(self) -> Iterator[dict[str, Observation]]:
        yield from part_of(self._data, self.draw(), self.part)


class BootstrapMinibatches:
    """Minibatches of cells drawn at random with replacement, as in the published code.

    Parameters
    ----------
    data
        The data.
    cells
        Positions of the cells.
    batch_size
        Number of cells in a minibatch.
    n_minibatches
        Number of minibatches in an epoch.
    stream
        Source of random numbers; torch's global generator by default.

    Attributes
    ----------
    part
        The cells of each minibatch that this process uses, where several processes share it.
    n_cells
        Number of cells per epoch, repetitions included.
    """

    def __init__(
        self,
        data: ResidentData | StreamedData,
        cells: np.ndarray,
        batch_size: int,
        n_minibatches: int,
        stream: torch.Generator | None = None,
    ) -> None:
        self._data = data
        self._cells = torch.from_numpy(cells)
        self._batch_size = batch_size
        self._n_minibatches = n_minibatches
        self.n_cells = n_minibatches * batch_size
        self._stream = stream
        self.part = ALL

    def __len__(self) -> int:
        return self._n_minibatches

    def draw(self) -> list[torch.Tensor]:
        """Positions of each minibatch's cells in an epoch."""
        size = (self._n_minibatches, self._batch_size)
        return list(self._cells[torch.randint(len(self._cells), size, generator=self._stream)])

    def __iter__(self) -> Iterator[dict[str, Observation]]:
        yield from part_of(self._data, self.draw(), self.part)


class Epoch:
    """All minibatches of an epoch as the only item of a loader.

    (Lightning takes a list for several loaders.)

    Parameters
    ----------
    minibatches
        The minibatches.
    """

    def __init__(self, minibatches: Iterable[dict[str, Observation]]) -> None:
        self.minibatches = minibatches

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Iterable[dict[str, Observation]]]:
        yield self.minibatches


AnyMinibatches = TypeVar("AnyMinibatches", bound=Minibatches | BootstrapMinibatches)


class CoupledDataSplitter(pl.LightningDataModule):
    """Training and validation minibatches of a split: the data splitter of scvi-tools' runner.

    Parameters
    ----------
    data
        The data.
    split
        Positions of training, validation and test cells.
    patterns
        ``(n_cells,)`` code of each cell's pattern of modalities.
    batch_size
        Largest number of cells in a training minibatch.
    bootstrap_batches
        Number of minibatches in an epoch, if they are drawn with replacement; by default every training cell is in
        one minibatch of an epoch.
    stream
        Source of random numbers; torch's global generator by default.
    paired
        Boolean ``(n_cells,)``: which cells have several modalities.
    paired_fraction
        Smallest fraction of a training minibatch's cells that are paired, unless minibatches are drawn with
        replacement. Where fewer are, paired cells are drawn several times per epoch, at most 50 times, so that a large
        reference of one modality does not leave a minibatch without the pairs that couple it to the others.
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
        check_whole(bootstrap_batches, "bootstrap_batches", optional=True)
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
        return len(self.train_minibatches())

    @property
    def default_epochs(self) -> int:
        """Number of epochs of the default schedule.

        As many steps as there are pairs, from 100 to 500; 500 without pairs. At most 100 epochs, and at least so many that
        every pair, or every cell without pairs, is drawn 10 times.
        """
        n_pairs, copies = int(self.paired[self.train_idx].sum()), 1.0
        if n_pairs and self.bootstrap_batches is None:
            copies += n_repeats(n_pairs, self.n_train, self.paired_fraction) / n_pairs
        steps = np.clip(n_pairs, MIN_STEPS, MAX_STEPS) if n_pairs else MAX_STEPS
        return min(max(math.ceil(steps / self.n_steps), math.ceil(MIN_EPOCHS / copies)), MAX_EPOCHS)

    def train_minibatches(self) -> Minibatches | BootstrapMinibatches:
        """Minibatches of training cells, new ones in each epoch."""
        cells, batch_size = self.train_idx, self.data_loader_kwargs["batch_size"]
        if self.bootstrap_batches is not None:
            return BootstrapMinibatches(self.data, cells, batch_size, self.bootstrap_batches, self.stream)
        return Minibatches(
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
        """An epoch of training cells as one Lightning batch."""
        return Epoch(self._share(self.train_minibatches()))

    def validation_minibatches(self) -> Minibatches:
        """Minibatches of validation cells."""
        patterns = self.patterns[self.val_idx]
        return Minibatches(self.data, self.val_idx, patterns, VALIDATION_MINIBATCH_SIZE, shuffle=False)

    def val_dataloader(self) -> Minibatches:
        """Minibatches of validation cells, the same in each epoch."""
        return self._share(self.validation_minibatches())

    def _share(self, minibatches: AnyMinibatches) -> AnyMinibatches:
        """Leave each process its own cells of the minibatches that all of them draw."""
        assert self.trainer is not None
        minibatches.part = slice(self.trainer.global_rank, None, self.trainer.world_size)
        return minibatches

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch: it is on the device already."""
        return batch
