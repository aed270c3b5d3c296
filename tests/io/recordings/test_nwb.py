"""NWB files: which stimulus belongs to which response, units, and what is no current clamp."""

from __future__ import annotations

import numpy as np
import pytest

from neurons import END, RATE, START, LeakyNeuron, command, nwb_file, write_nwb
from scvi_cae.io import read_recordings

pytest.importorskip("efel", reason="needs the extra 'ephys'")
pytest.importorskip("pynwb", reason="needs the extra 'ephys'")

CURRENTS = np.array([-60.0, -30, 200, 250])
NEURON = LeakyNeuron()


@pytest.fixture(scope="module")
def sweeps():
    return NEURON.sweeps(CURRENTS)


def assert_measured(ephys, row=0):
    values = ephys.to_df().iloc[row]
    assert values["input_resistance"] == pytest.approx(NEURON.resistance, rel=0.02)
    assert values["membrane_time_constant"] == pytest.approx(NEURON.tau, rel=0.02)
    assert values["rheobase"] == 200


def write(path, nwb):
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(path), "w") as io:
        io.write(nwb)
    return path


def series(kind, name, electrode, data, *, number=None, start=0.0, conversion=1e-3, **more):
    import pynwb.icephys

    rate = {} if "timestamps" in more else {"rate": RATE, "starting_time": start}
    number = {} if number is None else {"sweep_number": np.uint32(number)}
    options = {"gain": 1.0, "conversion": conversion, **rate, **number, **more}
    if kind == "IZeroClampSeries":
        del options["gain"]
        options["gain"] = 1.0
    return getattr(pynwb.icephys, kind)(name=name, electrode=electrode, data=data, **options)


def test_pairs_by_starting_time_and_a_stimulus_that_starts_later(tmp_path, sweeps):
    nwb, electrodes = nwb_file(["e"])
    late = 500  # samples
    for i, (voltage, current) in enumerate(zip(sweeps, command(CURRENTS), strict=True)):
        nwb.add_acquisition(series("CurrentClampSeries", f"v{i}", electrodes["e"], voltage, start=10.0 * i))
        nwb.add_stimulus(
            series(
                "CurrentClampStimulusSeries",
                f"c{i}",
                electrodes["e"],
                current,
                start=10.0 * i,
                conversion=1e-12,
            )
        )
    assert_measured(read_recordings(write(tmp_path / "a.nwb", nwb)))
    # In the table of recordings, by which responses and stimuli are paired whenever they start.
    nwb, electrodes = nwb_file(["e"])
    for i, (voltage, current) in enumerate(zip(sweeps, command(CURRENTS), strict=True)):
        response = series("CurrentClampSeries", f"v{i}", electrodes["e"], voltage, start=10.0 * i)
        stimulus = series(
            "CurrentClampStimulusSeries",
            f"c{i}",
            electrodes["e"],
            current[late:],
            start=10.0 * i + late / RATE,
            conversion=1e-12,
        )
        nwb.add_intracellular_recording(electrode=electrodes["e"], response=response, stimulus=stimulus)
    ephys = read_recordings(write(tmp_path / "b.nwb", nwb))
    assert ephys.uns["recordings"]["start_ms"].tolist() == [START] * 4
    assert_measured(ephys)


def test_one_series_with_all_sweeps(tmp_path, sweeps):
    nwb, electrodes = nwb_file(["e"])
    response = series("CurrentClampSeries", "v", electrodes["e"], sweeps.ravel())
    stimulus = series(
        "CurrentClampStimulusSeries", "c", electrodes["e"], command(CURRENTS).ravel(), conversion=1e-12
    )
    n = sweeps.shape[1]
    for i in range(len(sweeps)):
        nwb.add_intracellular_recording(
            electrode=electrodes["e"],
            response=response,
            stimulus=stimulus,
            response_start_index=i * n,
            response_index_count=n,
            stimulus_start_index=i * n,
            stimulus_index_count=n,
        )
    ephys = read_recordings(write(tmp_path / "a.nwb", nwb))
    assert ephys.uns["recordings"]["current_pA"].tolist() == CURRENTS.tolist()
    assert_measured(ephys)


def test_electrodes_are_cells(tmp_path, sweeps):
    other = LeakyNeuron(resistance=300.0)
    nwb, electrodes = nwb_file(["left", "right"])
    both = {"left": sweeps, "right": other.sweeps(CURRENTS / 2)}
    currents = {"left": CURRENTS, "right": CURRENTS / 2}
    for name, electrode in electrodes.items():
        for i, (voltage, current) in enumerate(zip(both[name], command(currents[name]), strict=True)):
            nwb.add_acquisition(series("CurrentClampSeries", f"v {name} {i}", electrode, voltage, number=i))
            nwb.add_stimulus(
                series(
                    "CurrentClampStimulusSeries",
                    f"c {name} {i}",
                    electrode,
                    current,
                    number=i,
                    conversion=1e-12,
                )
            )
    ephys = read_recordings(write(tmp_path / "a.nwb", nwb))
    assert ephys.obs_names.tolist() == ["a_left", "a_right"]
    assert_measured(ephys)
    assert ephys.to_df()["input_resistance"].iloc[1] == pytest.approx(300, rel=0.02)
    assert ephys.to_df()["rheobase"].iloc[1] == 100
    # What is to be said of a file is said, whatever its cells are named.
    (tmp_path / "b.nwb").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"b\.nwb: it cannot be read"):
        both = read_recordings(tmp_path, cell=lambda path: "slice")
    assert {"slice_left", "slice_right"} <= set(both.obs_names)


