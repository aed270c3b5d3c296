"""The state of a training in a file, from which another process resumes it."""

from __future__ import annotations

import hashlib
import inspect
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import distributed

from scvi_cae._files import remove_unfinished, write_file
from scvi_cae.data import Split

from ._history import HistoryLogger

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from scvi_cae.data import AlignedData

#: Key of our state in a Lightning checkpoint.
KEY = "scvi_cae"
#: Largest fraction of the training time that is spent on writing.
COST = 0.02
#: Arguments of the trainer that do not change the result.
COSMETIC = (
    "benchmark",
    "callbacks",
    "default_root_dir",
    "enable_model_summary",
    "enable_progress_bar",
    "log_every_n_steps",
    "log_save_dir",
    "logger",
    "profiler",
    "progress_bar_refresh_rate",
    "simple_progress_bar",
)


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def describe(value: Any) -> str:
    """Text that is the same for the same setting in another process, and another for another setting.

    Functions and classes are described by their names, other objects by what they are made of.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, pd.Series | pd.DataFrame):
        value = {"index": value.index, **dict(value.items() if value.ndim == 2 else {"values": value.array})}
    if isinstance(value, pd.Index | pd.api.extensions.ExtensionArray):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.shape} array {_digest(value)}"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) >= 10 and all(isinstance(item, Number | str) for item in value):
            return describe(np.asarray(value))
        items = ", ".join(map(describe, value))
        if len(value) < 10:
            return f"[{items}]"
        return f"{len(value)} items {_digest(np.frombuffer(items.encode(), dtype=np.uint8))}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, partial):
        return f"partial({describe([value.func, value.args, value.keywords])})"
    if isinstance(value, type) or inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    # A default representation holds an address; those of data classes and estimators abbreviate long arrays.
    name = type(value).__qualname__
    if hasattr(value, "get_params"):
        return f"{name}({describe(value.get_params(deep=False))})"
    if is_dataclass(value) or type(value).__repr__ is object.__repr__:
        return f"{name}({describe(getattr(value, '__dict__', {}))})"
    return repr(value)


def describe_data(data: AlignedData) -> dict[str, str]:
    """Fingerprint of data: names of cells and features, and a digest of all values.

    Parameters
    ----------
    data
        The data.
    """
    cells = np.arange(data.n_cells)
    described = {"the cells": describe(np.asarray(data.cells, dtype=str))}
    for name in data.setup.arms:
        described[f"the features of {name!r}"] = describe(np.asarray(data.setup.features[name], dtype=str))
        chunks = np.array_split(cells, max(len(cells) // 8192, 1))
        digests = [_digest(data[name].values(chunk)) for chunk in chunks]
        described[f"the values of {name!r}"] = describe(np.asarray(digests))
        described[f"the batches of cells of {name!r}"] = describe(data[name].batch_indicators(cells))
    return described


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Differences between two descriptions, in words; empty if they are equal.

    Parameters
    ----------
    then, now
        Descriptions by name, as :func:`describe` and :func:`describe_data` give them.
    """
    return "; ".join(
        f"{name} ({then.get(name, 'not there')} then, {now.get(name, 'not there')} now)"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    )


