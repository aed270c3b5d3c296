"""Callbacks: best weights, and a stop at divergence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Metric of validation cells that every training with validation cells has: own and cross-modal reconstruction.
RECONSTRUCTION = "reconstruction_loss_validation"


class KeepBestWeights(pl.Callback):
    """Restore the best weights at the end of training, however it ends.

    The best epoch has the lowest sum of the metrics in ``monitor``; without validation cells or metrics, it is the last
    complete epoch. Weights are kept in memory, since the checkpoints of Lightning and scvi-tools write a folder at
    every improvement, which takes longer than an epoch of a small network.

    Parameters
    ----------
    monitor
        Names of logged metrics. The default leaves out the couplings, whose noise, relative to the covariances of few
        validation cells, would dominate the sum.
    after
        Number of epochs that are not compared; until then the last epoch counts as the best.

    Attributes
    ----------
    best_epoch
        Number of complete epochs behind the kept weights; 0 before the first one.
    n_epochs
        Number of complete epochs.
    """

    def __init__(self, monitor: Sequence[str] = (RECONSTRUCTION,), after: int = 0) -> None:
        self.monitor = tuple(monitor)
        self.after = after
        self.best_epoch = 0
        self.n_epochs = 0
        self._best = math.inf
        self._validated = False
        self._weights: dict[str, torch.Tensor] | None = None

    def _keep(self, pl_module: pl.LightningModule) -> None:
        self._weights = {
            name: x.detach().clone() for name, x in pl_module.get_submodule("module").state_dict().items()
        }

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the initial weights in case no epoch completes."""
        if self._weights is None:  # else the training is resumed
            self._keep(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that this epoch has been validated; others need not be."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights if they are the best so far."""
        self.n_epochs += 1
        metrics = trainer.callback_metrics
        if self.n_epochs > self.after and self.monitor and RECONSTRUCTION in metrics:
            validated, self._validated = self._validated, False
            value = float(sum(metrics[name] for name in self.monitor)) if validated else math.inf
            if not value < self._best:
                return
            self._best = value
        self.best_epoch = self.n_epochs
        self._keep(pl_module)

    def _restore(self, pl_module: pl.LightningModule) -> None:
        if self._weights is not None:
            pl_module.get_submodule("module").load_state_dict(self._weights)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the best weights."""
        self._restore(pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the best weights of a training that was complete when it was resumed, and does not start."""
        self._restore(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """State that a resumed training needs."""
        return {
            "best_epoch": self.best_epoch,
            "n_epochs": self.n_epochs,
            "best": self._best,
            "validated": self._validated,
            "weights": self._weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.best_epoch, self.n_epochs = state_dict["best_epoch"], state_dict["n_epochs"]
        self._best, self._validated = state_dict["best"], state_dict["validated"]
        self._weights = state_dict["weights"]

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Restore the best weights after Ctrl-C or an error."""
        self._restore(pl_module)


class StopOnDivergence(pl.Callback):
    """Stop with an error after an epoch that leaves weights that are not finite, before these are kept."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the weights."""
        state = pl_module.get_submodule("module").state_dict().values()
        if not torch.nn.utils.get_total_norm([x for x in state if x.is_floating_point()]).isfinite():
            raise FloatingPointError(
                f"Training diverged in epoch {trainer.current_epoch + 1}: weights are no longer finite. The model "
                "keeps the best weights before it. Try a lower learning rate: train(plan_kwargs={'lr': ...})."
            )
