"""What readers of files return: sweeps in mV and pA, and why others cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
#: Factors to mV and to pA, by the names that files have for units.
VOLTAGES = {prefix + "V": 1e3 * factor for prefix, factor in _PREFIXES.items()} | {"volts": 1e3, "volt": 1e3}
CURRENTS = {prefix + "A": 1e12 * factor for prefix, factor in _PREFIXES.items()} | {
    "amperes": 1e12,
    "ampere": 1e12,
    "amps": 1e12,
}


class Unreadable(ValueError):
    """A file, or a channel of it, that has no sweep to measure."""


@dataclass(frozen=True)
class Sweep:
    """One sweep of one electrode.

    Parameters
    ----------
    electrode
        Name of the channel or electrode.
    number
        Number in the file, from 0.
    voltage
        Membrane potential, in mV; empty if the sweep cannot be used.
    command
        Current that was commanded, in pA, holding current included, NaN where it is not known. It has the length of the
        voltage.
    rate
        Samples in a second.
    skipped
        Why it cannot be used; empty if it can.
    recorded
        Current that the amplifier measured, in pA, if the file has it.
    """

    electrode: str
    number: int
    voltage: np.ndarray
    command: np.ndarray
    rate: float
    skipped: str = ""
    recorded: np.ndarray | None = None


def unusable(electrode: str, number: int, reason: str) -> Sweep:
    """A sweep that cannot be used."""
    return Sweep(electrode, number, np.empty(0), np.empty(0), np.nan, reason)


def needed(library: str) -> Any:
    """Import a library of the extra "ephys", or say how to get it."""
    try:
        return import_module(library)
    except ImportError as error:
        raise ImportError(
            f'Reading recordings needs {library.partition(".")[0]}: pip install "scvi-cae[ephys]".'
        ) from error


def to_length(command: np.ndarray, n: int) -> np.ndarray:
    """A command as long as the voltage; what is not known is NaN."""
    known = np.asarray(command, dtype=float)[:n]
    return np.concatenate([known, np.full(n - len(known), np.nan)])


def of_known_unit(factors: dict[str, float], unit: str) -> float | None:
    """Factor of a unit, in whatever blanks it is written."""
    return factors.get(unit.strip(" \0"))


def said(units: Sequence[str]) -> str:
    """Units of channels in words."""
    return shorten([unit.strip(" \0") or "no unit" for unit in units])
