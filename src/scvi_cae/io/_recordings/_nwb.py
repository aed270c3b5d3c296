"""Sweeps of Neurodata Without Borders files, by pynwb. Experimental: written and read by pynwb, tried on no laboratory's file."""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._sweep import CURRENTS, VOLTAGES, Sweep, Unreadable, needed, of_known_unit, to_length, unusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ._command import Command

#: Largest deviation of timestamps from a constant rate, as a fraction of an interval.
_IRREGULAR = 0.01


@dataclass(frozen=True)
class _Part:
    """Part of a series: its first sample and their number, all if ``None``."""

    series: Any
    start: int = 0
    count: int | None = None


def read_nwb(path: Path, command: Command | None) -> list[Sweep]:
    """Read the sweeps of each electrode of an NWB file, version 2.

    The command of a response is the stimulus in the same row of the table of intracellular recordings, else that of the
    same electrode and sweep number, else of the same electrode and starting time.

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
    pynwb, icephys = needed("pynwb"), needed("pynwb.icephys")
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter(
            "ignore"
        )  # of units, which are read from the file, and of versions of the format
        try:
            nwb = stack.enter_context(pynwb.NWBHDF5IO(str(path), "r")).read()
        except Exception as error:
            raise Unreadable(
                f"it cannot be read ({type(error).__name__}: {error}): it is cut short, or no NWB file of version 2"
            ) from error
        pairs = sorted(_paired(nwb, icephys), key=_time)
        if not pairs:
            kinds = sorted({type(series).__name__ for series in nwb.acquisition.values()})
            raise Unreadable(
                f"it has no recordings of patch clamp, only {', '.join(kinds) or 'nothing acquired'}"
            )
        return list(_sweeps(pairs, icephys, command))


def _sweeps(
    pairs: list[tuple[_Part, _Part | None]], icephys: Any, command: Command | None
) -> Iterator[Sweep]:
    """Sweeps of all electrodes; those of an electrode are counted for a command that is given."""
    usable = [_electrode(response.series) for response, _ in pairs if not _refused(response.series, icephys)]
    n_sweeps, done = Counter(usable), Counter[str]()
    for response, stimulus in pairs:
        name = _electrode(response.series)
        if reason := _refused(response.series, icephys):
            number = response.series.sweep_number
            yield unusable(name, -1 if number is None else int(number), reason)
            continue
        yield _sweep(response, stimulus, command, done[name], n_sweeps[name])
        done[name] += 1


def _electrode(series: Any) -> str:
    return str(getattr(getattr(series, "electrode", None), "name", "no electrode"))


def _refused(series: Any, icephys: Any) -> str:
    """Why a series is none of current clamp."""
    if isinstance(series, icephys.IZeroClampSeries):
        return "recorded without current (IZeroClampSeries)"
    if not isinstance(series, icephys.CurrentClampSeries):
        return f"no current clamp ({type(series).__name__})"
    return ""


def _paired(nwb: Any, icephys: Any) -> Iterator[tuple[_Part, _Part | None]]:
    """Responses of patch clamp with the stimulus of each."""
    listed: set[str] = set()
    table = nwb.intracellular_recordings
    if table is not None:
        for i in range(len(table)):
            response = _reference(table.category_tables["responses"]["response"][i])
            if response is not None:
                listed.add(response.series.name)
                yield response, _reference(table.category_tables["stimuli"]["stimulus"][i])
    stimuli = [s for s in nwb.stimulus.values() if isinstance(s, icephys.CurrentClampStimulusSeries)]
    for series in nwb.acquisition.values():
        if isinstance(series, icephys.PatchClampSeries) and series.name not in listed:
            found = [s for s in stimuli if _electrode(s) == _electrode(series) and _same_sweep(s, series)]
            yield _Part(series), _Part(found[0]) if len(found) == 1 else None


def _time(pair: tuple[_Part, _Part | None]) -> tuple[float, float, int]:
    """What sweeps are sorted by: series are stored in the order of their names."""
    series = pair[0].series
    number = np.inf if series.sweep_number is None else float(series.sweep_number)
    return number, series.starting_time or 0.0, pair[0].start


def _reference(reference: Any) -> _Part | None:
    if reference is None or reference.timeseries is None or reference.idx_start < 0:
        return None
    return _Part(reference.timeseries, int(reference.idx_start), int(reference.count))


def _same_sweep(stimulus: Any, response: Any) -> bool:
    if stimulus.sweep_number is not None and response.sweep_number is not None:
        return bool(stimulus.sweep_number == response.sweep_number)
    return stimulus.starting_time is not None and stimulus.starting_time == response.starting_time


def _sweep(
    response: _Part, stimulus: _Part | None, command: Command | None, index: int, n_sweeps: int
) -> Sweep:
    series, name = response.series, _electrode(response.series)
    number = index if series.sweep_number is None else int(series.sweep_number)
    rate = _rate(series)
    voltage, unit = _values(response, VOLTAGES)
    if rate is None:
        return unusable(name, number, f"{series.name}: its samples are not at a constant rate")
    if voltage is None:
        return unusable(name, number, f"{series.name} is in {unit!r}, no unit of voltage")
    measured = np.flatnonzero(np.isfinite(voltage))
    voltage = voltage[
        : measured[-1] + 1 if len(measured) else 0
    ]  # what follows pads a sweep that was stopped
    if command is not None:
        waveform = command.waveform(index, n_sweeps, len(voltage), rate)
    elif stimulus is None:
        return unusable(name, number, f"no stimulus belongs to {series.name}; give command=...")
    else:
        current, unit = _values(stimulus, CURRENTS)
        if current is None:
            return unusable(name, number, f"{stimulus.series.name} is in {unit!r}, no unit of current")
        if _rate(stimulus.series) != rate:
            return unusable(name, number, f"{stimulus.series.name} has another rate than {series.name}")
        waveform = _shifted(current, _lag(response, stimulus, rate), len(voltage))
    return Sweep(name, number, voltage, waveform, rate)


def _lag(response: _Part, stimulus: _Part, rate: float) -> int:
    """Samples from the start of the response to that of the stimulus."""
    starts = [part.series.starting_time for part in (response, stimulus)]
    if None in starts:
        return 0
    return round((starts[1] - starts[0]) * rate) + stimulus.start - response.start


def _shifted(current: np.ndarray, lag: int, n: int) -> np.ndarray:
    """A current as long as the voltage, NaN where there is none."""
    if lag < 0:
        return to_length(current[-lag:], n)
    return to_length(np.concatenate([np.full(min(lag, n), np.nan), current]), n)


def _values(part: _Part, factors: dict[str, float]) -> tuple[np.ndarray | None, str]:
    """Samples in mV or pA, ``None`` if they are in no such unit, and their unit."""
    data = part.series.data
    # pynwb gives the unit of the standard, whatever the file has.
    unit = str(getattr(data, "attrs", {}).get("unit", part.series.unit))
    factor = of_known_unit(factors, unit)
    if factor is None:
        return None, unit
    stop = None if part.count is None else part.start + part.count
    values = np.asarray(data[part.start : stop], dtype=float)
    return (values * part.series.conversion + part.series.offset) * factor, unit


def _rate(series: Any) -> float | None:
    """Samples in a second, ``None`` if they are not at a constant rate."""
    if series.rate is not None:
        return float(series.rate)
    intervals = np.diff(np.asarray(series.timestamps, dtype=float))
    mean = intervals.mean() if len(intervals) else 0.0
    regular = mean > 0 and np.abs(intervals - mean).max() < _IRREGULAR * mean
    return float(1 / mean) if regular else None