@pytest.mark.parametrize(
    ("unit", "of", "factor"), [("mV", "v", 1.0), ("V", "v", 1e-3), ("nA", "c", 1e-3), ("pA", "c", 1.0)]
)
def test_units_in_the_file_are_those_that_count(tmp_path, sweeps, unit, of, factor):
    """pynwb itself takes whatever a file has for volts and amperes."""
    import h5py

    path = write_nwb(tmp_path / "a.nwb", sweeps, command(CURRENTS))
    with h5py.File(path, "a") as file:
        for i in range(4):
            name = f"acquisition/response {i}" if of == "v" else f"stimulus/presentation/stimulus {i}"
            data = file[name]["data"]
            data.attrs["unit"] = unit
            data.attrs["conversion"] = factor * (0.01 * 1e3 if of == "v" else 1.0)
    assert_measured(read_recordings(path))


def test_an_unknown_unit_is_no_voltage(tmp_path, sweeps):
    import h5py

    path = write_nwb(tmp_path / "a.nwb", sweeps, command(CURRENTS))
    with h5py.File(path, "a") as file:
        for i in range(4):
            file[f"acquisition/response {i}"]["data"].attrs["unit"] = "counts"
    with pytest.raises(ValueError, match="response 0 is in 'counts', no unit of voltage"):
        read_recordings(path)


def test_other_series_are_skipped(tmp_path, sweeps):
    nwb, electrodes = nwb_file(["e"])
    e = electrodes["e"]
    for i, (voltage, current) in enumerate(zip(sweeps, command(CURRENTS), strict=True)):
        nwb.add_acquisition(series("CurrentClampSeries", f"v{i}", e, voltage, number=i))
        nwb.add_stimulus(
            series("CurrentClampStimulusSeries", f"c{i}", e, current, number=i, conversion=1e-12)
        )
    nwb.add_acquisition(series("VoltageClampSeries", "clamp", e, sweeps[0], number=4, conversion=1e-12))
    nwb.add_acquisition(series("CurrentClampSeries", "alone", e, sweeps[0], number=5))
    padded = np.r_[sweeps[0][: round(END * 20) - 2000], np.full(16000, np.nan)]
    nwb.add_acquisition(series("CurrentClampSeries", "stopped", e, padded, number=6))
    nwb.add_stimulus(
        series("CurrentClampStimulusSeries", "c6", e, command(CURRENTS)[0], number=6, conversion=1e-12)
    )
    times = np.arange(16000) / RATE
    times[8000:] += 0.1
    nwb.add_acquisition(series("CurrentClampSeries", "irregular", e, sweeps[0], number=7, timestamps=times))
    ephys = read_recordings(write(tmp_path / "a.nwb", nwb))
    assert_measured(ephys)
    skipped = ephys.uns["recordings"].set_index("sweep")["skipped"]
    assert (skipped.loc[:3] == "").all()
    assert skipped[4] == "no current clamp (VoltageClampSeries)"
    assert skipped[5] == "no stimulus belongs to alone; give command=..."
    assert skipped[6].startswith("no step of 200 ms")
    assert skipped[7] == "irregular: its samples are not at a constant rate"


def test_a_command_that_is_given(tmp_path, sweeps):
    nwb, electrodes = nwb_file(["e"])
    for i, voltage in enumerate(sweeps):
        nwb.add_acquisition(series("CurrentClampSeries", f"v{i}", electrodes["e"], voltage, number=i))
    path = write(tmp_path / "a.nwb", nwb)
    assert_measured(read_recordings(path, command={"start": START, "end": END, "amplitudes": CURRENTS}))


def test_files_that_are_cut_short_or_of_another_kind(tmp_path, sweeps):
    import h5py

    path = write_nwb(tmp_path / "a.nwb", sweeps, command(CURRENTS))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(ValueError, match=r"a\.nwb: it cannot be read .*cut short"):
        read_recordings(path)
    with h5py.File(tmp_path / "b.nwb", "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match=r"b\.nwb: it cannot be read .*no NWB file of version 2"):
        read_recordings(tmp_path / "b.nwb")
    nwb, _ = nwb_file(["e"])
    with pytest.raises(ValueError, match="it has no recordings of patch clamp, only nothing acquired"):
        read_recordings(write(tmp_path / "c.nwb", nwb))
