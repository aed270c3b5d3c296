"""scvi-tools' runner, with an end to Ctrl-C that leaves a usable model."""

from __future__ import annotations

import signal
import threading
from typing import Any

from scvi.train import Trainer, TrainRunner


class InterruptibleTrainer(Trainer):
    """A trainer whose :meth:`fit` returns after Ctrl-C.

    Lightning shuts down in good order after a ``KeyboardInterrupt``, but then ends the process and leaves
    Ctrl-C switched off.

    Attributes
    ----------
    interrupted
        Whether Ctrl-C ended the training.
    """

    interrupted = False

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """Fit the model; after Ctrl-C, return with :attr:`interrupted` set."""
        handler = signal.getsignal(signal.SIGINT)
        try:
            super().fit(*args, **kwargs)
        except SystemExit as error:
            self.interrupted = isinstance(error.__context__, KeyboardInterrupt)
            if not self.interrupted:
                raise
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, handler)


class InterruptibleRunner(TrainRunner):
    """:class:`scvi.train.TrainRunner` with an :class:`InterruptibleTrainer`."""

    _trainer_cls = InterruptibleTrainer
