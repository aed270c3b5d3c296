"""Commands that a user gives for files that do not have their own, or a wrong one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    from pathlib import Path

_STEP = ("start", "end", "amplitudes")


@dataclass(frozen=True)
class Command:
    """Current of each sweep of a file.

    Parameters
    ----------
    file
        Name of the file, for messages.
    currents
        Currents in pA: ``(n_sweeps, n_samples)``, or those of a step in each sweep.
    window
        Start and end of the step, in ms; ``None`` for currents of all samples.
    """

    file: str
    currents: np.ndarray
    window: tuple[float, float] | None

    def waveform(self, index: int, n_sweeps: int, n_samples: int, rate: float) -> np.ndarray:
        """Current of one sweep, in pA.

        Parameters
        ----------
        index
            Its position among the sweeps of the file.
        n_sweeps
            Number of sweeps of the file.
        n_samples
            Number of samples of the sweep.
        rate
            Samples in a second.

        Raises
        ------
        ValueError
            If numbers of sweeps or of samples differ.
        """
        if len(self.currents) != n_sweeps:
            raise ValueError(
                f"command has currents of {len(self.currents)} sweeps, and {self.file} has {n_sweeps}. Give one for each."
            )
        if self.window is None:
            if self.currents.shape[1] < n_samples:
                raise ValueError(
                    f"command has {self.currents.shape[1]} samples, and sweep {index} of {self.file} has {n_samples}."
                )
            return self.currents[index, :n_samples]
        start, end = (round(time * rate / 1000) for time in self.window)
        current = np.zeros(n_samples)
        current[start:end] = self.currents[index]
        return current


def command_of(command: Any, path: Path) -> Command | None:
    """The command of a file, if one was given.

    Parameters
    ----------
    command
        As of :func:`~scvi_cae.io.read_recordings`.
    path
        The file.

    Raises
    ------
    TypeError, ValueError
        If it is no command.
    """
    if isinstance(command, Mapping) and not set(_STEP) & set(command):
        command = next((command[name] for name in (path.name, path.stem) if name in command), None)
    if command is None:
        return None
    if isinstance(command, Mapping):
        return _step(command, path.name)
    if not isinstance(command, (np.ndarray, Sequence)) or isinstance(command, str):
        raise TypeError(
            f"command={command!r} is none. Give {{'start': 100, 'end': 600, 'amplitudes': [-100, -50, 50]}} (ms, and pA of "
            "each sweep), an array of sweeps x samples in pA, or one of these for each file."
        )
    currents = np.asarray(command, dtype=float)
    if currents.ndim != 2 or not np.isfinite(currents).all():
        raise ValueError(
            f"The command of {path.name} must be sweeps x samples without NaN, in pA, not of shape {currents.shape}."
        )
    return Command(path.name, currents, None)


def _step(command: Mapping[str, Any], file: str) -> Command:
    if set(command) != set(_STEP):
        raise ValueError(f"The command of {file} must have {list(_STEP)}, not {shorten(list(command))}.")
    amplitudes = np.atleast_1d(np.asarray(command["amplitudes"], dtype=float))
    start, end = float(command["start"]), float(command["end"])
    if not 0 <= start < end or amplitudes.ndim != 1 or not np.isfinite(amplitudes).all():
        raise ValueError(
            f"The command of {file} must have 0 <= start < end in ms, and a finite amplitude in pA of each sweep; it has "
            f"{start:g}, {end:g} and {shorten(amplitudes.ravel())}."
        )
    return Command(file, amplitudes, (start, end))
