"""Training history in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

if TYPE_CHECKING:
    from collections.abc import Mapping


class HistoryLogger(Logger):
    """Collect metrics by epoch, for :attr:`scvi_cae.CoupledAE.history`.

    scvi-tools' own logger extends a data frame for each metric in each epoch, which takes longer than a step.
    """

    def __init__(self) -> None:
        super().__init__()
        self._metrics: dict[str, dict[int, float]] = {}

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "history"

    @property
    def version(self) -> None:
        """No version: nothing is written to files."""

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Do nothing: a model stores its settings itself."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add the metrics of an epoch."""
        epoch = int(metrics.get("epoch", step or 0))
        for name, value in metrics.items():
            if name != "epoch":
                self._metrics.setdefault(name, {})[epoch] = float(value)

    def state_dict(self) -> dict[str, dict[str, torch.Tensor]]:
        """Metrics as tensors."""
        return {
            name: {
                "epoch": torch.tensor(list(values)),
                "value": torch.tensor(list(values.values()), dtype=torch.float64),
            }
            for name, values in self._metrics.items()
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._metrics = {
            name: dict(zip(columns["epoch"].tolist(), columns["value"].tolist(), strict=True))
            for name, columns in state.items()
        }

    @property
    def history(self) -> dict[str, pd.DataFrame]:
        """A data frame with one column, indexed by epoch, for each metric."""
        return {
            name: pd.DataFrame({name: list(values.values())}, index=pd.Index(list(values), name="epoch"))
            for name, values in self._metrics.items()
        }
