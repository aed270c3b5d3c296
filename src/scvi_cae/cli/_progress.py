"""Training progress on stderr; the progress bar of scvi-tools writes to stdout."""

from __future__ import annotations

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from scvi_cae.train import InterruptibleTrainer, shown_losses


class TrainingProgress(pl.Callback):
    """Progress bar of epochs with the current losses, of one training or of several in a row.

    Without a terminal, only its final state is printed.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("Epoch"),
            MofNCompleteColumn(),
            BarColumn(8),  # with which all fits into 80 characters
            TextColumn("{task.fields[losses]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        assert isinstance(trainer, InterruptibleTrainer)
        if self._task is not None:
            return
        # A resumed training does not start at epoch 0.
        done, total = trainer.current_epoch, trainer.epochs_in_row
        self._task = self._progress.add_task("", total=total, completed=done, losses="")
        if trainer.is_global_zero:
            self._progress.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Advance the bar and update the losses."""
        assert self._task is not None
        self._progress.update(self._task, advance=1, losses=shown_losses(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the bar after the last training."""
        assert isinstance(trainer, InterruptibleTrainer)
        if trainer.ends_row:
            self._progress.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Stop the bar, which restores the terminal."""
        self._progress.stop()
