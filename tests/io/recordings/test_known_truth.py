"""Simulated neurons, of which all features are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import find_peaks

from neurons import (
    END,
    RATE,
    START,
    LeakyNeuron,
    command,
    hodgkin_huxley,
    write_abf,
    write_abf_with_steps,
    write_nwb,
)
from scvi_cae.io import read_recordings

pytest.importorskip("efel", reason="needs the extra 'ephys'")

CURRENTS = np.arange(-100.0, 321, 30)
NEURON = LeakyNeuron()


def step(amplitudes):
    return {"start": START, "end": END, "amplitudes": amplitudes}


def measure(path, sweeps, currents=CURRENTS, *, rate=RATE):
    """Features of simulated sweeps that are written to an ABF file."""
    ephys = read_recordings(write_abf(path, sweeps, rate=rate), command=step(currents))
    return ephys.to_df().iloc[0], ephys.uns["recordings"]


@pytest.fixture(scope="module", params=["nwb", "nwb without table", "abf", "abf with its steps"])
def read(request, tmp_path_factory):
    """AnnData of the leaky neuron, from each kind of file."""
    folder, sweeps = tmp_path_factory.mktemp("recordings"), NEURON.sweeps(CURRENTS)
    if request.param.startswith("nwb"):
        path = folder / "neuron.nwb"
        # A holding current is no part of a step.
        write_nwb(path, sweeps, command(CURRENTS, holding=-35.0), table=request.param == "nwb")
        return read_recordings(path)
    path = folder / "neuron.abf"
    if request.param == "abf":
        return read_recordings(write_abf(path, sweeps), command=step(CURRENTS))
    return read_recordings(write_abf_with_steps(path, sweeps, CURRENTS[0], 30.0))


def test_the_membrane_of_a_leaky_neuron(read):
    values = read.to_df().loc["neuron"]
    assert values["input_resistance"] == pytest.approx(NEURON.resistance, rel=0.02)
    assert values["membrane_time_constant"] == pytest.approx(NEURON.tau, rel=0.02)
    assert values["resting_potential"] == pytest.approx(NEURON.resting, abs=0.01)
    assert values["sag"] == pytest.approx(0, abs=1e-3)


def test_its_rheobase_and_rates(read):
    values = read.to_df().loc["neuron"]
    counts = np.array([len(NEURON.spike_times(current)) for current in CURRENTS])
    assert read.uns["recordings"]["n_spikes"].tolist() == counts.tolist()
    assert read.uns["recordings"]["current_pA"].tolist() == pytest.approx(CURRENTS)
    assert values["rheobase"] == CURRENTS[CURRENTS > NEURON.rheobase][0]
    assert read.obs.loc["neuron", "rheobase_step"] == 30
    assert values["max_rate"] == pytest.approx(counts.max() / 0.5)
    fires = counts > 0
    assert values["fi_slope"] == pytest.approx(
        np.polyfit(CURRENTS[fires], counts[fires] / 0.5, 1)[0], rel=1e-4
    )
    # 60 pA above rheobase.
    assert values["rate"] == pytest.approx(counts[CURRENTS == 230][0] / 0.5)
    assert values[["isi_cv", "adaptation"]].tolist() == pytest.approx([0, 0], abs=2e-3)
    assert np.isnan(values["latency_next"])  # no step is 15 to 25 pA above


def test_its_action_potentials(read):
    values, sample = read.to_df().loc["neuron"], 1000 / RATE
    for current, suffix in ((170.0, ""), (230.0, "_typical")):
        # A triangle, whose corners lie between samples.
        assert values[f"ap_width{suffix}"] == pytest.approx(NEURON.width, abs=sample)
        assert values[f"latency{suffix}"] == pytest.approx(NEURON.spike_times(current)[0], abs=sample)
        assert values[f"ap_threshold{suffix}"] == pytest.approx(NEURON.threshold, abs=0.5)
        assert values[f"ap_amplitude{suffix}"] == pytest.approx(80, abs=1.5)
        assert values[f"ap_ahp{suffix}"] == pytest.approx(NEURON.reset - NEURON.threshold, abs=1)
        assert values[f"ap_upstroke{suffix}"] == pytest.approx(80 / NEURON.rise, rel=0.01)
        assert values[f"ap_downstroke{suffix}"] == pytest.approx(-95 / NEURON.fall, rel=0.01)
        assert values[f"ap_upstroke_downstroke_ratio{suffix}"] == pytest.approx(2.526, rel=0.02)


def test_times_of_action_potentials(read):
    spikes = read.uns["action_potentials"]
    for sweep, current in enumerate(CURRENTS):
        found = spikes.loc[spikes["sweep"] == sweep, "time_ms"].to_numpy()
        assert found == pytest.approx(START + NEURON.spike_times(current) + NEURON.rise, abs=1000 / RATE)


@pytest.fixture(scope="module")
def squid():
    """Currents, and sweeps of the neuron of Hodgkin and Huxley at 50 kHz."""
    currents = np.array([-60.0, -40, -20, 0, 40, 60, 80, 100, 110, 140, 160, 180])
    return currents, hodgkin_huxley(currents)


@pytest.mark.parametrize("every", [1, 2, 5], ids=["50 kHz", "25 kHz", "10 kHz"])
def test_a_neuron_of_hodgkin_and_huxley(tmp_path, squid, every):
    currents, fine = squid
    rate = 50_000 / every
    values, table = measure(tmp_path / "squid.abf", fine[:, ::every], currents, rate=rate)
    inside = slice(round(START * 50), round(END * 50))
    counts = [len(find_peaks(voltage[inside], height=0)[0]) for voltage in fine]
    # It fires after strong hyperpolarising steps, not in them.
    assert table["n_spikes"].tolist() == counts
    first = int(np.argmax(np.array(counts) > 0))
    assert values["rheobase"] == currents[first]
    assert values["max_rate"] == pytest.approx(max(counts) / 0.5)
    # 50 pA above rheobase; the shape of its first action potential in the fine trace.
    typical = fine[np.flatnonzero(currents == currents[first] + 50)[0]]
    threshold, amplitude, width = shape(typical[round(START * 50) + 50 :], 0.02)
    sample = 1000 / rate
    assert values["ap_width_typical"] == pytest.approx(width, abs=sample / 2)
    assert values["ap_threshold_typical"] == pytest.approx(threshold, abs=1.0)
    assert values["ap_amplitude_typical"] == pytest.approx(amplitude, abs=1.5)


def shape(voltage, dt):
    """Threshold at 10 V/s, amplitude and width of the first action potential in a fine trace."""
    peak = find_peaks(voltage, height=0)[0][0]
    onset = peak - int(np.argmax((np.gradient(voltage, dt) < 10)[peak - 20 :: -1])) - 20
    half = (voltage[onset] + voltage[peak]) / 2
    rise = np.interp(half, voltage[onset : peak + 1], np.arange(onset, peak + 1))
    down = peak + int(np.argmax(voltage[peak:] < half))
    fall = np.interp(-half, -voltage[peak : down + 1], np.arange(peak, down + 1))
    return voltage[onset], voltage[peak] - voltage[onset], (fall - rise) * dt


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_noise_moves_features_little(tmp_path, noise):
    sweeps = NEURON.sweeps(CURRENTS)
    clean, _ = measure(tmp_path / "clean.abf", sweeps)
    noisy, table = measure(
        tmp_path / "noisy.abf", sweeps + noise * np.random.default_rng(0).normal(size=sweeps.shape)
    )
    assert table["n_spikes"].tolist() == [len(NEURON.spike_times(current)) for current in CURRENTS]
    assert noisy["rheobase"] == clean["rheobase"]
    assert noisy[["input_resistance", "membrane_time_constant", "ap_width"]].tolist() == pytest.approx(
        clean[["input_resistance", "membrane_time_constant", "ap_width"]].tolist(), rel=0.05
    )
    assert noisy["ap_threshold"] == pytest.approx(clean["ap_threshold"], abs=1.5)
    assert noisy["ap_ahp"] == pytest.approx(clean["ap_ahp"], abs=1.5)
    assert noisy["sag"] == pytest.approx(0, abs=0.05)


def test_drift_from_sweep_to_sweep_moves_the_resting_potential_alone(tmp_path):
    sweeps = NEURON.sweeps(CURRENTS)
    drift = np.linspace(-4, 4, len(sweeps))[:, None]
    still, _ = measure(tmp_path / "still.abf", sweeps)
    drifting, _ = measure(tmp_path / "drifting.abf", sweeps + drift)
    passive = ["input_resistance", "membrane_time_constant", "rheobase", "ap_amplitude", "ap_width"]
    assert drifting[passive].tolist() == pytest.approx(still[passive].tolist(), rel=0.01)
    assert drifting["ap_threshold"] == pytest.approx(still["ap_threshold"] + drift[9, 0], abs=0.1)


def test_a_jump_across_the_electrode_is_no_part_of_the_time_constant(tmp_path):
    jump = command(CURRENTS) * 0.02  # 20 MOhm that the bridge does not balance
    values, table = measure(tmp_path / "bridge.abf", NEURON.sweeps(CURRENTS) + jump)
    assert values["membrane_time_constant"] == pytest.approx(NEURON.tau, rel=0.02)
    assert table["jump_mV"].iloc[0] == pytest.approx(-2, abs=0.05)
    # It adds to the resistance of the membrane.
    assert values["input_resistance"] == pytest.approx(NEURON.resistance + 20, rel=0.02)
    assert table["n_spikes"].tolist() == [len(NEURON.spike_times(current)) for current in CURRENTS]


def test_a_sag_and_a_slow_membrane(tmp_path):
    time = np.arange(round(800 * RATE / 1000)) * 1000 / RATE
    inside = (time >= START) & (time < END)
    since = np.where(inside, time - START, 0)
    # To -90 mV with 10 ms, and back to -86 mV with 80 ms.
    sag = np.where(inside, -70 - 20 * (1 - np.exp(-since / 10)) + 4 * (1 - np.exp(-since / 80)), -70)
    values, _ = measure(tmp_path / "sag.abf", [sag], [-100.0])
    lowest = sag[inside].min()
    assert values["sag"] == pytest.approx((sag[inside][-2000:].mean() - lowest) / (-70 - lowest), abs=0.01)
    # A time constant of 150 ms leaves a step of 500 ms no steady state: no resistance.
    slow = LeakyNeuron(tau=150.0)
    values, _ = measure(tmp_path / "slow.abf", slow.sweeps([-100.0, -50]), [-100.0, -50])
    assert values["membrane_time_constant"] == pytest.approx(150, rel=0.02)
    assert np.isnan(values[["input_resistance", "sag"]]).all()


def test_without_hyperpolarising_steps_and_without_action_potentials(tmp_path):
    depolarising, _ = measure(tmp_path / "up.abf", NEURON.sweeps([20.0, 200, 260]), [20.0, 200, 260])
    passive = ["input_resistance", "membrane_time_constant", "sag"]
    assert np.isnan(depolarising[passive]).all()
    assert depolarising["rheobase"] == 200
    silent, _ = measure(tmp_path / "down.abf", NEURON.sweeps([-60.0, 0, 60]), [-60.0, 0, 60])
    assert silent[["resting_potential", *passive]].notna().all()
    assert np.isnan(silent.drop(["resting_potential", *passive])).all()


def test_rheobase_of_a_cell_that_fires_by_itself_is_missing(tmp_path):
    sweeps = NEURON.sweeps(CURRENTS)
    at = slice(round((START - 60) * 20), round((START - 58) * 20))
    sweeps[:, at] += np.hanning(40) * 100  # an action potential of its own, before each step
    ephys = read_recordings(write_abf(tmp_path / "a.abf", sweeps), command=step(CURRENTS))
    values = ephys.to_df().loc["a"]
    assert ephys.obs.loc["a", "spontaneous"]
    missing = ["rheobase", "latency", "latency_next", "latency_typical", "resting_potential"]
    assert np.isnan(values[missing]).all()
    assert values["input_resistance"] == pytest.approx(NEURON.resistance, rel=0.02)
    assert values[["ap_width", "max_rate"]].notna().all()
