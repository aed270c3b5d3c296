"""The six published recordings: their protocols, and action potentials as counted by eye."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from scvi_cae.io import read_recordings

pytest.importorskip("efel", reason="needs the extra 'ephys'")

#: Number of sweeps, and lowest and highest current, as said beside the files.
PROTOCOLS = {
    "171116sh_0018": (17, -100, 300),
    "17o05028_ic_steps": (16, -50, 100),
    "18711001": (30, -100, 290),
    "190619B_0003": (10, -120, 420),
    "2019_07_24_0055_fsi": (17, -100, 300),
    "File_axon_5": (9, -100, 300),
}


@pytest.fixture(scope="module")
def ephys():
    folder = Path(os.environ.get("SCVI_CAE_DATA", "")) / "recordings"
    if "SCVI_CAE_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("needs the real data: set SCVI_CAE_DATA to the folder that holds recordings/")
    return read_recordings(folder)


def test_protocols_are_read(ephys):
    table = ephys.uns["recordings"].dropna(subset="current_pA")
    found = {
        cell: (rows["sweep"].nunique(), rows["current_pA"].min(), rows["current_pA"].max())
        for cell, rows in table.groupby("cell")
    }
    assert found == PROTOCOLS


def test_action_potentials_on_a_plateau_are_counted(ephys):
    """In the strongest steps, V never falls below -20 mV between them."""
    table = ephys.uns["recordings"].query("cell == '190619B_0003' and current_pA > -1000")
    assert table["n_spikes"].tolist() == [0, 0, 0, 0, 3, 6, 8, 12, 13, 16]
    other = ephys.uns["recordings"].query("cell == '190619B_0003' and electrode == 'IN 2'")
    assert other["skipped"].str.startswith("its command is in 'mV'").all()


def test_depolarisations_that_are_no_action_potentials_are_not_counted(ephys):
    table = ephys.uns["recordings"].query("cell == '18711001' and current_pA >= 0")
    assert table["n_spikes"].tolist()[:8] == [0] * 7 + [2]
    table = ephys.uns["recordings"].query("cell == 'File_axon_5'")
    assert table["n_spikes"].tolist() == [0, 0, 0, 0, 0, 0, 2, 2, 3]


def test_cells_that_fire_by_themselves(ephys):
    spontaneous = ["17o05028_ic_steps", "2019_07_24_0055_fsi"]
    assert ephys.obs_names[ephys.obs["spontaneous"]].tolist() == spontaneous
    values = ephys.to_df()
    missing = ["rheobase", "latency", "latency_typical"]
    assert np.isnan(values.loc[spontaneous, missing]).all(axis=None)
    assert values.drop(spontaneous)[missing].notna().all(axis=None)


def test_the_fast_spiking_cell_is_the_fastest(ephys):
    values = ephys.to_df()
    assert values["max_rate"].idxmax() == "2019_07_24_0055_fsi"
    assert values["ap_width"].idxmin() == "2019_07_24_0055_fsi"
    assert values["membrane_time_constant"].idxmin() == "2019_07_24_0055_fsi"
