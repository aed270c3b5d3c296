"""scvi-tools' runner: Ctrl-C leaves a usable model, and early stopping works on several devices."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scvi.train import Trainer, TrainRunner
from scvi.train._callbacks import LoudEarlyStopping
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lightning.pytorch as pl

#: Logger of what Lightning announces: devices, products, and that a training ended as it was told to.
ANNOUNCEMENTS = logging.getLogger("lightning.pytorch.utilities.rank_zero")


@contextmanager
def without_announcements() -> Iterator[None]:
    """Keep Lightning quiet below the level of warnings, unless someone has set its logger's level."""
    level = ANNOUNCEMENTS.level
    try:
        if level == logging.NOTSET:
            ANNOUNCEMENTS.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            # Lightning calls torch's own deprecated tree utilities.
            warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated")
            yield
    finally:
        ANNOUNCEMENTS.setLevel(level)


class EarlyStopping(LoudEarlyStopping):
    """scvi-tools' early stopping, which can be resumed in its warm-up and reports once."""

    def state_dict(self) -> dict[str, Any]:
        """The state, with the number of epochs seen."""
        return {**super().state_dict(), "current_step": self._current_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state_dict)
        self._current_step = state_dict["current_step"]

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str | None = None) -> None:
        """Report in the first process why training was stopped."""
        if trainer.is_global_zero:
            super().teardown(trainer, pl_module, stage)


class InterruptibleTrainer(Trainer):
    """A trainer whose :meth:`fit` returns after Ctrl-C.

    Lightning shuts down after a ``KeyboardInterrupt``, but then ends the process and leaves Ctrl-C disabled.

    Parameters
    ----------
    epochs_before, epochs_in_row
        Number of epochs of trainings before this one, and of all together, where several are in a row.
    early_stopping, callbacks
        As in :class:`scvi.train.Trainer`, whose other arguments are accepted too.

    Attributes
    ----------
    interrupted
        Whether Ctrl-C ended the training.
    epochs_before, epochs_in_row
        As given; those of this training if it is alone.
    """

    interrupted = False

    def __init__(
        self,
        *args: Any,
        epochs_before: int = 0,
        epochs_in_row: int | None = None,
        early_stopping: bool = False,
        callbacks: list[pl.Callback] | None = None,
        **kwargs: Any,
    ) -> None:
        defaults = {"monitor": None, "min_delta": 0.0, "patience": 45, "warmup_epochs": 0, "mode": "min"}
        options = {name: kwargs.pop(f"early_stopping_{name}", x) for name, x in defaults.items()}
        # Added here, since scvi-tools does not stop early on several devices, where its metrics differ. Ours do not.
        callbacks = [*(callbacks or ()), *([EarlyStopping(**options)] if early_stopping else ())]
        with without_announcements():
            warnings.filterwarnings("ignore", message="early_stopping was automatically disabled")
            super().__init__(*args, callbacks=callbacks, **kwargs)
        self.epochs_before = epochs_before
        self.epochs_in_row = self.max_epochs if epochs_in_row is None else epochs_in_row

    @property
    def ends_row(self) -> bool:
        """Whether no training follows."""
        return self.epochs_before + self.max_epochs >= self.epochs_in_row

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Fit the model; after Ctrl-C, return with :attr:`interrupted` set."""
        handler = signal.getsignal(signal.SIGINT)
        connected = distributed.is_available() and distributed.is_initialized()
        try:
            with without_announcements():
                super().fit(*args, **kwargs)
        except SystemExit as error:
            self.interrupted = isinstance(error.__context__, KeyboardInterrupt)
            if not self.interrupted:
                raise
        finally:
            # Lightning leaves the processes connected: a later training on one device would wait for the others.
            if distributed.is_available() and distributed.is_initialized() and not connected:
                distributed.destroy_process_group()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, handler)


class InterruptibleRunner(TrainRunner):
    """:class:`scvi.train.TrainRunner` with an :class:`InterruptibleTrainer`; the model records the result itself."""

    _trainer_cls = InterruptibleTrainer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # scvi-tools would leave the models of all processes on the first device.
        self.device = self.trainer.strategy.root_device

    def _run_training_core(self) -> None:
        try:
            self.trainer.fit(self.training_plan, self.data_splitter, ckpt_path=self.ckpt_path)
        finally:
            self._update_history()
        self.model.to_device(self.device)
        self.model.trainer = self.trainer

    def _update_history(self) -> None:
        # scvi-tools appends to the metrics of an earlier training; a model of a query has none to append to.
        if not self.model.history_:
            self.model.is_trained_ = False
        super()._update_history()
