"""Features of published recordings as ipfx measures them, in an environment of its own: it needs other versions.

    pip install ipfx; SCVI_CAE_DATA=... python tests/benchmarks/recordings_ipfx.py ipfx.csv

It writes what ``recordings.py --ipfx ipfx.csv`` shows beside the package's features. Steps are those written down there;
resistance, resting potential and time constant are of ipfx' long squares, action potentials of its first sweep that
spikes. Its width is at half of the height above the trough; here it is computed above threshold, from its times.
"""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyabf
from ipfx.feature_extractor import SpikeFeatureExtractor, SpikeTrainFeatureExtractor
from ipfx.stimulus_protocol_analysis import LongSquareAnalysis
from ipfx.sweep import Sweep, SweepSet


def protocols() -> dict[str, tuple[int, int, int, int]]:
    """Those that are written down in ``recordings.py``, which imports the package."""
    tree = ast.parse(Path(__file__).with_name("recordings.py").read_text(encoding="utf-8"))
    found = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "PROTOCOLS"
    ]
    return ast.literal_eval(found[0])


def measure(path: Path, start: int, end: int, first: int, increment: int) -> dict[str, float]:
    """Features of a file."""
    abf = pyabf.ABF(str(path))
    sweeps = []
    for number in abf.sweepList:
        abf.setSweep(number)
        current = np.zeros(len(abf.sweepY))
        current[start:end] = first + increment * number
        time = np.arange(len(current)) / abf.dataRate
        # From 100 ms before the step to 100 ms after.
        part = slice(start - abf.dataRate // 10, end + abf.dataRate // 10)
        sweeps.append(
            Sweep(
                t=time[part] - time[part][0],
                v=abf.sweepY[part].astype(float),
                i=current[part],
                sampling_rate=abf.dataRate,
                sweep_number=number,
                clamp_mode="CurrentClamp",
                epochs={},
            )
        )
    window = (0.1, 0.1 + (end - start) / abf.dataRate)
    # Filters that suit 20 kHz; the default is for 200 kHz.
    spikes = SpikeFeatureExtractor(start=window[0], end=window[1], filter=0.499 * abf.dataRate / 1000)
    trains = SpikeTrainFeatureExtractor(start=window[0], end=window[1], baseline_interval=0.1)
    analysis = LongSquareAnalysis(spikes, trains, subthresh_min_amp=-200, require_subthreshold=False)
    found = analysis.analyze(SweepSet(sweeps))
    table = found["sweeps"].assign(amplitude=found["sweeps"]["stim_amp"])
    spiking = table[(table["avg_rate"] > 0) & (table["amplitude"] > 0)].sort_values("amplitude")
    at = spiking.index[0]
    one = found["spikes_set"][at].iloc[0]
    sweep = sweeps[at]
    onset, peak = int(one["threshold_index"]), int(one["peak_index"])
    half = (one["threshold_v"] + one["peak_v"]) / 2
    width = peak + np.argmax(sweep.v[peak:] < half) - onset - np.argmax(sweep.v[onset:] > half)
    return {
        "resting_potential": found.get("v_baseline", np.nan),
        "input_resistance": found.get("input_resistance", np.nan),
        "membrane_time_constant": 1000 * found.get("tau", np.nan),
        "rheobase": spiking["amplitude"].iloc[0],
        "max_rate": table["avg_rate"].max(),
        "latency": 1000 * (one["threshold_t"] - window[0]),
        "ap_threshold": one["threshold_v"],
        "ap_amplitude": one["peak_v"] - one["threshold_v"],
        "ap_width": 1000 * width / abf.dataRate,
        "ap_upstroke": one["upstroke"],
        "ap_downstroke": one["downstroke"],
    }


def main() -> None:
    """Write the table."""
    folder = Path(os.environ["SCVI_CAE_DATA"]) / "recordings"
    rows = {}
    for name, protocol in protocols().items():
        try:
            rows[name] = measure(folder / f"{name}.abf", *protocol)
        except Exception as error:  # noqa: BLE001 what ipfx cannot measure is left out
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    pd.DataFrame(rows).T.to_csv(sys.argv[1])


if __name__ == "__main__":
    main()
