"""Features of published recordings, measured in two independent ways; simulated neurons with noise; and speed.

    SCVI_CAE_DATA=... python tests/benchmarks/recordings.py [--ipfx FILE] [--part agreement noise speed]

The second measurement reads the files by neo, knows the steps from the protocols as they are written down here, and
shares no code with the package: action potentials are upward crossings of 20 V/s that go on to a peak 10 mV higher,
their threshold is at 5 % of the maximal rate of rise as in ipfx, widths are of whole samples, resistances means over
sweeps, and time constants slopes of logarithms. ``--ipfx`` adds what ``recordings_ipfx.py`` wrote.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from scvi_cae.io import read_recordings

#: Start and end of the step in samples, first current and its increment in pA.
PROTOCOLS = {
    "171116sh_0018": (2937, 12937, -100, 25),
    "17o05028_ic_steps": (2937, 12937, -50, 10),
    "18711001": (16468, 26468, 0, 10),
    "190619B_0003": (10478, 20478, -120, 60),
    "2019_07_24_0055_fsi": (2937, 12937, -100, 25),
    "File_axon_5": (4312, 14312, -100, 50),
}
SHOWN = [
    "resting_potential",
    "input_resistance",
    "membrane_time_constant",
    "rheobase",
    "max_rate",
    "latency",
    "ap_threshold",
    "ap_amplitude",
    "ap_width",
    "ap_upstroke",
    "ap_downstroke",
]


def sweeps_by_neo(path: Path) -> tuple[list[np.ndarray], float]:
    """Sweeps of the first channel in mV, and samples in a ms."""
    from neo.io import AxonIO

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segments = AxonIO(str(path)).read_block(lazy=False).segments
    rate = float(segments[0].analogsignals[0].sampling_rate.rescale("kHz"))
    return [np.asarray(segment.analogsignals[0].rescale("mV"))[:, 0] for segment in segments], rate


def crossings(voltage: np.ndarray, rate: float, start: int, end: int) -> list[tuple[int, int]]:
    """Threshold and peak of each action potential in the step."""
    slope = np.diff(voltage) * rate
    fast = (slope > 20) & (np.arange(len(slope)) > start + rate)
    found: list[tuple[int, int]] = []
    for i in np.flatnonzero(fast & ~np.roll(fast, 1)):
        peak = i
        while peak + 1 < len(voltage) and voltage[peak + 1] >= voltage[peak]:
            peak += 1
        if start <= peak < end and voltage[peak] - voltage[i] > 10 and (not found or peak != found[-1][1]):
            steepest = slope[i:peak].max()
            first = i
            while first > start and slope[first - 1] > 0.05 * steepest:
                first -= 1
            found.append((first, peak))
    return found


def by_hand(path: Path) -> dict[str, float]:
    """Features of a file, without the package."""
    start, end, first, increment = PROTOCOLS[path.stem]
    sweeps, rate = sweeps_by_neo(path)
    currents = first + increment * np.arange(len(sweeps))
    base = round(100 * rate)
    spikes = [crossings(voltage, rate, start, end) for voltage in sweeps]
    quiet = [not crossings(voltage, rate, start - base, start) for voltage in sweeps]
    values: dict[str, float] = {
        "resting_potential": np.mean(
            [np.median(v[start - base : start]) for v, q in zip(sweeps, quiet, strict=True) if q]
        )
    }
    spontaneous = not all(quiet) or any(s and c <= 0 for s, c in zip(spikes, currents, strict=True))
    down = [(v, c, start, end) for v, c, s in zip(sweeps, currents, spikes, strict=True) if c < 0 and not s]
    if path.stem == "18711001":  # it has its hyperpolarising step at the start of each sweep
        down = [(voltage, -100.0, 468, 6468) for voltage in sweeps]
    resistances, times, steady = [], [], []
    for voltage, current, a, b in down:
        rest = np.median(voltage[max(0, a - base) : a])
        last = np.median(voltage[b - round(75 * rate) : b])
        steady.append((current, last))
        resistances.append((last - rest) / current * 1000)
        depth = voltage - np.median(np.sort(voltage[a:b])[: round(5 * rate)])
        fit = np.arange(a, b)[(depth[a:b] > 0.1 * depth[a]) & (depth[a:b] < 0.9 * depth[a])]
        fit = fit[: np.flatnonzero(np.diff(np.r_[fit, b + 9999]) > 20)[0]]
        times.append(-1 / np.polyfit(fit / rate, np.log(depth[fit]), 1)[0])
    values["input_resistance"] = (
        1000 * np.polyfit(*zip(*steady, strict=True), 1)[0] if spontaneous else float(np.mean(resistances))
    )
    values["membrane_time_constant"] = float(np.median(times))
    duration = (end - start) / rate / 1000
    values["max_rate"] = max(len(s) for s, c in zip(spikes, currents, strict=True) if c > 0) / duration
    at = next(i for i, (s, c) in enumerate(zip(spikes, currents, strict=True)) if s and c > 0)
    voltage, (onset, peak) = sweeps[at], spikes[at][0]
    slope = np.diff(voltage) * rate
    if not spontaneous:
        values["rheobase"] = float(currents[at])
        values["latency"] = (onset - start) / rate
    half = (voltage[onset] + voltage[peak]) / 2
    after = voltage[peak : peak + round(10 * rate)] < half
    values |= {
        "ap_threshold": voltage[onset],
        "ap_amplitude": voltage[peak] - voltage[onset],
        "ap_width": (peak + np.argmax(after) - onset - np.argmax(voltage[onset:] > half)) / rate,
        "ap_upstroke": slope[onset:peak].max(),
        "ap_downstroke": slope[peak : peak + round(10 * rate)].min(),
    }
    return values


def agreement(ipfx: Path | None) -> None:
    """Features of six files, of the package and by hand."""
    folder = Path(os.environ["SCVI_CAE_DATA"]) / "recordings"
    ours = read_recordings(folder).to_df()
    tables = {
        "ours": ours,
        "by hand": pd.DataFrame({p.stem: by_hand(p) for p in sorted(folder.glob("*.abf"))}).T,
    }
    if ipfx is not None:
        tables["ipfx"] = pd.read_csv(ipfx, index_col=0)
    print(f"| file | measured | {' | '.join(SHOWN)} |\n|{'---|' * (len(SHOWN) + 2)}")
    for cell in ours.index:
        for name, table in tables.items():
            row = table.reindex(index=[cell], columns=SHOWN).iloc[0]
            print(f"| {cell} | {name} | " + " | ".join("" if np.isnan(v) else f"{v:.3g}" for v in row) + " |")


def noise() -> None:
    """How features of a simulated neuron move with noise and drift."""
    from neurons import END, START, LeakyNeuron, write_abf

    neuron, currents = LeakyNeuron(), np.arange(-100.0, 321, 30)
    clean, rng, rows = neuron.sweeps(currents), np.random.default_rng(0), {}
    given = {"start": START, "end": END, "amplitudes": currents}
    with tempfile.TemporaryDirectory() as folder:
        for sd in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5):
            for drift in (0.0, 10.0):
                moved = clean + sd * rng.normal(size=clean.shape) + np.linspace(0, drift, len(clean))[:, None]
                path = write_abf(Path(folder) / "a.abf", moved)
                ephys = read_recordings(path, command=given)
                rows[f"noise {sd} mV, drift {drift:g} mV"] = ephys.to_df().iloc[0][[*SHOWN, "sag", "ap_ahp"]]
    print(pd.DataFrame(rows).T.round(3).to_string())


def speed() -> None:
    """Seconds a cell, of 16 sweeps of 3 s at 20 kHz."""
    import neurons

    neurons.END, neurons.LENGTH = 2150.0, 3000.0
    neuron, currents = neurons.LeakyNeuron(), np.linspace(-100, 500, 16)
    sweeps = neuron.sweeps(currents)
    sweeps += 0.1 * np.random.default_rng(0).normal(size=sweeps.shape)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(6):
            neurons.write_abf_with_steps(Path(folder) / f"cell_{i}.abf", sweeps, currents[0], 40.0)
        read_recordings(Path(folder) / "cell_0.abf")  # imports
        start = time.perf_counter()
        read_recordings(folder)
        print(
            f"{(time.perf_counter() - start) / 6:.2f} s a cell: 16 sweeps of 3 s at 20 kHz, steps of 2 s, one core"
        )


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ipfx", type=Path, help="table written by recordings_ipfx.py")
    parts = ["agreement", "noise", "speed"]
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    args = parser.parse_args()
    if "agreement" in args.part:
        agreement(args.ipfx)
    if "noise" in args.part:
        noise()
    if "speed" in args.part:
        speed()


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1]))  # the simulated neurons of the tests
    main()
