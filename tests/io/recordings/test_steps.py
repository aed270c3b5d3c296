"""Which steps are found in the commands of sweeps."""

from __future__ import annotations

import numpy as np
import pytest

from scvi_cae.io._recordings._steps import find_steps
from scvi_cae.io._recordings._sweep import Sweep

RATE = 10_000.0


def sweep(*parts, number=0, rate=RATE):
    """A sweep whose command has parts of so many ms and pA."""
    command = np.concatenate([np.full(round(ms * rate / 1000), pA) for ms, pA in parts])
    return Sweep("electrode", number, np.full(len(command), -70.0), command, rate)


def found(*sweeps):
    """Current, start and end in ms of the steps of each sweep; or why there are none."""
    return [
        steps
        if isinstance(steps, str)
        else [
            (one.current, 1000 * one.start / one.sweep.rate, 1000 * one.end / one.sweep.rate) for one in steps
        ]
        for steps in find_steps(sweeps)
    ]


@pytest.mark.parametrize("holding", [0.0, -37.5])
def test_a_step_is_relative_to_the_holding_current(holding):
    one = sweep((150, holding), (500, holding + 50), (100, holding))
    assert found(one) == [[(pytest.approx(50), 150, 650)]]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (((150, 0.0), (150, 50.0), (100, 0.0)), "shorter than 200 ms"),
        (((10, 0.0), (500, 50.0), (100, 0.0)), "at the start of the sweep"),
        (((150, 0.0), (500, 50.0)), "does not return"),
        (((150, 0.0), (500, 50.0), (100, 20.0)), "returns to another current"),
        (((150, 0.0), (300, -50.0), (50, 0.0), (150, 60.0), (100, 0.0)), "the first of two"),
        (((150, 0.0), (20, -50.0), (20, 0.0), (300, 60.0), (100, 0.0)), "too soon after another"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_steps_are_none(parts, why):
    (steps,) = found(sweep(*parts))
    if why == "the first of two":
        assert steps == [(-50.0, 150, 450)]
    else:
        assert steps.startswith("no step of 200 ms")


def test_ramps_sines_and_noise_are_no_steps():
    time = np.arange(8000) / RATE
    inside = (time > 0.15) & (time < 0.65)
    noise = np.random.default_rng(0).normal(size=len(time))
    for command in (
        inside * 400 * (time - 0.15),
        inside * 100 * np.sin(60 * time),
        inside * (50 + 5 * noise),
    ):
        (steps,) = found(Sweep("electrode", 0, np.zeros(8000), command, RATE))
        assert steps.startswith("no step of 200 ms")
    # A ramp that is slower than single steps of the digital output.
    slow = np.round(inside * 20 * (time - 0.15), 2)
    assert isinstance(found(Sweep("electrode", 0, np.zeros(8000), slow, RATE))[0], str)


def test_a_sweep_of_constant_command_among_steps_has_a_step_of_no_current():
    sweeps = [sweep((150, 0.0), (500, current), (100, 0.0)) for current in (-50.0, 0.0, 50.0)]
    assert [steps[0][0] for steps in found(*sweeps)] == [-50, 0, 50]
    assert found(*sweeps)[1] == [(0, 150, 650)]
    # Alone it has none, and where it is not constant in that time neither.
    assert found(sweeps[1]) == ["its command is constant"]
    ramp = np.r_[np.zeros(1000), np.linspace(0, 10, 5500), np.zeros(1000)]
    other = Sweep("electrode", 3, np.zeros(7500), ramp, RATE)
    assert isinstance(found(*sweeps, other)[3], str)


def test_a_test_pulse_is_a_step_beside_that_which_varies():
    sweeps = [
        sweep((25, 0.0), (300, -100.0), (500, 0.0), (500, current), (100, 0.0))
        for current in (0.0, 40.0, 80.0)
    ]
    assert found(*sweeps) == [
        [(-100, 25, 325), (0, 825, 1325)],
        [(-100, 25, 325), (40, 825, 1325)],
        [(-100, 25, 325), (80, 825, 1325)],
    ]


def test_a_step_after_another_level_than_the_holding_current_is_none():
    """As in protocols with a second step that follows a hyperpolarising one."""
    both = sweep((150, 0.0), (500, 75.0), (500, 0.0), (500, -100.0), (500, 75.0), (200, 0.0))
    assert found(both) == [[(75, 150, 650)]]


def test_the_time_between_two_steps_is_no_step():
    both = sweep((150, 0.0), (500, -100.0), (500, 0.0), (1000, -100.0), (500, 0.0))
    assert found(both) == [[(-100, 150, 650), (-100, 1150, 2150)]]


def test_sweeps_of_other_lengths_and_rates():
    sweeps = [
        sweep((150, 0.0), (500, -50.0), (100, 0.0)),
        sweep((150, 0.0), (500, 50.0), (900, 0.0)),
        sweep((400, 0.0), (200, 50.0), (100, 0.0), rate=50_000.0),
        sweep((2000, 0.0), rate=50_000.0),
        sweep((100, 0.0)),
    ]
    assert found(*sweeps) == [
        [(-50, 150, 650)],
        [(50, 150, 650)],
        [(50, 400, 600)],
        [(0, 150, 650)],
        "its command is constant",
    ]


def test_what_is_not_known_is_no_step():
    command = np.r_[np.zeros(1500), np.full(5000, 50.0), np.full(1000, np.nan)]
    assert isinstance(found(Sweep("electrode", 0, np.zeros(7500), command, RATE))[0], str)
    unknown = Sweep("electrode", 0, np.zeros(7500), np.full(7500, np.nan), RATE)
    assert found(unknown) == ["its command is not known; give command=..."]


def test_an_impossible_current_is_of_another_unit():
    (reason,) = found(sweep((150, 0.0), (500, 5e4), (100, 0.0)))
    assert "50000 pA" in reason
    assert "unit" in reason
