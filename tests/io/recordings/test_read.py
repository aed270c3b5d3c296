"""What is returned: cells, tables, files; and what can be done with it."""

from __future__ import annotations

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest

from neurons import END, START, LeakyNeuron, write_abf, write_abf_with_steps
from scvi_cae.io import read_recordings
from scvi_cae.pp import ephys_concepts, ephys_names

pytest.importorskip("efel", reason="needs the extra 'ephys'")

CURRENTS = np.array([-60.0, 10, 80, 150, 220, 290])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two cells, one of which has two files."""
    path = tmp_path_factory.mktemp("recordings")
    one, two = LeakyNeuron(), LeakyNeuron(resistance=250.0, tau=30.0)
    write_abf_with_steps(path / "one_steps.abf", one.sweeps(CURRENTS), -60.0, 70.0)
    write_abf_with_steps(path / "two_down.abf", two.sweeps([-60.0, -40]), -60.0, 20.0)
    write_abf_with_steps(path / "two_up.abf", two.sweeps([80.0, 120, 160]), 80.0, 40.0)
    (path / "notes.txt").write_text("slices of today")
    return path


CELLS = {
    "function": lambda path: path.name[:3],
    "regular expression": "^[a-z]+",
    "its group": "^([a-z]+)_",
    "mapping": {"one_steps": "one", "two_down.abf": "two", "two_up.abf": "two"},
    "table": pd.DataFrame({"file": ["one_steps", "two_down", "two_up"], "cell": ["one", "two", "two"]}),
}


@pytest.mark.parametrize("how", CELLS)
def test_files_of_a_cell_are_joined(folder, how):
    ephys = read_recordings(folder, cell=CELLS[how])
    assert ephys.obs_names.tolist() == ["one", "two"]
    assert ephys.obs["n_files"].tolist() == [1, 2]
    values = ephys.to_df().loc["two"]
    assert values["input_resistance"] == pytest.approx(250, rel=0.02)
    assert values["rheobase"] == 120


def test_each_file_is_a_cell_by_default(folder):
    ephys = read_recordings([folder / "two_up.abf", str(folder / "one_steps.abf")])
    assert ephys.obs_names.tolist() == ["two_up", "one_steps"]
    assert np.isnan(ephys.to_df().loc["two_up", "input_resistance"])


@pytest.mark.parametrize(
    ("cell", "error", "message"),
    [
        ("^(one)_", ValueError, r"cell='\^\(one\)_' gives no cell for 'two_down\.abf', 'two_up\.abf'"),
        ({"one_steps": "one"}, ValueError, "cell=dict gives no cell for 'two_down.abf'"),
        (pd.DataFrame({"a": [1]}), ValueError, "cell has no columns 'file' and 'cell', only 'a'"),
        (pd.DataFrame({"file": ["a", "a"], "cell": ["x", "y"]}), ValueError, "several rows of 'a'"),
        (3, TypeError, "must be a function of a path"),
    ],
)
def test_files_without_a_cell(folder, cell, error, message):
    with pytest.raises(error, match=message):
        read_recordings(folder, cell=cell)


def test_files_of_one_name_in_two_folders(folder, tmp_path):
    (tmp_path / "one_steps.abf").write_bytes((folder / "one_steps.abf").read_bytes())
    both = [folder / "one_steps.abf", tmp_path / "one_steps.abf"]
    with pytest.raises(
        ValueError, match="Several files are named 'one_steps'.*cell=lambda path: path.parent.name"
    ):
        read_recordings(both)
    ephys = read_recordings(both, cell=lambda path: path.parent.name)
    assert ephys.n_obs == 2


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ("absent.abf", FileNotFoundError, "There is no file .*absent.abf"),
        ("notes.txt", ValueError, r"endings are \.abf and \.nwb"),
        (
            "empty",
            FileNotFoundError,
            r"empty has no recordings \(\.abf, \.nwb\)\. Folders in it are not searched",
        ),
    ],
)
def test_files_that_are_not_there(folder, files, error, message):
    (folder / "empty").mkdir(exist_ok=True)
    with pytest.raises(error, match=message):
        read_recordings(folder / files)
    with pytest.raises(ValueError, match="No files are given"):
        read_recordings([])


def test_features_are_concepts_in_their_units(folder):
    ephys = read_recordings(folder, cell="^([a-z]+)_")
    concepts = ephys_concepts().loc[ephys.var_names]
    assert 20 <= ephys.n_vars <= 30
    assert ephys.var["concept"].tolist() == ephys.var_names.tolist()
    assert ephys.var["unit"].tolist() == concepts["unit"].tolist()
    assert ephys.var["stimulus"].tolist() == concepts["stimulus"].tolist()


def test_tables_of_what_was_measured(folder):
    ephys = read_recordings(folder, cell="^([a-z]+)_")
    table = ephys.uns["recordings"]
    assert table.groupby("cell")["sweep"].count().to_dict() == {"one": 6, "two": 5}
    assert table[["start_ms", "end_ms"]].drop_duplicates().to_numpy().tolist() == [[START, END]]
    used = table.set_index(["cell", "current_pA"]).sort_index()["used_for"]
    assert "input_resistance" in used["one", -60]
    assert "rheobase, latency" in used["one", 220]
    assert "ap_width" not in used["one", 290]
    assert used["one", 10] == "resting_potential"
    counts = ephys.uns["action_potentials"].groupby(["cell", "sweep"]).size()
    assert counts["one", 4] == table.query("cell == 'one' and sweep == 4")["n_spikes"].item()
    assert ephys.uns["action_potentials"]["peak_mV"].between(30, 36).all()


def test_results_can_be_written(folder, tmp_path):
    ephys = read_recordings(folder, cell="^([a-z]+)_")
    ephys.write_h5ad(tmp_path / "ephys.h5ad")
    back = anndata.read_h5ad(tmp_path / "ephys.h5ad")
    pd.testing.assert_frame_equal(back.to_df(), ephys.to_df())
    read = back.uns["recordings"].astype({"skipped": str})
    assert read["used_for"].tolist() == ephys.uns["recordings"]["used_for"].tolist()
    mudata.MuData({"ephys": ephys}).write(tmp_path / "ephys.h5mu")


@pytest.mark.slow
def test_several_processes_measure_the_same(folder):
    one, two = (read_recordings(folder, cell="^([a-z]+)_", n_jobs=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one.to_df(), two.to_df())
    pd.testing.assert_frame_equal(one.uns["recordings"], two.uns["recordings"])


def test_names_go_to_those_of_a_model(folder):
    ephys = read_recordings(folder, cell="^([a-z]+)_")
    names = ephys_names(ephys.var_names, "scala2020").set_index("scala2020")
    # All 13 features that the reference has.
    shared = {
        "Resting membrane potential (mV)",
        "Input resistance (MOhm)",
        "Membrane time constant (ms)",
        "Sag ratio",
        "AP threshold (mV)",
        "AP amplitude (mV)",
        "Afterhyperpolarization (mV)",
        "AP width (ms)",
        "Upstroke-to-downstroke ratio",
        "Latency (ms)",
        "Latency @ +20pA current (ms)",
        "Rheobase (pA)",
        "Max number of APs",
    }
    assert shared <= set(names.index)
    assert names.loc["Max number of APs", "factor"] == pytest.approx(0.6)


def test_settings_of_efel_stay_as_they_were(folder):
    import efel

    efel.set_setting("Threshold", -7.0)
    try:
        read_recordings(folder / "one_steps.abf")
        assert efel.get_settings().Threshold == -7.0
        assert efel.get_settings().interp_step == 0.1
    finally:
        efel.reset()


def test_a_command_for_one_of_the_files(folder, tmp_path):
    one = LeakyNeuron()
    write_abf(tmp_path / "bare.abf", one.sweeps(CURRENTS))
    given = {"bare": {"start": START, "end": END, "amplitudes": CURRENTS}}
    ephys = read_recordings([tmp_path / "bare.abf", folder / "one_steps.abf"], command=given)
    np.testing.assert_allclose(ephys.X[0], ephys.X[1], rtol=1e-4, atol=1e-4)
