"""Simulated neurons of known properties, and files of their recordings, with and without the command."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

#: Start of the step and its end, and the end of the sweep, in ms.
START, END, LENGTH = 150.0, 650.0, 800.0
RATE = 20_000.0


@dataclass(frozen=True)
class LeakyNeuron:
    """Leaky integrate-and-fire neuron, whose action potentials are triangles.

    Its potential follows the exact solution, so that all features have formulas.
    """

    resting: float = -70.0
    resistance: float = 150.0
    tau: float = 20.0
    threshold: float = -45.0
    peak: float = 35.0
    reset: float = -60.0
    rise: float = 0.4
    fall: float = 1.2

    @property
    def rheobase(self) -> float:
        """Current in pA, above which it fires."""
        return 1000 * (self.threshold - self.resting) / self.resistance

    @property
    def width(self) -> float:
        """Width in ms at half of the height above threshold."""
        height = self.peak - self.threshold
        return self.rise / 2 + self.fall * height / 2 / (self.peak - self.reset)

    def spike_times(self, current: float) -> np.ndarray:
        """Times in ms from the start of the step at which the threshold is passed."""
        steady = self.resting + self.resistance * current / 1000
        if steady <= self.threshold:
            return np.empty(0)
        first = self.tau * np.log((steady - self.resting) / (steady - self.threshold))
        between = self.tau * np.log((steady - self.reset) / (steady - self.threshold))
        between += self.rise + self.fall
        n = int((END - START - self.rise - first) // between) + 1 if first + self.rise < END - START else 0
        return first + between * np.arange(n)

    def voltage(self, current: float, rate: float = RATE) -> np.ndarray:
        """Membrane potential of a sweep, in mV."""
        time = np.arange(round(LENGTH * rate / 1000)) * 1000 / rate - START
        duration = END - START
        steady = self.resting + self.resistance * current / 1000

        def decay(time, start, level, to):
            return to + (level - to) * np.exp(-(time - start) / self.tau)

        voltage = np.where(time < 0, self.resting, decay(time, 0, self.resting, steady))
        spikes = self.spike_times(current)
        for spike in spikes:
            rising = time >= spike
            voltage[rising] = (
                self.threshold + (self.peak - self.threshold) * (time[rising] - spike) / self.rise
            )
            falling = time >= spike + self.rise
            slope = (self.reset - self.peak) / self.fall
            voltage[falling] = self.peak + slope * (time[falling] - spike - self.rise)
            after = time >= spike + self.rise + self.fall
            voltage[after] = decay(time[after], spike + self.rise + self.fall, self.reset, steady)
        last = self.resting + (steady - self.resting) * (1 - np.exp(-duration / self.tau))
        if len(spikes):
            last = decay(duration, spikes[-1] + self.rise + self.fall, self.reset, steady)
        ended = time >= duration
        voltage[ended] = decay(time[ended], duration, last, self.resting)
        return voltage

    def sweeps(self, currents, rate: float = RATE) -> np.ndarray:
        """Membrane potential of several sweeps."""
        return np.array([self.voltage(current, rate) for current in currents])


def hodgkin_huxley(currents, dt: float = 0.02, area: float = 2e-5) -> np.ndarray:
    """Membrane potential in mV of the neuron of Hodgkin and Huxley (1952), by the exponential Euler method.

    Parameters
    ----------
    currents
        Current of each sweep, in pA.
    dt
        Time between samples, in ms.
    area
        In cm2.
    """
    current = np.asarray(currents, dtype=float) * 1e-6 / area  # in uA/cm2
    voltage = np.full(len(current), -65.0)
    m, h, n = (np.full(len(current), gate) for gate in (0.0529, 0.5961, 0.3177))
    out = np.empty((round(LENGTH / dt), len(current)))

    def linear(x, slope):
        return x / -np.expm1(-x / slope)

    for k in range(len(out)):
        out[k] = voltage
        opening = 0.1 * linear(voltage + 40.0001, 10), 0.07 * np.exp(-(voltage + 65) / 20)
        closing = 4 * np.exp(-(voltage + 65) / 18), 1 / (1 + np.exp(-(voltage + 35) / 10))
        opening += (0.01 * linear(voltage + 55.0001, 10),)
        closing += (0.125 * np.exp(-(voltage + 65) / 80),)
        m, h, n = (
            a / (a + b) + (gate - a / (a + b)) * np.exp(-dt * (a + b))
            for gate, a, b in zip((m, h, n), opening, closing, strict=True)
        )
        sodium, potassium, leak = 120 * m**3 * h, 36 * n**4, 0.3
        total = sodium + potassium + leak
        injected = current if START <= k * dt < END else 0.0
        target = (50 * sodium - 77 * potassium - 54.387 * leak + injected) / total
        voltage = target + (voltage - target) * np.exp(-dt * total)
    return out.T


def command(currents, rate: float = RATE, holding: float = 0.0) -> np.ndarray:
    """Current of each sample of sweeps, in pA."""
    time = np.arange(round(LENGTH * rate / 1000)) * 1000 / rate
    inside = (time >= START) & (time < END)
    return holding + np.outer(currents, inside)


def write_nwb(
    path: Path,
    sweeps,
    commands,
    *,
    rate: float = RATE,
    table: bool = True,
    electrode: str = "electrode 0",
) -> Path:
    """Write sweeps in mV with commands in pA, paired by the table of recordings or by sweep numbers."""
    from pynwb import NWBHDF5IO
    from pynwb.icephys import CurrentClampSeries, CurrentClampStimulusSeries

    nwb, electrodes = nwb_file([electrode])
    for i, (voltage, current) in enumerate(zip(sweeps, commands, strict=True)):
        shared = {
            "electrode": electrodes[electrode],
            "gain": 1.0,
            "rate": rate,
            "starting_time": 2.0 * i,
            "sweep_number": np.uint32(i),
        }
        # Held in V and A, by a conversion that differs.
        response = CurrentClampSeries(name=f"response {i}", data=voltage / 10, conversion=1e-2, **shared)
        stimulus = CurrentClampStimulusSeries(name=f"stimulus {i}", data=current, conversion=1e-12, **shared)
        if table:
            nwb.add_intracellular_recording(
                electrode=electrodes[electrode], stimulus=stimulus, response=response
            )
        else:
            nwb.add_acquisition(response)
            nwb.add_stimulus(stimulus)
    with NWBHDF5IO(str(path), "w") as io:
        io.write(nwb)
    return path


def nwb_file(electrodes):
    """An empty NWB file, and its electrodes by name."""
    from pynwb import NWBFile

    nwb = NWBFile(
        session_description="simulated", identifier="0", session_start_time=datetime(2020, 1, 1, tzinfo=UTC)
    )
    device = nwb.create_device(name="amplifier")
    made = {
        name: nwb.create_icephys_electrode(name=name, description="simulated", device=device)
        for name in electrodes
    }
    return nwb, made


def write_abf(path: Path, sweeps, *, rate: float = RATE, units: str = "mV", mode: int = 5) -> Path:
    """Write sweeps as pyabf does: one channel, without a command."""
    from pyabf.abfWriter import writeABF1

    writeABF1(np.asarray(sweeps), str(path), rate, units=units)
    data = bytearray(path.read_bytes())
    struct.pack_into("h", data, 8, mode)
    path.write_bytes(data)
    return path


def write_abf_with_steps(path: Path, sweeps, first: float, step: float, *, unit: str = "pA", **how) -> Path:
    """Write sweeps with an epoch table in the header, as pClamp does: a step whose current rises from sweep to sweep.

    The first epoch starts after 1/64 of a sweep, which pClamp holds.
    """
    write_abf(path, sweeps, **how)
    data = bytearray(path.read_bytes())
    # The header of the newer format is longer: data are moved.
    data[2048:2048] = bytes(8 * 512)
    struct.pack_into("i", data, 40, 12)
    struct.pack_into("f", data, 4, 1.83)
    struct.pack_into("f", data, 32, 1.83)
    struct.pack_into("8s", data, 1346, unit.ljust(8).encode())
    struct.pack_into("h", data, 2296, 1)  # the waveform is enabled
    struct.pack_into("h", data, 2300, 1)  # and made of epochs
    n = np.asarray(sweeps).shape[1]
    start, end = (round(ms * RATE / 1000) for ms in (START, END))
    epochs = [(0.0, 0.0, start - n // 64), (first, step, end - start), (0.0, 0.0, 100)]
    for i, (level, increment, duration) in enumerate(epochs):
        struct.pack_into("h", data, 2308 + 2 * i, 1)
        struct.pack_into("f", data, 2348 + 4 * i, level)
        struct.pack_into("f", data, 2428 + 4 * i, increment)
        struct.pack_into("i", data, 2508 + 4 * i, duration)
    path.write_bytes(data)
    return path
