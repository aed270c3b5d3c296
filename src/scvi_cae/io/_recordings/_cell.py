"""Features of a cell from its responses: each is a row of the table of concepts, taken from the step that it names."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._response import Response

#: Features in their order.
FEATURES = [
    "resting_potential",
    "input_resistance",
    "membrane_time_constant",
    "sag",
    "rheobase",
    "latency",
    "latency_next",
    "fi_slope",
    "max_rate",
    *(
        f"ap_{name}{step}"
        for step in ("", "_typical")
        for name in (
            "threshold",
            "amplitude",
            "width",
            "ahp",
            "upstroke",
            "downstroke",
            "upstroke_downstroke_ratio",
        )
    ),
    "latency_typical",
    "rate",
    "isi_cv",
    "adaptation",
]
#: Currents in pA above rheobase of the step above rheobase and of the typical step, and the range around them.
_NEXT, _NEXT_RANGE = 20.0, 5.0
_TYPICAL, _TYPICAL_RANGE = 50.0, 10.0
#: Smallest deflection that a sag is a part of, in mV.
_SAG_OF = 5.0
#: A step shows the steady state if it lasts so many time constants before that is measured.
_SETTLED = 4.0


class Measured(NamedTuple):
    """Features of a cell, and what they were measured on.

    Parameters
    ----------
    features
        Values by name, NaN where one cannot be had.
    used
        Features that each response was used for.
    spontaneous
        Whether the cell fires without current.
    rheobase_step
        Rheobase minus the largest current below it that elicits no action potential, in pA.
    """

    features: dict[str, float]
    used: list[list[str]]
    spontaneous: bool
    rheobase_step: float


class _Features:
    """Features as they are measured, and the responses that each was used for."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(FEATURES, np.nan)
        self.used: dict[int, list[str]] = defaultdict(list)

    def take(self, name: str, value: float, *responses: Response) -> None:
        """Take a value, if there is one."""
        if np.isfinite(value):
            self.values[name] = float(value)
            for response in responses:
                self.used[id(response)].append(name)


def measure_cell(responses: Sequence[Response]) -> Measured:
    """Measure the features of a cell.

    Parameters
    ----------
    responses
        Its responses, in any order.
    """
    features = _Features()
    ordered = sorted(responses, key=lambda response: response.step.current)
    spontaneous = any(r.before or (r.step.current <= 0 and len(r.spikes)) for r in responses)
    _passive(responses, spontaneous, features)
    spiking = [r for r in ordered if r.step.current > 0 and len(r.spikes)]
    gap = np.nan
    if spiking:
        _of_spikes(spiking, features)
        if not spontaneous:
            rheobase = spiking[0].step.current
            gap = rheobase - max([0.0, *(r.step.current for r in ordered if r.step.current < rheobase)])
            features.take("rheobase", rheobase, spiking[0])
            _latencies(spiking, features)
    used = [features.used[id(response)] for response in responses]
    return Measured(features.values, used, spontaneous, gap)


def _passive(responses: Sequence[Response], spontaneous: bool, features: _Features) -> None:
    """Features of the membrane."""
    quiet = [r for r in responses if not r.before]
    if quiet:
        features.take("resting_potential", float(np.mean([r.resting for r in quiet])), *quiet)
    hyperpolarised = [r for r in responses if np.isfinite(r.steady)]
    if not hyperpolarised:
        return
    fitted = [r for r in hyperpolarised if np.isfinite(r.tau)]
    tau = float(np.median([r.tau for r in fitted])) if fitted else np.nan
    features.take("membrane_time_constant", tau, *fitted)
    # Where the time constant is not known, a step is taken to be long enough.
    settled = [r for r in hyperpolarised if not r.until_steady < _SETTLED * tau]
    _resistance(settled, spontaneous, features)
    strongest = min(r.step.current for r in hyperpolarised)
    of_sag = [r for r in settled if r.step.current == strongest and r.resting - r.lowest >= _SAG_OF]
    if of_sag:
        sags = [(r.steady - r.lowest) / (r.resting - r.lowest) for r in of_sag]
        features.take("sag", float(np.mean(sags)), *of_sag)


def _resistance(settled: Sequence[Response], spontaneous: bool, features: _Features) -> None:
    """Input resistance: of deflections from rest, or if the cell has none, since it fires, the slope of V."""
    if not spontaneous and settled:
        current = np.array([r.step.current for r in settled])
        deflection = np.array([r.steady - r.resting for r in settled])
        resistance = 1000 * float(current @ deflection) / float(current @ current)
        features.take("input_resistance", resistance, *settled)
    elif len({r.step.current for r in settled}) > 1:
        slope = np.polyfit([r.step.current for r in settled], [r.steady for r in settled], 1)[0]
        features.take("input_resistance", 1000 * float(slope), *settled)


def _nearest(spiking: Sequence[Response], above: float, around: float) -> Response | None:
    """The response nearest to a current above rheobase, the lower of two; ``None`` if none is near."""
    target = spiking[0].step.current + above
    near = min(spiking, key=lambda r: abs(r.step.current - target))
    return near if abs(near.step.current - target) <= around else None


def _of_spikes(spiking: Sequence[Response], features: _Features) -> None:
    """Features of action potentials and of rates."""
    typical = _nearest(spiking, _TYPICAL, _TYPICAL_RANGE)
    for response, suffix in ((spiking[0], ""), (typical, "_typical")):
        if response is not None:
            spike = response.first_spike
            for name in ("threshold", "amplitude", "width", "ahp", "upstroke", "downstroke"):
                features.take(f"ap_{name}{suffix}", getattr(spike, name), response)
            ratio = -spike.upstroke / spike.downstroke
            features.take(f"ap_upstroke_downstroke_ratio{suffix}", ratio, response)
    if typical is not None:
        features.take("rate", typical.firing_rate, typical)
        intervals = np.diff(typical.times)
        if len(intervals) > 1:
            features.take("isi_cv", intervals.std() / intervals.mean(), typical)
            changes = np.diff(intervals) / (intervals[1:] + intervals[:-1])
            features.take("adaptation", changes.mean(), typical)
    most = max(spiking, key=lambda r: r.firing_rate)
    features.take("max_rate", most.firing_rate, most)
    currents = [r.step.current for r in spiking]
    if len(set(currents)) > 1:
        slope = np.polyfit(currents, [r.firing_rate for r in spiking], 1)[0]
        features.take("fi_slope", slope, *spiking)


def _latencies(spiking: Sequence[Response], features: _Features) -> None:
    """Latencies of the first action potential, which need a cell that is silent without current."""
    steps = {
        "latency": spiking[0],
        "latency_next": _nearest(spiking, _NEXT, _NEXT_RANGE),
        "latency_typical": _nearest(spiking, _TYPICAL, _TYPICAL_RANGE),
    }
    for name, response in steps.items():
        if response is not None:
            features.take(name, response.first_spike.onset, response)
