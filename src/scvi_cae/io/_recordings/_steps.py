"""Long square steps in the commands of sweeps."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._sweep import Sweep

#: Shortest step, in ms; shortest time from the last change of the current, and from the start of the sweep, to a step.
SHORTEST, BEFORE, AFTER_START = 200.0, 100.0, 20.0
#: Largest plausible current, in pA.
LARGEST = 1e4
#: Largest range of the current in a step, and difference of the holding currents around it, as a fraction of the step.
_FLAT = 0.01


@dataclass(frozen=True)
class Step:
    """A current step of a sweep.

    Parameters
    ----------
    sweep
        The sweep.
    start, end
        Its first sample, and the one after its last.
    current
        Current relative to the holding current, in pA.
    """

    sweep: Sweep
    start: int
    end: int
    current: float

    @property
    def duration(self) -> float:
        """Duration in s."""
        return (self.end - self.start) / self.sweep.rate


def find_steps(sweeps: Sequence[Sweep]) -> list[list[Step] | str]:
    """The steps of each sweep of one electrode in a file, or why there are none.

    A sweep whose command is constant where the other sweeps have steps of most different currents has a step of 0 pA.

    Parameters
    ----------
    sweeps
        The sweeps.
    """
    found = [_steps(sweep) for sweep in sweeps]
    at: dict[tuple[int, int], list[Step]] = defaultdict(list)
    for step in (step for steps in found for step in steps):
        at[_window(step)].append(step)
    varied = max(at.values(), key=lambda steps: len({step.current for step in steps}), default=[])
    results: list[list[Step] | str] = []
    for sweep, steps in zip(sweeps, found, strict=True):
        if varied and not any(_window(step) == _window(varied[0]) for step in steps):
            steps = steps + _without_current(sweep, varied[0])
        large = [step.current for step in steps if abs(step.current) > LARGEST]
        if large:
            results.append(f"a step of {large[0]:g} pA: its unit cannot be right")
        else:
            results.append(steps or sweep.skipped or _no_step(sweep))
    return results


def _window(step: Step) -> tuple[int, int]:
    """Start and end, in ms."""
    start, end = (round(1000 * sample / step.sweep.rate) for sample in (step.start, step.end))
    return start, end


def _steps(sweep: Sweep) -> list[Step]:
    """All steps that are long enough, come from the current at the start of the sweep and go back to it."""
    command = sweep.command
    known = command[np.isfinite(command)]
    if not len(known):
        return []
    holding, largest = known[0], np.abs(known).max()
    # A difference to NaN is NaN, and no step goes on across it.
    edges = np.flatnonzero(~(np.abs(np.diff(command)) <= 1e-6 * largest)) + 1
    starts, ends = np.append(0, edges), np.append(edges, len(command))
    steps = []
    for i in np.flatnonzero(ends - starts >= SHORTEST / 1000 * sweep.rate):
        rested = AFTER_START if i == 1 else BEFORE
        if i in (0, len(starts) - 1) or ends[i - 1] - starts[i - 1] < rested / 1000 * sweep.rate:
            continue
        before, after = command[starts[i - 1]], command[starts[i + 1]]
        current = round(float(np.median(command[starts[i] : ends[i]]) - holding), 6)  # units were converted
        slack = _FLAT * abs(current)
        others = np.abs([np.ptp(command[starts[i] : ends[i]]), before - holding, after - holding])
        if (others <= slack).all():  # and none is NaN
            steps.append(Step(sweep, int(starts[i]), int(ends[i]), current))
    return steps


def _without_current(sweep: Sweep, other: Step) -> list[Step]:
    """The step of 0 pA of a sweep whose command is constant during a step of another sweep, and before it."""
    if not len(sweep.command):
        return []
    ratio = sweep.rate / other.sweep.rate
    start, end = round(other.start * ratio), round(other.end * ratio)
    around = sweep.command[max(0, start - round(BEFORE * sweep.rate / 1000)) : end]
    constant = len(sweep.command) >= end and np.ptp(around) == 0
    return [Step(sweep, start, end, 0.0)] if constant else []


def _no_step(sweep: Sweep) -> str:
    """Why a sweep has no step."""
    known = sweep.command[np.isfinite(sweep.command)]
    if not len(known):
        return "its command is not known; give command=..."
    if np.ptp(known) == 0:
        return "its command is constant"
    return (
        f"no step of {SHORTEST:g} ms or more that starts from the current at the start of the sweep, {BEFORE:g} ms or more "
        "after the last change, and returns to it"
    )
