"""What happens around the steps of a training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import lightning.pytorch as pl

if TYPE_CHECKING:
    import torch


class KeepBestWeights(pl.Callback):
    """Leave the module with its best weights, however training ends.

    The best epoch is the one with the least ``monitor``; without validation cells, the last complete epoch.
    Weights are kept in memory: Lightning's and scvi-tools' checkpoints write a folder for every improvement,
    which costs more than an epoch of a small network.

    Parameters
    ----------
    monitor
        Logged metric. The default leaves the couplings out: relative to the smallest variance among few
        validation cells, they are so noisy that they would drown the rest.

    Attributes
    ----------
    best_epoch
        Number of complete epochs behind the kept weights; 0 before the first one.
    n_epochs
        Number of complete epochs.
    """

    def __init__(self, monitor: str = "reconstruction_loss_validation") -> None:
        self.monitor = monitor
        self.best_epoch = 0
        self.n_epochs = 0
        self._best = math.inf
        self._weights: dict[str, torch.Tensor] | None = None

    def _keep(self, pl_module: pl.LightningModule) -> None:
        self._weights = {
            name: x.detach().clone() for name, x in pl_module.get_submodule("module").state_dict().items()
        }

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the initial weights, in case that no epoch completes."""
        self._keep(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights if they are the best so far."""
        self.n_epochs += 1
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and not value < self._best:
            return
        self.best_epoch = self.n_epochs
        self._best = math.inf if value is None else float(value)
        self._keep(pl_module)

    def _restore(self, pl_module: pl.LightningModule) -> None:
        if self._weights is not None:
            pl_module.get_submodule("module").load_state_dict(self._weights)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the best weights."""
        self._restore(pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Restore the best weights after Ctrl-C or an error, too."""
        self._restore(pl_module)


class StopOnDivergence(pl.Callback):
    """Stop with an error after an epoch that leaves weights that are not finite, before these are kept."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the weights."""
        if not all(x.isfinite().all() for x in pl_module.get_submodule("module").state_dict().values()):
            raise FloatingPointError(
                f"Training diverged in epoch {trainer.current_epoch + 1}: weights are no longer finite. The model "
                "keeps the best weights before it. Try a lower learning rate: train(plan_kwargs={'lr': ...})."
            )
