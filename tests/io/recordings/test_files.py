"""Files that cannot be used, in part or at all, and what is said of them; ABF files."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest

from neurons import END, RATE, START, LeakyNeuron, command, write_abf, write_abf_with_steps
from scvi_cae.io import read_recordings

pytest.importorskip("efel", reason="needs the extra 'ephys'")

CURRENTS = np.array([-60.0, -30, 200, 250])
NEURON = LeakyNeuron()
STEP = {"start": START, "end": END, "amplitudes": CURRENTS}


@pytest.fixture(scope="module")
def sweeps():
    return NEURON.sweeps(CURRENTS)


def assert_measured(ephys):
    values = ephys.to_df().iloc[0]
    assert values["input_resistance"] == pytest.approx(NEURON.resistance, rel=0.02)
    assert values["rheobase"] == 200


def test_a_file_without_command(tmp_path, sweeps):
    path = write_abf(tmp_path / "a.abf", sweeps)
    with pytest.raises(
        ValueError, match=r"No sweep can be used\. a\.abf: its command is in 'no unit'.*give command="
    ):
        read_recordings(path)


@pytest.mark.parametrize("form", ["step", "array", "by name", "by stem"])
def test_commands_that_are_given(tmp_path, sweeps, form):
    path = write_abf(tmp_path / "a.abf", sweeps)
    given = {
        "step": STEP,
        "array": command(CURRENTS),
        "by name": {"a.abf": STEP},
        "by stem": {"a": STEP, "b": None},
    }
    assert_measured(read_recordings(path, command=given[form]))


def test_a_command_that_is_given_replaces_that_of_the_file(tmp_path, sweeps):
    path = write_abf_with_steps(tmp_path / "a.abf", sweeps, -6.0, 3.0)
    wrong = read_recordings(path).uns["recordings"]["current_pA"]
    assert wrong.tolist() == [-6, -3, 0, 3]
    assert_measured(read_recordings(path, command=STEP))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({**STEP, "amplitudes": CURRENTS[:3]}, ValueError, r"currents of 3 sweeps, and a\.abf has 4"),
        ({"start": 100, "end": 600}, ValueError, r"must have \['start', 'end', 'amplitudes'\]"),
        ({**STEP, "end": 100}, ValueError, "0 <= start < end in ms"),
        (command(CURRENTS)[:, :100], ValueError, r"has 100 samples, and sweep 0 of a\.abf has 16000"),
        (command(CURRENTS)[0], ValueError, "sweeps x samples"),
        (50.0, TypeError, "command=50.0 is none"),
        ("steps", TypeError, "command='steps' is none"),
    ],
)
def test_commands_that_do_not_fit(tmp_path, sweeps, given, error, message):
    path = write_abf(tmp_path / "a.abf", sweeps)
    with pytest.raises(error, match=message):
        read_recordings(path, command=given)


@pytest.mark.parametrize(("unit", "factor"), [("V", 1e-3), ("mV", 1.0), ("uV", 1e3)])
def test_units_of_voltage(tmp_path, sweeps, unit, factor):
    path = write_abf(tmp_path / "a.abf", sweeps * factor, units=unit)
    assert_measured(read_recordings(path, command=STEP))


@pytest.mark.parametrize(("unit", "factor"), [("uA", 1e-6), ("nA", 1e-3), ("pA", 1.0)])
def test_units_of_the_command(tmp_path, unit, factor):
    currents = np.array([-60.0, 70, 200])
    path = tmp_path / "a.abf"
    write_abf_with_steps(path, NEURON.sweeps(currents), -60.0 * factor, 130.0 * factor, unit=unit)
    table = read_recordings(path).uns["recordings"]
    assert table["current_pA"].tolist() == pytest.approx([-60, 70, 200], rel=1e-6)


@pytest.mark.parametrize("unit", ["mV", "A"])
def test_a_command_in_another_unit_is_none(tmp_path, sweeps, unit):
    path = write_abf_with_steps(tmp_path / "a.abf", sweeps, -60.0, 30.0, unit=unit)
    with pytest.raises(ValueError, match=f"its command is in '{unit}', no unit of current .*give command="):
        read_recordings(path)


@pytest.mark.parametrize("source", [2, 7])
def test_a_command_that_is_not_in_the_file(tmp_path, sweeps, source):
    """But in a stimulus file, as a source of 2 says, or nowhere."""
    path = write_abf_with_steps(tmp_path / "a.abf", sweeps, -60.0, 30.0)
    data = bytearray(path.read_bytes())
    struct.pack_into("h", data, 2300, source)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="stimulus file.*give command="):
        read_recordings(path)
    assert_measured(read_recordings(path, command=STEP))


def test_the_command_of_another_output(tmp_path):
    """Of a file with one electrode, if no other output varies."""
    currents = np.array([-60.0, 70, 200])
    path = write_abf_with_steps(tmp_path / "a.abf", NEURON.sweeps(currents), -60.0, 130.0)
    data = bytearray(path.read_bytes())
    data[1354:1362] = b"pA      "
    for offset, n in ((2296, 2), (2300, 2)):  # enabled, source
        data[offset + n : offset + 2 * n], data[offset : offset + n] = data[offset : offset + n], bytes(n)
    for offset, n in ((2308, 20), (2348, 40), (2428, 40), (2508, 40)):  # epochs
        data[offset + n : offset + 2 * n], data[offset : offset + n] = data[offset : offset + n], bytes(n)
    path.write_bytes(data)
    assert read_recordings(path).uns["recordings"]["current_pA"].tolist() == pytest.approx([-60, 70, 200])


def test_voltage_clamp_and_gap_free_files(tmp_path, sweeps):
    clamp = write_abf(tmp_path / "clamp.abf", sweeps, units="pA")
    with pytest.raises(ValueError, match="it is of voltage clamp: its channels are in 'pA'"):
        read_recordings(clamp, command=STEP)
    free = write_abf(tmp_path / "free.abf", sweeps.reshape(1, -1), mode=3)
    with pytest.raises(ValueError, match="its mode is gap-free"):
        read_recordings(free)


@pytest.mark.parametrize("part", [0.001, 0.02, 0.5, 0.99])
def test_a_file_that_is_cut_short(tmp_path, sweeps, part):
    path = write_abf_with_steps(tmp_path / "a.abf", sweeps, -60.0, 30.0)
    path.write_bytes(path.read_bytes()[: round(part * path.stat().st_size)])
    with pytest.raises(ValueError, match="it cannot be read .*cut short"):
        read_recordings(path)


def test_a_file_that_is_no_recording(tmp_path):
    path = tmp_path / "a.abf"
    path.write_text("cell,rheobase\na,100\n")
    with pytest.raises(ValueError, match=r"a\.abf: it cannot be read .*no ABF file"):
        read_recordings(path)


def test_bad_files_do_not_keep_good_ones_from_being_read(tmp_path, sweeps):
    write_abf(tmp_path / "good.abf", sweeps)
    write_abf(tmp_path / "clamp.abf", sweeps, units="pA")
    (tmp_path / "empty.abf").write_bytes(b"")
    with pytest.warns(UserWarning, match="2 cells have no usable sweep and are left out") as caught:
        ephys = read_recordings(tmp_path, command=STEP)
    assert len(caught) == 1
    assert "clamp.abf: it is of voltage clamp" in str(caught[0].message)
    assert "empty.abf: it cannot be read" in str(caught[0].message)
    assert ephys.obs_names.tolist() == ["good"]
    table = ephys.uns["recordings"].set_index("cell")
    assert table.loc["clamp", "skipped"].startswith("it is of voltage clamp")
    assert_measured(ephys)


def bad(sweeps, kind):
    """Sweeps of which the third is bad."""
    sweeps = sweeps.copy()
    time = np.arange(sweeps.shape[1]) * 1000 / RATE
    if kind == "depolarised":
        sweeps[2] += 60
    elif kind == "off":
        sweeps[2] += 20
    elif kind == "drifts":
        sweeps[2, : round(START * 20)] += np.linspace(-18, 0, round(START * 20))
    elif kind == "noisy":
        sweeps[2] += 5 * np.sin(time)
    elif kind == "limited":
        sweeps[2] = np.minimum(sweeps[2], 10)
    return sweeps


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("depolarised", "resting potential -9.998 mV, not in -110 to -30"),
        ("off", "resting potential -50.0 mV, more than 15 mV from the cell's median -70.0"),
        ("drifts", "V drifts by 12.0 mV in 100 ms before the step"),
        ("noisy", "V has a standard deviation of 3.5 mV"),
        ("limited", "V stays at 10.0 mV, the limit of the amplifier"),
    ],
)
def test_bad_sweeps_are_left_out(tmp_path, sweeps, kind, reason):
    ephys = read_recordings(write_abf(tmp_path / "a.abf", bad(sweeps, kind)), command=STEP)
    table = ephys.uns["recordings"]
    assert table["skipped"].str.len().gt(0).tolist() == [False, False, True, False]
    assert table["skipped"].iloc[2].startswith(reason)
    assert table["used_for"].iloc[2] == ""
    assert ephys.obs[["n_steps", "n_skipped"]].iloc[0].tolist() == [3, 1]
    assert ephys.to_df()["rheobase"].iloc[0] == 250


def test_a_slow_rate_is_refused(tmp_path, sweeps):
    path = write_abf(tmp_path / "a.abf", sweeps[:, ::5], rate=4000.0)
    with pytest.raises(ValueError, match="sampled at 4 kHz, less than 5"):
        read_recordings(path, command=STEP)


def test_voltage_in_another_unit_than_the_file_says_is_noticed(tmp_path, sweeps):
    path = write_abf(tmp_path / "a.abf", sweeps / 10)
    with pytest.raises(ValueError, match="resting potential -7 mV, not in -110 to -30"):
        read_recordings(path, command=STEP)


def test_a_scale_of_the_command_that_cannot_be_right_gives_no_resistance(tmp_path, sweeps):
    path = write_abf(tmp_path / "a.abf", sweeps)
    with pytest.warns(UserWarning, match="impossible values became NaN: 'input_resistance' 1 "):
        ephys = read_recordings(path, command={**STEP, "amplitudes": CURRENTS / 1000})
    assert np.isnan(ephys.to_df()["input_resistance"].iloc[0])


@pytest.mark.parametrize(("scale", "warns"), [(1.0, False), (2.0, True)])
def test_a_recorded_current_is_compared_with_the_command(tmp_path, sweeps, scale, warns):
    path = write_two_channels(tmp_path / "a.abf", sweeps, command(CURRENTS) * scale)
    if warns:
        with pytest.warns(
            UserWarning, match=r"a\.abf: the recorded current of sweep 0 is -120 pA, the command -60 pA"
        ):
            ephys = read_recordings(path, command=STEP)
    else:
        ephys = read_recordings(path, command=STEP)
    assert_measured(ephys)


def write_two_channels(path, voltage, current):
    """An ABF file with a channel of V, in 0.1 mV, and one of the current, in 0.1 pA."""
    both = np.stack([voltage, current], axis=-1)
    write_abf(path, both.reshape(len(both), -1) / 10)
    data = bytearray(path.read_bytes())
    gain = struct.unpack_from("f", data, 922)[0]
    struct.pack_into("h", data, 120, 2)
    struct.pack_into("f", data, 122, 1e6 / RATE / 2)
    struct.pack_into("2h", data, 410, 0, 1)
    for channel, unit in enumerate((b"mV      ", b"pA      ")):
        struct.pack_into("8s", data, 602 + 8 * channel, unit)
        struct.pack_into("f", data, 922 + 4 * channel, gain / 10)
    path.write_bytes(data)
    return path


def test_sweeps_that_end_before_their_step(tmp_path, sweeps):
    path = write_abf(tmp_path / "a.abf", sweeps[:, : round((END - 50) * 20)])
    with pytest.raises(ValueError, match="no step of 200 ms or more"):
        read_recordings(path, command=STEP)


@pytest.mark.parametrize(("module", "name"), [("pyabf", "pyabf"), ("efel", "efel")])
def test_without_a_library_it_is_said_how_to_get_it(tmp_path, sweeps, monkeypatch, module, name):
    path = write_abf(tmp_path / "a.abf", sweeps)

    def absent(library):
        if library == module:
            raise ModuleNotFoundError(library)
        return __import__(library)

    monkeypatch.setattr("scvi_cae.io._recordings._sweep.import_module", absent)
    with pytest.raises(
        ImportError, match=rf'Reading recordings needs {name}: pip install "scvi-cae\[ephys\]"'
    ):
        read_recordings(path, command=STEP)


def test_the_package_is_imported_without_these_libraries():
    absent = "import sys; sys.modules.update(dict.fromkeys(['efel', 'pyabf', 'pynwb', 'neo'])); "
    subprocess.run([sys.executable, "-c", absent + "import scvi_cae.io"], check=True)
