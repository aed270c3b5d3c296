"""Batches of cells for Lightning, drawn from data that already lie on the device."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import torch

from scvi_cae.data import presence_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scvi_cae.data import ResidentData, Split
    from scvi_cae.module import Observation


class TrainingBatches:
    """One pass over the training cells, in a new order each time.

    Batches have the same size up to one cell, at most ``batch_size``, and each pattern of measured modalities
    has its share of every batch, up to one cell: pairs do not vanish from a batch by chance.

    Parameters
    ----------
    data
        The data.
    cells
        Positions of the training cells.
    patterns
        Code of each training cell's pattern of measured modalities.
    batch_size
        Largest number of cells in a batch.
    """

    def __init__(self, data: ResidentData, cells: np.ndarray, patterns: np.ndarray, batch_size: int) -> None:
        self._data = data
        self._cells = torch.from_numpy(cells)
        self._patterns = torch.from_numpy(patterns)
        self._n_batches = -(-len(cells) // batch_size)

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[dict[str, Observation]]:
        # float64 holds code + random part exactly enough for any number of patterns.
        order = torch.argsort(self._patterns + torch.rand(len(self._cells), dtype=torch.float64))
        cells = self._cells[order].to(self._data.device)
        for i in range(self._n_batches):
            yield self._data.batch(cells[i :: self._n_batches])


class ValidationBatches:
    """The validation cells, in the same batches each time.

    As in training, each pattern of measured modalities has its share of every batch, up to one cell: averages over
    batches then weigh every cell alike.

    Parameters
    ----------
    data
        The data.
    cells
        Positions of the validation cells.
    patterns
        Code of each validation cell's pattern of measured modalities.
    batch_size
        Largest number of cells in a batch. Coupling losses are relative to covariances over a batch, so that
        batches here are large.
    """

    def __init__(
        self, data: ResidentData, cells: np.ndarray, patterns: np.ndarray, batch_size: int = 8192
    ) -> None:
        self._data = data
        self._cells = torch.from_numpy(cells[np.argsort(patterns, kind="stable")])
        self._n_batches = -(-len(cells) // batch_size)

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[dict[str, Observation]]:
        cells = self._cells.to(self._data.device)
        for i in range(self._n_batches):
            yield self._data.batch(cells[i :: self._n_batches])


class CoupledDataSplitter(pl.LightningDataModule):
    """Training and validation batches of a split; what scvi-tools' runner expects of a data splitter.

    Parameters
    ----------
    data
        The data.
    split
        Positions of training, validation and test cells.
    batch_size
        Largest number of cells in a training batch.
    """

    def __init__(self, data: ResidentData, split: Split, batch_size: int) -> None:
        super().__init__()
        self.data = data
        self.train_idx, self.val_idx, self.test_idx = split.train, split.validation, split.test
        self.n_train, self.n_val = len(split.train), len(split.validation)
        # Read by scvi-tools when it logs a run to mlflow.
        self.train_size = self.n_train / (self.n_train + self.n_val + len(split.test))
        self.data_loader_kwargs = {"batch_size": batch_size}

    def setup(self, stage: str) -> None:
        """Move the data to the trainer's device, once."""
        assert self.trainer is not None
        self.data.to(self.trainer.strategy.root_device)

    def train_dataloader(self) -> TrainingBatches:
        """Batches of training cells."""
        batch_size = self.data_loader_kwargs["batch_size"]
        return TrainingBatches(self.data, self.train_idx, self._patterns[self.train_idx], batch_size)

    def val_dataloader(self) -> ValidationBatches:
        """Batches of validation cells."""
        return ValidationBatches(self.data, self.val_idx, self._patterns[self.val_idx])

    @cached_property
    def _patterns(self) -> np.ndarray:
        return presence_pattern(self.data.present)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch: it is on the device already."""
        return batch
