"""The command that measures recordings: its tables, and how they go on to the other commands."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from neurons import END, START, LeakyNeuron, write_abf, write_abf_with_steps
from scvi_cae.cli import app

pytest.importorskip("efel", reason="needs the extra 'ephys'")

CURRENTS = np.array([-60.0, 80, 220])


def run(*args: object, code: int = 0):
    """Run the command; its messages."""
    result = CliRunner().invoke(app, ["recordings", *map(str, args)])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("recordings")
    sweeps = LeakyNeuron().sweeps(CURRENTS)
    write_abf_with_steps(path / "a_1.abf", sweeps, -60.0, 140.0)
    write_abf(path / "b_1.abf", sweeps)
    return path


@pytest.fixture
def commands(tmp_path):
    """A table of the steps of the file that has none."""
    path = tmp_path / "commands.csv"
    steps = {"file": "b_1.abf", "start_ms": START, "end_ms": END}
    pd.DataFrame({**steps, "sweep": [2, 0, 1], "current_pA": CURRENTS[[2, 0, 1]]}).to_csv(path)
    return path


def test_tables_of_cells_and_sweeps(folder, commands, tmp_path):
    out = tmp_path / "out.csv"
    message = run(folder, out, "--cell", "^[a-z]", "--command", commands)
    assert "Measured 2 cells on 6 steps; 0 steps or sweeps were skipped" in message
    features = pd.read_csv(out, index_col="cell")
    assert features.index.tolist() == ["a", "b"]
    assert features["input_resistance"].to_numpy() == pytest.approx(150, rel=0.02)
    assert features["rheobase"].tolist() == [220, 220]
    assert pd.read_csv(tmp_path / "out.cells.csv", index_col="cell")["n_steps"].tolist() == [3, 3]
    sweeps = pd.read_csv(tmp_path / "out.sweeps.csv")
    assert sweeps["current_pA"].tolist() == pytest.approx([*CURRENTS, *CURRENTS])
    # Its columns are those of a table of commands.
    again = tmp_path / "again.csv"
    run(folder, again, "--cell", "^[a-z]", "--command", tmp_path / "out.sweeps.csv")
    assert again.read_text() == out.read_text()


def test_a_table_of_cells_and_other_formats(folder, commands, tmp_path):
    cells = tmp_path / "cells.tsv"
    pd.DataFrame({"file": ["a_1", "b_1"], "cell": ["x", "x"]}).to_csv(cells, sep="\t")
    run(folder, tmp_path / "out.tsv.gz", "--cell", cells, "--command", commands)
    assert pd.read_csv(tmp_path / "out.tsv.gz", sep="\t")["cell"].tolist() == ["x"]
    assert len(pd.read_csv(tmp_path / "out.sweeps.tsv.gz", sep="\t")) == 6


def test_the_table_is_read_as_a_modality(folder, tmp_path):
    run(folder / "a_1.abf", tmp_path / "out.csv")
    tables = [f"ephys={tmp_path / 'out.csv'}", f"obs={tmp_path / 'out.cells.csv'}"]
    result = CliRunner().invoke(
        app, ["read", "--table", tables[0], "--table", tables[1], str(tmp_path / "in.h5mu")]
    )
    assert result.exit_code == 0, result.output
    assert "names of 'concepts' in scvi_cae.pp.ephys_names: 27 of 27 features" in result.stderr


def test_advice_is_in_options(folder, tmp_path):
    message = run(folder / "b_1.abf", tmp_path / "out.csv", code=1)
    assert message.startswith("Error: No sweep can be used. b_1.abf: its command is in")
    assert "give --command" in message
    message = run(folder, tmp_path / "out.csv", "--cell", "^(a)_", code=1)
    assert message.startswith("Error: --cell '^(a)_' gives no cell for 'b_1.abf'")
    (tmp_path / "a_1.abf").write_bytes((folder / "a_1.abf").read_bytes())
    message = run(folder / "a_1.abf", tmp_path / "a_1.abf", tmp_path / "out.csv", code=1)
    assert "Say which cell each is of: --cell FILE, a table with columns file and cell." in message
    (tmp_path / "empty").mkdir()
    message = run(tmp_path / "empty", tmp_path / "out.csv", code=1)
    assert message.endswith("Folders in it are not searched; give their files.\n")
    run(folder / "a_1.abf", tmp_path / "out.csv")
    message = run(folder / "a_1.abf", tmp_path / "out.csv", code=1)
    assert message.startswith(f"Error: {tmp_path / 'out.csv'} already exists.")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,sweep\nb_1.abf,0\n", "has no columns current_pA, start_ms, end_ms"),
        (
            "file,sweep,current_pA,start_ms,end_ms\nb_1.abf,0,10,100,600\nb_1.abf,0,10,100,600\n",
            "one row for each sweep",
        ),
    ],
)
def test_tables_of_commands_that_cannot_be_used(folder, tmp_path, table, message):
    (tmp_path / "commands.csv").write_text(table)
    assert message in run(folder, tmp_path / "out.csv", "--command", tmp_path / "commands.csv", code=1)