class ResumeFile(Checkpoint):
    """Write the complete state of a training to a file, and resume from it if it exists.

    Lightning collects and restores weights, optimiser, schedule, loops and the callbacks' states, among them the best
    weights. This class adds the history, the random states of all processes, the split, whether the training has
    stopped early, and a description that identifies the training. It writes the file atomically next to its final
    place (Lightning moves a file from the system's temporary folder, which may be on another file system), after the
    last epoch and after others only if writing has taken less than a fiftieth of the time so far. A file that cannot be
    written gives one warning, and the training goes on; later epochs try again.

    Parameters
    ----------
    path
        The file.
    description
        Description that must be the same for a training to be resumed.

    Attributes
    ----------
    split
        The split of the training in the file; ``None`` without a file.

    Raises
    ------
    FileNotFoundError
        If the folder of the file does not exist.
    ValueError
        If the file is not such a checkpoint, or holds another training.
    """

    split: Split | None = None

    def __init__(self, path: str | Path, description: Mapping[str, str]) -> None:
        self.path = Path(path).expanduser().absolute()
        self.description = dict(description)
        self._random: list[dict[str, Any]] | None = None
        self._next = 0.0
        self._warned = False
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"checkpoint: there is no folder {self.path.parent}. Make it first.")
        if not self.path.exists():
            return
        try:
            # weights_only: no code from the file is run. Lightning reads it again once it is known to be harmless.
            state = torch.load(self.path, weights_only=True, map_location="cpu", mmap=True)[KEY]
        except Exception as error:
            raise ValueError(
                f"{self.path} is not a checkpoint that train(checkpoint=...) wrote. Give another name."
            ) from error
        if differing := differences(state["description"], self.description):
            raise ValueError(
                f"{self.path} holds another training. Different: {differing}. Repeat the call as it was, or delete "
                "the file to start again."
            )
        self.split = Split(*(np.asarray(cells) for cells in state["split"]))

    @property
    def ckpt_path(self) -> str | None:
        """The file, for Lightning; ``None`` if there is nothing to resume."""
        return None if self.split is None else str(self.path)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the state that Lightning does not save."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        checkpoint[KEY] = {
            "description": self.description,
            "split": [torch.from_numpy(cells) for cells in (data.train_idx, data.val_idx, data.test_idx)],
            "should_stop": trainer.should_stop,
            "history": [x.state_dict() for x in trainer.loggers if isinstance(x, HistoryLogger)],
            "random": gathered(random_state(pl_module, data)),
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore it."""
        state = checkpoint[KEY]
        trainer.should_stop = state["should_stop"]
        self._random = state["random"]
        loggers = [x for x in trainer.loggers if isinstance(x, HistoryLogger)]
        for logger, history in zip(loggers, state["history"], strict=False):
            logger.load_state_dict(history)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore random states last, since making modules and loaders may draw numbers."""
        if self._random is not None:
            data = trainer.datamodule  # type: ignore[attr-defined]
            set_random_state(pl_module, data, self._random[trainer.global_rank])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file, unless writing has taken too long already."""
        # Trainer.max_epochs is -1 if there is no limit.
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if not trainer.strategy.broadcast(last or time.perf_counter() >= self._next):
            return
        start = time.perf_counter()
        if trainer.is_global_zero:
            self._write(trainer)
        else:
            # Helps to collect the state, and writes nothing.
            trainer.save_checkpoint(self.path, weights_only=False)
        end = time.perf_counter()
        self._next = end + (end - start) / COST

    def _write(self, trainer: pl.Trainer) -> None:
        def write(path: Path) -> None:
            try:
                trainer.save_checkpoint(path, weights_only=False)
            except OSError:
                # The other processes wait at the end of what has failed here.
                trainer.strategy.barrier("Trainer.save_checkpoint")
                raise

        try:
            write_file(self.path, write)
            remove_unfinished(self.path)
        except OSError as error:
            if not self._warned:
                kept = "holds an earlier state" if self.path.exists() else "does not exist"
                warnings.warn(
                    f"The state of the training cannot be written to {self.path}, which {kept}: {error}. The training "
                    "goes on, and later epochs try again.",
                    UserWarning,
                    stacklevel=1,
                )
            self._warned = True


def streams(pl_module: pl.LightningModule) -> list[torch.Generator]:
    """Generators that the modules draw from, each once."""
    modules = pl_module.modules()
    return list(dict.fromkeys(x for module in modules for x in getattr(module, "streams", None) or ()))


def random_state(pl_module: pl.LightningModule, data: Any) -> dict[str, Any]:
    """State of all random number generators of a training in this process."""
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "batches": data.stream.get_state(),
        "modules": [stream.get_state() for stream in streams(pl_module)],
    }
    if pl_module.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(pl_module.device)
    return state


def set_random_state(pl_module: pl.LightningModule, data: Any, state: Mapping[str, Any]) -> None:
    """Restore what :func:`random_state` returned."""
    torch.set_rng_state(state["torch"])
    data.stream.set_state(state["batches"])
    for stream, x in zip(streams(pl_module), state["modules"], strict=True):
        stream.set_state(x)
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], pl_module.device)


def gathered(value: Any) -> list[Any]:
    """The value of each process."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values
