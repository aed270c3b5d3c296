"""Action potentials: found by their height and speed, and measured by eFEL."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

if TYPE_CHECKING:
    from collections.abc import Iterator

#: An AP is a peak so many mV above the minima within so many ms on both sides ...
HEIGHT, AROUND = 20.0, 20.0
#: ... and in the few ms before it at a rate of so many V/s or more, with which an AP starts.
ONSET_RATE, RISE = 10.0, 5.0
#: Time in ms after the onset of a step in which V jumps across the electrode's resistance.
JUMP = 1.0
#: The fall of an AP has ended when it is slower than this part of its maximum, over windows of so many ms.
ENDED, SMOOTHED = 0.01, 0.5


class ActionPotential(NamedTuple):
    """Measures of an AP; NaN where one cannot be had.

    Parameters
    ----------
    onset
        Time in ms from the start of the step to the threshold.
    threshold, amplitude, ahp
        In mV.
    width
        In ms.
    upstroke, downstroke
        In V/s.
    """

    onset: float
    threshold: float
    amplitude: float
    width: float
    upstroke: float
    downstroke: float
    ahp: float


def find_spikes(voltage: np.ndarray, dt: float, onset: int) -> np.ndarray:
    """Positions of the peaks of action potentials.

    Parameters
    ----------
    voltage
        Membrane potential, in mV.
    dt
        Time between samples, in ms.
    onset
        Position of the start of the step.
    """
    around = 2 * round(AROUND / dt) + 1
    peaks, _ = find_peaks(voltage, prominence=HEIGHT, wlen=around)
    rate = np.gradient(voltage, dt)
    rate[onset - 1 : onset + round(JUMP / dt)] = 0
    rises = [rate[max(0, peak - round(RISE / dt)) : peak + 1].max() >= ONSET_RATE for peak in peaks]
    return peaks[np.array(rises, dtype=bool)]


def measure_spike(voltage: np.ndarray, dt: float, onset: int, spikes: np.ndarray) -> ActionPotential:
    """Measure the first action potential of a step.

    eFEL is given a few ms around it: it searches an AP's onset from the last minimum, and would take the jump of V at
    the start of a step for it, or noise.

    Parameters
    ----------
    voltage
        Membrane potential until the end of the step, in mV.
    dt
        Time between samples, in ms.
    onset
        Position of the start of the step.
    spikes
        Positions of the peaks of action potentials in the step.
    """
    peak = int(spikes[0])
    following = int(spikes[1]) if len(spikes) > 1 else len(voltage)
    first = max(onset + round(JUMP / dt), peak - round(RISE / dt))
    last = min(following - round(JUMP / dt), peak + round(AROUND / dt))
    if last - first < 5:
        return ActionPotential(*[np.nan] * len(ActionPotential._fields))
    values = _by_efel(voltage[first:last], dt, float(voltage[peak]) - HEIGHT / 2)
    begin = values["AP_begin_indices"]
    threshold = values["AP_begin_voltage"]
    return ActionPotential(
        onset=(first + begin - onset) * dt,
        threshold=threshold,
        amplitude=values["AP_amplitude"],
        width=_width(voltage, dt, peak, following, threshold),
        upstroke=values["AP_peak_upstroke"],
        downstroke=_fastest_fall(voltage[peak:last], dt),
        ahp=_trough(voltage[peak:following], dt) - threshold,
    )


def _by_efel(voltage: np.ndarray, dt: float, crossed: float) -> dict[str, float]:
    """What eFEL measures of the first AP in a trace, which crosses a potential at its top."""
    import efel

    names = ["AP_begin_indices", "AP_begin_voltage", "AP_amplitude", "AP_peak_upstroke"]
    time = np.arange(len(voltage)) * dt
    trace = {"T": time, "V": voltage, "stim_start": [0.0], "stim_end": [time[-1]]}
    settings = {"interp_step": dt, "Threshold": crossed, "DerivativeThreshold": ONSET_RATE}
    with _settings(settings):
        (values,) = efel.get_feature_values([trace], names, raise_warnings=False)
    return {
        name: float(value[0]) if value is not None and len(value) else np.nan
        for name, value in values.items()
    }


@contextmanager
def _settings(settings: dict[str, Any]) -> Iterator[None]:
    """Settings of eFEL for a while: they are of the whole process, and a user may have others."""
    import efel

    before = asdict(efel.get_settings())
    efel.reset()
    for name, value in settings.items():
        efel.set_setting(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            efel.set_setting(name, value)


def _width(voltage: np.ndarray, dt: float, peak: int, following: int, threshold: float) -> float:
    """Width at half of the height above threshold, between samples, of which eFEL counts whole ones."""
    half = (threshold + voltage[peak]) / 2
    below = np.flatnonzero(voltage[:peak] < half)
    after = np.flatnonzero(voltage[peak:following] < half)
    if not np.isfinite(half) or not len(below) or not len(after):
        return np.nan
    left, right = below[-1], peak + after[0]
    rise = left + (half - voltage[left]) / (voltage[left + 1] - voltage[left])
    fall = right - (half - voltage[right]) / (voltage[right - 1] - voltage[right])
    return float((fall - rise) * dt)


def _fastest_fall(fall: np.ndarray, dt: float) -> float:
    """Minimum of dV/dt; eFEL's ends at two values alike, which noise or the top of an AP can have."""
    return float(np.gradient(fall, dt).min()) if len(fall) > 1 else np.nan


def _trough(fall: np.ndarray, dt: float) -> float:
    """V at the end of an AP's fall, from its peak on."""
    n = max(1, round(SMOOTHED / dt))
    if len(fall) < 3 * n:
        return np.nan
    smooth = uniform_filter1d(fall, n, mode="nearest")
    rate = np.full(len(fall), np.nan)
    rate[n:-n] = (smooth[2 * n :] - smooth[: -2 * n]) / (2 * n * dt)
    steepest = int(np.nanargmin(rate))
    slow = np.flatnonzero(rate[steepest:] > ENDED * rate[steepest])
    if not len(slow):
        return np.nan
    end = steepest + int(slow[0])
    near = max(1, round(0.1 / dt))
    return float(fall[max(0, end - near) : end + near + 1].mean())
