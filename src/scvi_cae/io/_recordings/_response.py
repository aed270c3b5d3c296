"""The response to a current step: what is measured of each sweep, and which sweeps are left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.optimize import curve_fit

from ._spikes import ActionPotential, find_spikes, measure_spike
from ._steps import BEFORE, Step

#: Rates from twice this one on, in Hz, are averaged down: derivatives of single samples would be noise.
_RATE = 20_000.0
#: Smallest rate, in Hz: between samples that are further apart, action potentials are lost.
SLOWEST = 5_000.0
#: Range of resting potentials, in mV.
RESTING = (-110.0, -30.0)
#: Largest trend of V over the 100 ms before a step, and largest standard deviation around it, in mV.
DRIFT, NOISE = 10.0, 2.0
#: An amplifier is at its limit if its largest or smallest value lasts so many ms, beyond these potentials in mV.
_LIMIT_LASTS, _LIMITS = 0.3, (-120.0, 0.0)
#: Time at the end of a step in which V is steady: so many ms, and no more than this part of the step.
_STEADY, _STEADY_PART = 100.0, 0.25
#: Smallest deflections, in mV, and in standard deviations of V before the step, that a time constant is fitted to.
_DEFLECTION, _DEFLECTION_NOISE = 2.0, 3.0
#: The fit starts at this part of the largest deflection, which is searched in averages over so many ms.
_FIT_FROM, _DEFLECTION_SMOOTHED = 0.1, 5.0
#: Smallest R2 of the fit.
_R2 = 0.9


@dataclass(frozen=True)
class Response:
    """What is measured of a sweep.

    Parameters
    ----------
    step
        The step.
    voltage
        V in mV, from 100 ms before the step, or less if the sweep starts later, to its end.
    dt
        Time between its samples, in ms.
    onset
        Position of the start of the step.
    resting
        Mean of V before the step, in mV; NaN if there are action potentials.
    before
        Number of action potentials before the step.
    spikes
        Peaks of the action potentials in the step, in samples of ``voltage``.
    steady, lowest
        Mean of V at the end of the step, and its minimum, in mV, of hyperpolarising steps without action potentials; NaN
        of others, as are the next.
    tau
        Time constant in ms.
    asymptote, jump
        Potential in mV that the fitted exponential goes to, and by which it misses the resting potential at the start.
    """

    step: Step
    voltage: np.ndarray
    dt: float
    onset: int
    resting: float
    before: int
    spikes: np.ndarray
    steady: float = np.nan
    lowest: float = np.nan
    tau: float = np.nan
    asymptote: float = np.nan
    jump: float = np.nan

    @property
    def times(self) -> np.ndarray:
        """Times of the action potentials from the start of the step, in ms."""
        return (self.spikes - self.onset) * self.dt

    @property
    def firing_rate(self) -> float:
        """Number of action potentials divided by the duration of the step, in Hz."""
        return len(self.spikes) / self.step.duration

    @property
    def first_spike(self) -> ActionPotential:
        """Measures of the first action potential in the step."""
        return measure_spike(self.voltage, self.dt, self.onset, self.spikes)

    @property
    def until_steady(self) -> float:
        """Time from the start of the step until its steady part, in ms."""
        return 1000 * self.step.duration - _steady(self.step)


def respond(step: Step) -> Response | str:
    """Measure the response to a step, or say why its sweep is left out.

    Parameters
    ----------
    step
        The step.
    """
    voltage, dt, onset = _trace(step)
    if step.sweep.rate < SLOWEST:
        return f"sampled at {step.sweep.rate / 1000:g} kHz, less than {SLOWEST / 1000:g}"
    if len(step.sweep.voltage) < step.end:
        return "the sweep ends before its step"
    if not np.isfinite(voltage).all():
        return "values of V are missing"
    if (limit := _limit(voltage, dt)) is not None:
        return f"V stays at {limit:.1f} mV, the limit of the amplifier"
    spikes = find_spikes(voltage, dt, onset)
    base, in_step = voltage[:onset], spikes[spikes >= onset]
    before = len(spikes) - len(in_step)
    if not RESTING[0] <= np.median(base) <= RESTING[1]:
        return f"resting potential {np.median(base):.4g} mV, not in {RESTING[0]:g} to {RESTING[1]:g}"
    resting, noise = np.nan, np.nan
    if not before:
        time = np.linspace(-0.5, 0.5, onset)
        trend, resting = np.polyfit(time, base, 1)
        noise = float(np.std(base - trend * time))
        if abs(trend) > DRIFT * onset * dt / BEFORE:
            return f"V drifts by {abs(trend):.1f} mV in {onset * dt:.0f} ms before the step, more than {DRIFT:g} in {BEFORE:g} ms"
        if noise > NOISE:
            return f"V has a standard deviation of {noise:.1f} mV before the step, more than {NOISE:g}"
    response = Response(step, voltage, dt, onset, float(resting), before, in_step)
    return _passive(response, noise) if step.current < 0 and not len(in_step) else response


def _trace(step: Step) -> tuple[np.ndarray, float, int]:
    """V from before the step to its end, time between samples, and the start of the step."""
    sweep = step.sweep
    average = max(1, int(sweep.rate // _RATE))
    onset = min(round(BEFORE * sweep.rate / 1000), step.start) // average
    n = onset + (step.end - step.start) // average
    first = step.start - onset * average
    voltage = sweep.voltage[first : first + n * average].astype(float)
    whole = voltage[: len(voltage) // average * average]
    return whole.reshape(-1, average).mean(axis=1), 1000 * average / sweep.rate, onset


def _limit(voltage: np.ndarray, dt: float) -> float | None:
    """The limit at which V stays, if it does."""
    lasts = max(3, round(_LIMIT_LASTS / dt))
    lowest, highest = voltage.min(), voltage.max()
    for extreme, far in ((lowest, lowest < _LIMITS[0]), (highest, highest > _LIMITS[1])):
        at = np.flatnonzero(voltage == extreme)
        if far and len(at) > lasts and (at[lasts:] - at[:-lasts] == lasts).any():
            return float(extreme)
    return None


def _steady(step: Step) -> float:
    """Time at the end of a step in which V is steady, in ms."""
    return min(_STEADY, _STEADY_PART * 1000 * step.duration)


def _passive(response: Response, noise: float) -> Response:
    """With the potentials and the time constant of a hyperpolarising step."""
    voltage, dt = response.voltage[response.onset :], response.dt
    n_steady = round(_steady(response.step) / dt)
    smooth = uniform_filter1d(voltage, max(1, round(_DEFLECTION_SMOOTHED / dt)), mode="nearest")
    end = int(np.argmin(smooth))
    tau, asymptote, jump = _fit(voltage[: end + 1], dt, response.resting, smooth[end], noise)
    return replace(
        response,
        steady=float(voltage[-n_steady:].mean()),
        lowest=float(smooth[end]),
        tau=tau,
        asymptote=asymptote,
        jump=jump,
    )


def _fit(
    voltage: np.ndarray, dt: float, resting: float, lowest: float, noise: float
) -> tuple[float, float, float]:
    """Time constant of V until its largest deflection, asymptote and jump; NaN if they cannot be had."""
    nothing = (np.nan, np.nan, np.nan)
    depth = resting - lowest
    if not depth >= max(_DEFLECTION, _DEFLECTION_NOISE * noise):
        return nothing
    start = int(np.argmax(voltage < resting - _FIT_FROM * depth))
    values = voltage[start:]
    time = (start + np.arange(len(values))) * dt
    if len(values) < 10:
        return nothing
    guess = max(dt, dt * int(np.argmax(values < resting - 0.63 * depth)))
    try:
        (asymptote, above, tau), _ = curve_fit(
            _exponential, time, values, (lowest, depth, guess), jac=_gradient, maxfev=500
        )
    except RuntimeError:  # it does not converge
        return nothing
    residual = values - _exponential(time, asymptote, above, tau)
    # Of an exponential that goes on for longer than the fit, the time constant is a guess.
    if not (0.1 <= tau <= time[-1]) or residual.var() > (1 - _R2) * values.var():
        return nothing
    return float(tau), float(asymptote), float(asymptote + above - resting)


def _exponential(time: np.ndarray, asymptote: float, above: float, tau: float) -> np.ndarray:
    return asymptote + above * np.exp(-time / tau)


def _gradient(time: np.ndarray, asymptote: float, above: float, tau: float) -> np.ndarray:
    decay = np.exp(-time / tau)
    return np.column_stack([np.ones_like(time), decay, above * time / tau**2 * decay])
