"""Reading Lee, Dalley et al. (2023): a tiny copy with the layout and the quirks of the files, and the real ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_cae.datasets import lee2023
from scvi_cae.datasets._fetch import git_blob_id
from scvi_cae.datasets._lee2023 import EPHYS, METADATA, METADATA_NUMBERS, METADATA_TEXT, MORPH, REGISTRY

if TYPE_CHECKING:
    from mudata import MuData

CELLS = ["567737682", "567773648", "569871062"]
FEATURES = """\
specimen_id,tau,sag,upstroke_adapt_ratio,upstroke_rheo,peak_impedance_chirp,rheobase_i,fast_trough_v_last_rheo
567773648,0.0155,0.05,0.75,234.5,,30,-41.5
567737682,0.035,,0.5,258,0.25,29.5,-44
"""


def write_metadata(folder: Path, **changes: list[str]) -> None:
    """Write metadata of three cells in the order of ``CELLS``; ``changes`` replace columns."""
    table = {name: ["a"] * 3 for name in METADATA_TEXT} | {name: ["1", "", "3"] for name in METADATA_NUMBERS}
    table |= {
        "specimen_id_x": CELLS,
        "Donor": ["H17.06.003", "h19.03.002", "H17.06.003"],
        "Transcriptomic_type": ["Inh L1-2 ADARB2 MC4R", "Inh L1-4 LAMP5 LCP2 ", "Inh L3-6 SST NPY (Chodl)"],
        "Has_ephys": ["TRUE", "TRUE", ""],
        "Has_morphology": ["", "", "TRUE"],
        "Virus": ["", "unknown", ""],
        "Cortical_layer": ["3", "5_6", ""],
    }
    frame = pd.DataFrame(table | changes).rename(columns={"Transcriptomic_type": "Transcriptomic_type "})
    frame.to_csv(folder / METADATA, index=False)


def write(folder: Path) -> Path:
    """Three cells: two have ephys, two morphology."""
    (folder / EPHYS).write_text(FEATURES)
    (folder / MORPH).write_text(
        ",specimen_id,axon_extent_x,axon_num_branches\n0,569871062,326.5,73\n1,567773648,100,2\n"
    )
    write_metadata(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path)


def test_modalities(folder: Path) -> None:
    mdata = lee2023(folder)
    ephys, morph = mdata["ephys"], mdata["morph"]
    assert list(mdata.obs_names) == [CELLS[1], CELLS[0], CELLS[2]]
    assert list(ephys.obs_names) == [CELLS[1], CELLS[0]]  # the order of the file
    expected = [[0.0155, 0.05, 0.75, 234.5, np.nan, 30, -41.5], [0.035, np.nan, 0.5, 258, 0.25, 29.5, -44]]
    np.testing.assert_array_equal(ephys.X, np.array(expected, dtype=np.float32))
    assert list(ephys.var["unit"]) == ["s", "", "", "mV/ms", "GOhm", "pA", "mV"]
    sweep = "long square, rheobase sweep"
    assert list(ephys.var["stimulus"]) == [*["long square"] * 3, sweep, "chirp", "long square", sweep]

    assert list(morph.obs_names) == [CELLS[2], CELLS[1]]
    assert list(morph.var_names) == ["axon_extent_x", "axon_num_branches"]
    np.testing.assert_array_equal(morph.X, [[326.5, 73], [100, 2]])


def test_metadata_follow_the_specimens(folder: Path) -> None:
    obs = lee2023(folder).obs.loc[CELLS]
    assert set(obs) == {*map(str.lower, METADATA_TEXT + METADATA_NUMBERS), "subclass"}
    assert obs["donor"].to_list() == ["H17.06.003", "h19.03.002", "H17.06.003"]
    assert obs["transcriptomic_type"].to_list()[1] == "Inh L1-4 LAMP5 LCP2"
    assert obs["subclass"].to_list() == ["ADARB2", "LAMP5", "SST"]
    assert obs["virus"].cat.categories.to_list() == ["unknown"]
    assert obs["cortical_layer"].isna().to_list() == [False, False, True]
    np.testing.assert_array_equal(obs["days_in_culture"], [1, np.nan, 3])


@settings(max_examples=10)
@given(seeds=st.tuples(*[st.integers(0, 99)] * 3))
def test_the_order_of_rows_changes_nothing(
    seeds: tuple[int, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = write(tmp_path_factory.mktemp("a"))
    expected = lee2023(folder)
    for name, seed in zip((EPHYS, MORPH, METADATA), seeds, strict=True):
        header, *rows = (folder / name).read_text().splitlines()
        order = np.random.default_rng(seed).permutation(len(rows))
        (folder / name).write_text("\n".join([header, *(rows[i] for i in order), ""]))
    mdata = lee2023(folder)
    for name in mdata.mod:
        there = expected[name].to_df()
        pd.testing.assert_frame_equal(mdata[name].to_df().loc[there.index], there)
    pd.testing.assert_frame_equal(mdata.obs.loc[expected.obs_names], expected.obs)


def test_a_repeated_row_is_left_out_with_a_warning(folder: Path) -> None:
    expected = lee2023(folder)
    path = folder / METADATA
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.warns(UserWarning, match=rf"{METADATA}: rows left out that repeat another row: 1") as caught:
        mdata = lee2023(folder)
    assert [warning.filename for warning in caught if "left out" in str(warning.message)] == [__file__]
    pd.testing.assert_frame_equal(mdata.obs, expected.obs)


def test_metadata_of_no_cell_are_left_out_with_a_warning(folder: Path) -> None:
    (folder / EPHYS).write_text("".join(FEATURES.splitlines(keepends=True)[:2]))
    with pytest.warns(UserWarning, match="1 row left out, because no modality has this cell"):
        mdata = lee2023(folder)
    assert set(mdata.obs_names) == set(CELLS[1:])


CHANGED = {
    "cell twice": (EPHYS, "567737682", "567773648", "cell '567773648' is listed more than once"),
    "row of two": (MORPH, "569871062", "567773648", "cell '567773648' is listed more than once"),
    "no name": (MORPH, "569871062", "", "'specimen_id' is nan in 1 rows"),
    "no metadata": (METADATA, "567737682", "7", r"no row for 1 cells of ephys, e\.g\. '567737682'"),
    "text": (MORPH, "326.5", "wide", "'axon_extent_x' is not numeric"),
    "no key": (METADATA, "specimen_id_x", "specimen_id", "no column 'specimen_id_x'"),
    "no type": (METADATA, "Transcriptomic_type ", "type", "no column 'Transcriptomic_type'"),
}


@pytest.mark.parametrize(("name", "old", "new", "message"), CHANGED.values(), ids=CHANGED)
def test_another_layout_is_refused(folder: Path, name: str, old: str, new: str, message: str) -> None:
    path = folder / name
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
        lee2023(folder)


@pytest.fixture(scope="module")
def real_folder() -> Path:
    folder = Path(os.environ.get("SCVI_CAE_DATA", "")) / "lee2023"
    if "SCVI_CAE_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("needs the real data: set SCVI_CAE_DATA to the folder that holds lee2023/")
    return folder


@pytest.fixture(scope="module")
def real(real_folder: Path) -> MuData:
    with pytest.warns(UserWarning, match="left out") as caught:
        mdata = lee2023(real_folder)
    messages = [str(warning.message).partition(": ")[2] for warning in caught]
    assert [message for message in messages if "left out" in message] == [
        "rows left out that repeat another row: 1.",
        "69 rows left out, because no modality has these cells.",
    ]
    return mdata


def test_real_files_are_the_registered_ones(real_folder: Path) -> None:
    assert {name: git_blob_id(real_folder / name) for name in REGISTRY.blobs} == REGISTRY.blobs


def test_real_features(real: MuData) -> None:
    ephys, morph = real["ephys"], real["morph"]
    assert (real.n_obs, ephys.shape, morph.shape) == (709, (704, 93), (140, 51))
    missing = np.isnan(ephys.X)
    assert (missing.sum(), missing.all(axis=1).sum()) == (7621, 2)
    assert not np.isnan(morph.X).any()
    units = ephys.var["unit"]
    ratios = units[units == ""].index
    assert len(ratios) == 25
    assert all(any(word in name for word in ("ratio", "adapt", "isi_cv", "sq_var", "sag")) for name in ratios)
    medians = pd.Series(np.nanmedian(ephys.X, axis=0), index=ephys.var_names)
    assert medians[units == "s"].between(0.0004, 0.2).all()
    assert medians[units == "mV"].between(-90, 80).all()
    # Impedance at low frequencies and input resistance are the same quantity in different units.
    chirp, step = ephys[:, "low_freq_impedance_chirp"].X * 1000, ephys[:, "input_resistance"].X
    assert 0.8 < np.nanmedian(chirp / step) < 1.3


def test_real_metadata(real: MuData) -> None:
    obs = real.obs
    assert obs["donor"].nunique() == 113
    assert (obs["cell_name"].astype(object).str[:10] == obs["donor"].astype(object)).all()
    counts = obs.loc[real["ephys"].obs_names, "subclass"].value_counts().to_dict()
    assert counts == {"PVALB": 268, "SST": 258, "VIP": 103, "LAMP5": 55, "PAX6": 12, "ADARB2": 4, "GAD1": 4}
    assert ((obs["days_in_culture"] == 0) == (obs["condition"] == "acute")).all()
