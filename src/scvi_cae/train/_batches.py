"""Batches of cells for Lightning, drawn from data that already lie on the device."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from scvi_cae.data import ResidentData, Split
    from scvi_cae.module import Observation


#: Coupling losses are relative to covariances over a batch, so that batches that only measure them are large.
VALIDATION_BATCH_SIZE = 8192


class Batches:
    """One pass over cells.

    Batches have the same size up to one cell, and each pattern of measured modalities has its share of every
    batch, up to one cell: pairs do not vanish from a batch by chance, and averages over batches weigh every cell
    alike.

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
    """

    def __init__(
        self, data: ResidentData, cells: np.ndarray, patterns: np.ndarray, batch_size: int, shuffle: bool
    ) -> None:
        self._data = data
        self._cells = torch.from_numpy(cells)
        self._patterns = torch.from_numpy(patterns).double()
        self._n_batches = -(-len(cells) // batch_size)
        self._shuffle = shuffle

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[dict[str, Observation]]:
        keys = self._patterns + torch.rand_like(self._patterns) if self._shuffle else self._patterns
        cells = self._cells[torch.argsort(keys, stable=True)].to(self._data.device)
        for i in range(self._n_batches):
            yield self._data.batch(cells[i :: self._n_batches])


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
    """

    def __init__(self, data: ResidentData, cells: np.ndarray, batch_size: int, n_batches: int) -> None:
        self._data = data
        self._cells = torch.from_numpy(cells)
        self._batch_size = batch_size
        self._n_batches = n_batches

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[dict[str, Observation]]:
        drawn = torch.randint(len(self._cells), (self._n_batches, self._batch_size))
        cells = self._cells[drawn].to(self._data.device)
        for i in range(self._n_batches):
            yield self._data.batch(cells[i])


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
    """

    def __init__(
        self,
        data: ResidentData,
        split: Split,
        patterns: np.ndarray,
        batch_size: int,
        bootstrap_batches: int | None = None,
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
        self.bootstrap_batches = None if bootstrap_batches is None else int(bootstrap_batches)

    def setup(self, stage: str) -> None:
        """Move the data to the trainer's device, once."""
        assert self.trainer is not None
        self.data.to(self.trainer.strategy.root_device)

    @property
    def n_steps(self) -> int:
        """Number of steps in an epoch."""
        return len(self._train_batches())

    def _train_batches(self) -> Batches | BootstrapBatches:
        batch_size = self.data_loader_kwargs["batch_size"]
        if self.bootstrap_batches is not None:
            return BootstrapBatches(self.data, self.train_idx, batch_size, self.bootstrap_batches)
        return Batches(self.data, self.train_idx, self.patterns[self.train_idx], batch_size, shuffle=True)

    def train_dataloader(self) -> list[Batches | BootstrapBatches]:
        """An epoch of training cells as one Lightning batch: batches, new ones in each epoch."""
        return [self._train_batches()]

    def val_dataloader(self) -> Batches:
        """Batches of validation cells."""
        patterns = self.patterns[self.val_idx]
        return Batches(self.data, self.val_idx, patterns, VALIDATION_BATCH_SIZE, shuffle=False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch: it is on the device already."""
        return batch
