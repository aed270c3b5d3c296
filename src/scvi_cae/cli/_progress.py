"""Progress of a training, on stderr: scvi-tools' own bar writes to stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    import torch


class TrainingProgress(pl.Callback):
    """A bar of epochs with the latest losses; without a terminal, only its last state is printed."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("Training, epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        # A resumed training has epochs behind it.
        done = trainer.current_epoch
        self._task = self._progress.add_task("", total=trainer.max_epochs, completed=done, losses="")
        if trainer.is_global_zero:
            self._progress.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move it on."""

        def shown(name: str) -> str:
            value: torch.Tensor | None = trainer.callback_metrics.get(f"reconstruction_loss_{name}")
            return "" if value is None else f"{name} {float(value):.3f}"

        losses = " ".join(filter(None, map(shown, ("train", "validation"))))
        self._progress.update(self._task, advance=1, losses=f"reconstruction loss: {losses}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave it as it is."""
        self._progress.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave it as it is, and the terminal in order."""
        self._progress.stop()
