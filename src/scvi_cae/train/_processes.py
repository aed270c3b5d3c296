"""Several processes that train one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

from ._resume import differences, gathered, streams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class ShareWork(pl.Callback):
    """Let the processes of a training draw the same minibatches, but different noise.

    Each process makes its data and model by itself, from the same script. They must be the same; weights are
    those of the first process.

    Parameters
    ----------
    description
        Function that describes data, split and settings; called if there are several processes.

    Raises
    ------
    RuntimeError
        If the processes have different data, splits or settings.
    """

    def __init__(self, description: Callable[[], Mapping[str, str]]) -> None:
        self._description = description

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Compare the processes, and seed their random numbers."""
        if trainer.world_size == 1:
            return
        first, *others = gathered(self._description())
        for rank, other in enumerate(others, start=1):
            if differing := differences(first, other):
                raise RuntimeError(
                    f"Processes 0 and {rank} do not train the same: different are {differing}. Set scvi.settings.seed at "
                    "the beginning of the script, and let nothing in it depend on the process."
                )
        seed = trainer.strategy.broadcast(int(torch.randint(2**62, ())))
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        data.stream.manual_seed(seed)
        for stream in streams(pl_module):
            seed += trainer.world_size
            stream.manual_seed(seed + trainer.global_rank)
