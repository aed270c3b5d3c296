"""Updates of the weights, and metrics."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from scvi.train import TrainingPlan

from scvi_cae.module._reduce import across_processes

from ._callbacks import RECONSTRUCTION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scvi.module.base import LossOutput

    from scvi_cae.module import CoupledModule, Observation


class CoupledTrainingPlan(TrainingPlan):
    """AdamW with a one-cycle learning rate, metrics per epoch.

    The overhead of Lightning and scvi-tools around a step takes as long as a third of a step of a small network.
    Therefore an epoch is one Lightning batch: the steps are a plain loop, sums stay on the device until the epoch ends,
    and Lightning does everything between epochs.

    Parameters
    ----------
    module
        The network.
    lr
        Highest learning rate.
    weight_decay
        Decoupled weight decay.
    eps
        Adam's epsilon.
    optimizer
        ``"AdamW"``, ``"Adam"`` or, with ``optimizer_creator``, ``"Custom"``.
    schedule
        ``"one_cycle"`` warms up and anneals over all steps of the training
        (:class:`torch.optim.lr_scheduler.OneCycleLR`); ``"constant"`` keeps ``lr``.
    lr_scheduler_metric
        Metric that ``reduce_lr_on_plateau`` watches.
    anchor
        Weight in the loss of the sum of squared differences between the weights that learn and those that the training
        starts from (Li, Grandvalet and Davoine, "Explicit inductive bias for transfer learning with convolutional
        networks", ICML 2018).
    **kwargs
        Further arguments of :class:`scvi.train.TrainingPlan`.
    """

    def __init__(
        self,
        module: CoupledModule,
        *,
        lr: float = 1e-2,
        weight_decay: float = 0.05,
        eps: float = 1e-8,
        optimizer: Literal["Adam", "AdamW", "Custom"] = "AdamW",
        schedule: Literal["one_cycle", "constant"] = "one_cycle",
        lr_scheduler_metric: str = RECONSTRUCTION,
        anchor: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if not 0 <= anchor < float("inf"):
            raise ValueError(f"anchor={anchor!r} must be a number of at least 0.")
        if schedule not in ("one_cycle", "constant"):
            raise ValueError(f"schedule={schedule!r} must be 'one_cycle' or 'constant'.")
        super().__init__(
            module,
            lr=lr,
            weight_decay=weight_decay,
            eps=eps,
            optimizer=optimizer,
            lr_scheduler_metric=lr_scheduler_metric,
            **kwargs,
        )
        if self.loss_kwargs:
            raise TypeError(f"Unknown arguments of the training plan: {sorted(self.loss_kwargs)}.")
        self.schedule = schedule
        self.anchor = anchor
        # Of now, since a training that resumes starts from later weights.
        learning = [weights for weights in module.parameters() if weights.requires_grad]
        self._start = [(weights, weights.detach().clone()) for weights in learning] if anchor else []
        self.automatic_optimization = False
        self._sums: dict[str, torch.Tensor] = {}
        self._n_cells: dict[str, torch.Tensor] = {}
        self._names: dict[str, tuple[str, ...]] = {}

    def _optimizer_creator_fn(self, optimizer_cls: type[torch.optim.Adam] | type[torch.optim.AdamW]) -> Any:
        # One kernel for all tensors: unfused, the update of many small ones costs a tenth of a step.
        return partial(optimizer_cls, lr=self.lr, eps=self.eps, weight_decay=self.weight_decay, fused=True)

    def _accumulate(self, mode: str, output: LossOutput) -> None:
        self._names[mode] = tuple(output.extra_metrics)
        n_cells = output.n_obs_minibatch
        values = torch.stack([output.loss.detach(), *output.extra_metrics.values()]) * n_cells
        if mode in self._sums:
            self._sums[mode] += values
            self._n_cells[mode] += n_cells
        else:
            self._sums[mode], self._n_cells[mode] = values, n_cells

    def _means(self, mode: str) -> dict[str, torch.Tensor]:
        """Means of the epoch's metrics over its cells."""
        # Losses are over the cells of all processes, but their weights are this process's numbers of cells.
        means = across_processes(self._sums.pop(mode)) / across_processes(self._n_cells.pop(mode))
        loss_name = "train_loss" if mode == "train" else "validation_loss"
        names = (loss_name, *(f"{name}_{mode}" for name in self._names[mode]))
        return dict(zip(names, means.cpu(), strict=True))

    def _log(self, mode: str) -> None:
        metrics = self._means(mode)
        # Calling self.log for every term would cost as much as the rest of a small epoch.
        self.trainer.callback_metrics.update(metrics)
        if self.trainer.progress_bar_callback is not None:
            # The total has the couplings, of any sign, which say little by themselves.
            name = f"reconstruction_loss_{mode}"
            self.log(name, metrics[name], prog_bar=True, logger=False, sync_dist=True)
        scalars = {name: float(value) for name, value in metrics.items()}
        for logger in self.trainer.loggers:
            logger.log_metrics({**scalars, "epoch": self.current_epoch}, step=self.global_step)

    def _backward(self, loss: torch.Tensor) -> None:
        device = loss.device.type
        if not torch.is_autocast_enabled(device):
            self.manual_backward(loss)
            return
        # The gradient of what was computed in single precision is computed in single precision.
        with torch.autocast(device, enabled=False):
            self.manual_backward(loss)
        # Here one autocast context, in which older versions of Lightning cache halved weights, spans a whole epoch.
        torch.clear_autocast_cache()

    def on_train_start(self) -> None:
        """Move the weights that the training starts from to its device."""
        self._start = [(weights, start.to(weights.device)) for weights, start in self._start]

    def training_step(self, batch: Iterable[dict[str, Observation]], batch_idx: int) -> None:
        """Steps of an epoch."""
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        for observations in batch:
            optimizer.zero_grad()
            output = self.module(observations)[2]
            # Members, where there are several, do not share parameters.
            loss = output.loss.sum()
            if self._start:
                changes = [(weights - start).square().sum() for weights, start in self._start]
                loss = loss + self.anchor * torch.stack(changes).sum()
            self._backward(loss)
            optimizer.step()
            if self.schedule == "one_cycle":
                scheduler.step()
            self._accumulate("train", output)

    def validation_step(self, batch: dict[str, Observation], batch_idx: int) -> None:
        """Add one minibatch to the validation metrics."""
        self._accumulate("validation", self.module(batch)[2])

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the epoch's means over its training minibatches, before callbacks read them at its end."""
        self._log("train")

    def on_train_epoch_end(self) -> None:
        """Adapt the learning rate, if asked to."""
        if self.reduce_lr_on_plateau:
            self.lr_schedulers().step(self.trainer.callback_metrics[self.lr_scheduler_metric])

    def on_validation_epoch_end(self) -> None:
        """Log means over the validation cells."""
        self._log("validation")

    def configure_optimizers(self) -> dict[str, Any]:
        """Optimiser and schedule."""
        config = super().configure_optimizers()
        if self.reduce_lr_on_plateau:
            # Stepped by hand, at the end of an epoch.
            config["lr_scheduler"] = config["lr_scheduler"]["scheduler"]
        if self.schedule == "one_cycle":
            if self.reduce_lr_on_plateau:
                raise ValueError("reduce_lr_on_plateau needs schedule='constant'.")
            n_steps = self.trainer.datamodule.n_steps * self.trainer.max_epochs
            config["lr_scheduler"] = torch.optim.lr_scheduler.OneCycleLR(
                config["optimizer"], max_lr=self.lr, total_steps=n_steps
            )
        return config
