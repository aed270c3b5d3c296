"""Training progress on stderr; the progress bar of scvi-tools writes to stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    import torch


class TrainingProgress(pl.Callback):
    """Progress bar of epochs with the current losses; without a terminal, only its final state is printed."""

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
        # A resumed training does not start at epoch 0.
        done = trainer.current_epoch
        self._task = self._progress.add_task("", total=trainer.max_epochs, completed=done, losses="")
        if trainer.is_global_zero:
            self._progress.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Advance the bar and update the losses."""

        def shown(name: str) -> str:
            value: torch.Tensor | None = trainer.callback_metrics.get(f"reconstruction_loss_{name}")
            return "" if value is None else f"{name} {float(value):.3f}"

        losses = " ".join(filter(None, map(shown, ("train", "validation"))))
        self._progress.update(self._task, advance=1, losses=f"reconstruction loss: {losses}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the bar."""
        self._progress.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Stop the bar, which restores the terminal."""
        self._progress.stop()
