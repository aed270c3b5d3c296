"""Progress of trainings: losses of the present epoch, and one bar for trainings in a row."""

from __future__ import annotations

import sys

import lightning.pytorch as pl
from tqdm import tqdm

from ._runner import InterruptibleTrainer


def shown_losses(trainer: pl.Trainer) -> str:
    """The latest reconstruction losses of training and validation cells, as far as there are any, in words.

    They say how well cells are reconstructed and predicted. The total also has the couplings, which are logarithms of
    determinants and of any sign.

    Parameters
    ----------
    trainer
        The trainer.
    """
    names = ("train", "validation")
    found = {name: trainer.callback_metrics.get(f"reconstruction_loss_{name}") for name in names}
    losses = " ".join(f"{name} {float(value):.2f}" for name, value in found.items() if value is not None)
    return f"reconstruction loss: {losses}" if losses else ""


class RowProgressBar(pl.Callback):
    """One progress bar on stderr for all trainings in a row, with the losses of the present one."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        assert isinstance(trainer, InterruptibleTrainer)
        if self._bar is None:
            self._bar = tqdm(total=trainer.epochs_in_row, desc="Training", unit="epoch", file=sys.stderr)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Advance the bar and update the losses."""
        assert self._bar is not None
        self._bar.set_postfix_str(shown_losses(trainer), refresh=False)
        self._bar.update()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar as it is after the last training."""
        assert isinstance(trainer, InterruptibleTrainer)
        if trainer.ends_row:
            self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave the bar as it is."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
