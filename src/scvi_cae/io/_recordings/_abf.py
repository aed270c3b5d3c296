"""Sweeps of Axon Binary Files, by pyabf."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ._sweep import CURRENTS, VOLTAGES, Sweep, Unreadable, needed, of_known_unit, said, to_length, unusable

if TYPE_CHECKING:
    from pathlib import Path

    from ._command import Command

#: Units of commands, with factors to pA. In larger ones, pyabf takes currents of cells for 0.
_COMMANDS = {unit: factor for unit, factor in CURRENTS.items() if factor <= CURRENTS["uA"]}
#: Operation modes of pClamp without sweeps.
_NO_SWEEPS = {1: "events of variable length", 3: "gap-free"}


def read_abf(path: Path, command: Command | None) -> list[Sweep]:
    """Read the sweeps of each electrode of an ABF file, version 1 or 2.

    A channel in a unit of voltage is an electrode. Its command is the waveform of the output of the same number; of the
    only one that varies, if there is one electrode.

    Parameters
    ----------
    path
        The file.
    command
        The command, in place of the file's own.

    Raises
    ------
    Unreadable
        If the file is damaged, or has no sweeps of current clamp.
    """
    pyabf = needed("pyabf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of stimulus files that are not there, which are said below
        try:
            abf = pyabf.ABF(str(path), cacheStimulusFiles=False)
        except Exception as error:
            raise Unreadable(
                f"it cannot be read ({type(error).__name__}: {error}): it is cut short, or no ABF file"
            ) from error
        if abf.nOperationMode in _NO_SWEEPS:
            raise Unreadable(f"its mode is {_NO_SWEEPS[abf.nOperationMode]}, without sweeps of a protocol")
        electrodes = [i for i in abf.channelList if of_known_unit(VOLTAGES, abf.adcUnits[i])]
        if not electrodes:
            clamped = any(of_known_unit(CURRENTS, unit) for unit in abf.adcUnits)
            raise Unreadable(
                f"{'it is of voltage clamp' if clamped else 'it has no membrane potential'}: its channels are in "
                f"{said(abf.adcUnits)}"
            )
        sweeps = []
        for channel in electrodes:
            sweeps += _of_electrode(abf, channel, len(electrodes) == 1, command)
        return sweeps


def _of_electrode(abf: Any, channel: int, alone: bool, command: Command | None) -> list[Sweep]:
    name = abf.adcNames[channel].strip(" \0") or f"channel {channel}"
    factor = of_known_unit(VOLTAGES, abf.adcUnits[channel]) or np.nan
    output = channel if command is not None else _output(abf, channel, alone)
    if isinstance(output, str):
        return [unusable(name, number, output) for number in abf.sweepList]
    monitors = [i for i in abf.channelList if of_known_unit(CURRENTS, abf.adcUnits[i])]
    sweeps = []
    for number in abf.sweepList:
        abf.setSweep(number, channel)
        voltage = abf.sweepY * factor
        rate = float(abf.dataRate)
        if command is not None:
            waveform = command.waveform(number, len(abf.sweepList), len(voltage), rate)
        else:
            waveform = _waveform(abf, output, number) * of_known_unit(_COMMANDS, abf.dacUnits[output])
        recorded = None
        if alone and len(monitors) == 1:
            abf.setSweep(number, monitors[0])
            recorded = abf.sweepY * of_known_unit(CURRENTS, abf.adcUnits[monitors[0]])
        sweeps.append(
            Sweep(name, number, voltage, to_length(waveform, len(voltage)), rate, recorded=recorded)
        )
    return sweeps


def _output(abf: Any, channel: int, alone: bool) -> int | str:
    """Number of the output that drives an electrode, or why there is none."""
    with_waveforms = abf.dacUnits[:2] if abf.abfVersion["major"] == 1 else abf.dacUnits
    outputs = [i for i, unit in enumerate(with_waveforms) if of_known_unit(_COMMANDS, unit)]
    if alone:
        vary = [i for i in outputs if any(np.ptp(_waveform(abf, i, k)) > 0 for k in (0, abf.sweepCount - 1))]
        channel = vary[0] if len(vary) == 1 else channel
    if channel not in outputs:
        unit = said(abf.dacUnits[channel : channel + 1] or [""])
        return f"its command is in {unit}, no unit of current (pA, nA, uA); give command=..."
    if np.isnan(_waveform(abf, channel, 0)).all():
        return "its command is in a stimulus file that is not there; put it into the same folder, or give command=..."
    return channel


def _waveform(abf: Any, output: int, number: int) -> np.ndarray:
    """What an output gave in a sweep, in its unit."""
    try:
        # Of pyabf's own list there are as many as inputs.
        return np.asarray(
            needed("pyabf.stimulus").Stimulus(abf, output).stimulusWaveform(number), dtype=float
        )
    except Exception as error:
        raise Unreadable(
            f"its command cannot be read ({type(error).__name__}: {error}), as if it is in a stimulus file; give command=..."
        ) from error
