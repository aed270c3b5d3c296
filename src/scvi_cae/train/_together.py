"""Many trainings in one: members of a stacked module, each with cells, random numbers and best weights of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import pandas as pd
import torch

from ._callbacks import RECONSTRUCTION
from ._minibatches import Epoch
from ._plan import CoupledTrainingPlan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from scvi_cae.data import StackedData
    from scvi_cae.module import Observation

    from ._minibatches import BootstrapMinibatches, CoupledDataSplitter, Minibatches


class StackedMinibatches:
    """Minibatches of all members side by side.

    Parameters
    ----------
    data
        The data.
    members
        Each member's own minibatches, the same number for all. Shorter ones are padded.
    """

    def __init__(self, data: StackedData, members: Sequence[Minibatches | BootstrapMinibatches]) -> None:
        self._data = data
        self._members = members

    def __iter__(self) -> Iterator[dict[str, Observation]]:
        for cells in zip(*(member.draw() for member in self._members), strict=True):
            padded = torch.nn.utils.rnn.pad_sequence(
                list(cells), batch_first=True, padding_value=self._data.padding
            )
            yield self._data.minibatch(padded.to(self._data.device))


class StackedDataModule(pl.LightningDataModule):
    """Training and validation minibatches of members.

    Parameters
    ----------
    data
        The data.
    members
        Data splitter of each member.
    """

    def __init__(self, data: StackedData, members: Sequence[CoupledDataSplitter]) -> None:
        super().__init__()
        self._data = data
        self._members = members
        self.n_steps = members[0].n_steps

    def setup(self, stage: str) -> None:
        """Move the data to the trainer's device, once."""
        assert self.trainer is not None
        self._data.to(self.trainer.strategy.root_device)

    def train_dataloader(self) -> Epoch:
        """An epoch as one Lightning batch."""
        return Epoch(StackedMinibatches(self._data, [member.train_minibatches() for member in self._members]))

    def val_dataloader(self) -> StackedMinibatches:
        """Minibatches of validation cells."""
        return StackedMinibatches(self._data, [member.validation_minibatches() for member in self._members])

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch: it is on the device already."""
        return batch


class StackedTrainingPlan(CoupledTrainingPlan):
    """:class:`CoupledTrainingPlan` of a stacked module: the same steps, metrics by member.

    Attributes
    ----------
    metrics
        The latest metrics, ``(n_members,)`` each.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.reduce_lr_on_plateau:
            raise ValueError(
                "reduce_lr_on_plateau depends on the metrics of one model; train such models one by one."
            )
        self.metrics: dict[str, torch.Tensor] = {}
        self._history: dict[str, dict[int, np.ndarray]] = {}

    def _log(self, mode: str) -> None:
        self.metrics |= self._means(mode)
        for name in self.metrics:
            if name.endswith(mode) or name.startswith(mode):
                self._history.setdefault(name, {})[self.current_epoch] = self.metrics[name].numpy()
        self.trainer.callback_metrics.update({name: x.mean() for name, x in self.metrics.items()})

    def history(self, member: int, n_epochs: int) -> dict[str, pd.DataFrame]:
        """A member's history, as :attr:`scvi_cae.CoupledAE.history`, of its first epochs."""
        tables = {}
        for name, values in self._history.items():
            epochs = [epoch for epoch in values if epoch < n_epochs]
            index = pd.Index(epochs, name="epoch")
            tables[name] = pd.DataFrame(
                {name: [float(values[epoch][member]) for epoch in epochs]}, index=index
            )
        return tables


class KeepBestOfEach(pl.Callback):
    """:class:`KeepBestWeights`, early stopping and the check for divergence, for each member by itself.

    Parameters
    ----------
    n_members
        Number of members.
    monitor
        Names of metrics whose sum is compared between epochs; none for the last epoch.
    after
        Number of epochs that are not compared.
    patience
        Number of epochs without improvement of the reconstruction loss after which a member stops; ``None`` to run all.
    min_delta
        Smallest decrease that counts as an improvement.

    Attributes
    ----------
    weights
        State dictionary of each member's best weights, stacked.
    n_epochs
        ``(n_members,)`` number of epochs that each member was trained for.
    diverged
        Boolean ``(n_members,)``: members whose weights are no longer finite.
    """

    def __init__(
        self,
        n_members: int,
        monitor: Sequence[str],
        after: int,
        patience: int | None = None,
        min_delta: float = 0.0,
    ) -> None:
        self.monitor = tuple(monitor)
        self.after = after
        self.patience = patience
        self.min_delta = min_delta
        self.weights: dict[str, torch.Tensor] = {}
        self.n_epochs = torch.zeros(n_members, dtype=torch.int64)
        self.diverged = torch.zeros(n_members, dtype=torch.bool)
        self._running = torch.ones(n_members, dtype=torch.bool)
        self._best = torch.full((n_members,), math.inf)
        self._lowest = torch.full((n_members,), math.inf)
        self._waited = torch.zeros(n_members, dtype=torch.int64)
        self._validated = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the initial weights in case no epoch completes."""
        state = pl_module.get_submodule("module").state_dict()
        self.weights = {name: x.detach().clone() for name, x in state.items()}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that this epoch has been validated."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights of the members that improved; stop when all have stopped."""
        assert isinstance(pl_module, StackedTrainingPlan)
        state = pl_module.module.state_dict()
        finite = torch.stack([x.flatten(1).isfinite().all(1) for x in state.values()]).all(0).cpu()
        self.diverged |= self._running & ~finite
        self._running &= finite
        self.n_epochs += self._running
        keep = self._running.clone()
        epoch = trainer.current_epoch + 1
        if epoch > self.after and self.monitor and RECONSTRUCTION in pl_module.metrics:
            value = sum((pl_module.metrics[name] for name in self.monitor), torch.zeros(()))
            keep &= (value < self._best) & self._validated
            self._best = torch.where(keep, value, self._best)
        if keep.any():
            chosen = keep.to(next(iter(state.values())).device)
            for name, x in state.items():
                self.weights[name][chosen] = x[chosen]
        if self.patience is not None and self._validated:
            value = pl_module.metrics[RECONSTRUCTION]
            improved = value < self._lowest - self.min_delta
            self._lowest = torch.where(improved, value, self._lowest)
            self._waited = torch.where(improved, 0, self._waited + 1)
            self._running &= self._waited < self.patience
        self._validated = False
        if not self._running.any():
            trainer.should_stop = True
