"""Reading Gouwens et al. (2020): a tiny copy with the layout and the quirks of the files, and the real ones."""

from __future__ import annotations

import os
from pathlib import Path

import mudata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_cae.datasets import gouwens2020
from scvi_cae.datasets._fetch import git_blob_id
from scvi_cae.datasets._gouwens2020 import (
    EMPTY,
    EPHYS,
    METADATA,
    METADATA_NUMBERS,
    METADATA_TEXT,
    PROBABILITIES,
    REGISTRY,
    SAMPLES,
)

SESSIONS = ["601506492", "601790945", "601803733"]
FEATURES = """\
rheobase_sweep_num,thumbnail_sweep_num,tau,ri,latency,peak_t_ramp,threshold_v_short_square,ID
11,12,9.5,150,0.02,1.5,-40.5,sub-2_ses-601790945_icephys.nwb
8,8,13.25,200,0.0125,,-45,sub-1_ses-601506492_icephys.nwb
,,,,,,,sub-3_ses-601803733_icephys.nwb
"""


def write_metadata(folder: Path, **changes: list[str]) -> None:
    """Write metadata of three cells in the order of ``SESSIONS``; ``changes`` replace columns."""
    table = {name: ["a"] * 3 for name in METADATA_TEXT} | {
        name: ["0.5", "", "1"] for name in METADATA_NUMBERS
    }
    table |= {name: [""] * 3 for name in EMPTY}
    table |= {
        "ephys_session_id": SESSIONS,
        "cell_specimen_id": ["601506507", "601790961", "601803754"],
        "donor_id": ["331294", "331663", "331663"],
        "apical_dendrite_status": ["NA", "intact", "NA"],
        "t_type": ["Sst Myh8 Etv1 ", "", "Vip Lmo1 Myl1"],
    }
    pd.DataFrame(table | changes).to_csv(folder / METADATA, index=False)


def write(folder: Path) -> Path:
    """Three cells, one without features, one without type and probabilities."""
    (folder / EPHYS).write_text(FEATURES)
    write_metadata(folder)
    (folder / PROBABILITIES).write_text(
        "sample_id,Vip Lmo1 Myl1,Sst Myh8 Etv1 ,Excitatory\nP3,0.75,0,0.25\nP9,1,0,0\nP1,0.5,0.5,0\n"
    )
    (folder / SAMPLES).write_text(
        "cell_id,sample_id,class\n601803754,P3,inhibitory\n601790961,,\n601506507,P1,inhibitory\n9,P9,inhibitory\n"
    )
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path)


def test_features_have_units_and_stimuli(folder: Path) -> None:
    ephys = gouwens2020(folder)["ephys"]
    assert list(ephys.obs_names) == [SESSIONS[1], SESSIONS[0], SESSIONS[2]]  # the order of the file
    assert list(ephys.var_names) == ["tau", "ri", "latency", "peak_t_ramp", "threshold_v_short_square"]
    assert list(ephys.var["unit"]) == ["ms", "MOhm", "s", "s", "mV"]
    assert list(ephys.var["stimulus"]) == [
        "long square",
        "long square",
        "long square, hero sweep",
        "ramp",
        "short square",
    ]
    expected = [[9.5, 150, 0.02, 1.5, -40.5], [13.25, 200, 0.0125, np.nan, -45], [np.nan] * 5]
    assert ephys.X.dtype == np.float32
    np.testing.assert_array_equal(ephys.X, np.array(expected, dtype=np.float32))
    np.testing.assert_array_equal(ephys.obs["rheobase_sweep_num"], [11, 8, np.nan])


def test_metadata_follow_the_sessions(folder: Path) -> None:
    obs = gouwens2020(folder).obs.loc[SESSIONS]
    assert set(obs) == {*map(str.lower, METADATA_TEXT), *METADATA_NUMBERS, "subclass"}
    assert obs["donor_id"].to_list() == ["331294", "331663", "331663"]
    assert obs["t_type"].cat.categories.to_list() == ["Sst Myh8 Etv1", "Vip Lmo1 Myl1"]
    assert obs["subclass"].cat.categories.to_list() == ["Sst", "Vip"]
    assert obs["subclass"].isna().to_list() == obs["t_type"].isna().to_list() == [False, True, False]
    assert obs["apical_dendrite_status"].cat.categories.to_list() == ["intact"]
    np.testing.assert_array_equal(obs["cell_soma_normalized_depth"], [0.5, np.nan, 1])


def test_probabilities_of_types(folder: Path, tmp_path: Path) -> None:
    mdata = gouwens2020(folder)
    table = mdata.obsm["mapping_probabilities"]
    assert list(table) == ["Vip Lmo1 Myl1", "Sst Myh8 Etv1", "Excitatory"]
    np.testing.assert_array_equal(table.loc[SESSIONS], [[0.5, 0.5, 0], [np.nan] * 3, [0.75, 0, 0.25]])
    mdata.write(tmp_path / "a.h5mu")
    again = mudata.read_h5mu(tmp_path / "a.h5mu")
    pd.testing.assert_frame_equal(again.obsm["mapping_probabilities"], table, check_index_type=False)


@settings(max_examples=10)
@given(seeds=st.tuples(*[st.integers(0, 99)] * 4))
def test_the_order_of_rows_changes_nothing(
    seeds: tuple[int, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = write(tmp_path_factory.mktemp("a"))
    expected = gouwens2020(folder)
    for name, seed in zip((EPHYS, METADATA, PROBABILITIES, SAMPLES), seeds, strict=True):
        header, *rows = (folder / name).read_text().splitlines()
        order = np.random.default_rng(seed).permutation(len(rows))
        (folder / name).write_text("\n".join([header, *(rows[i] for i in order), ""]))
    mdata = gouwens2020(folder)
    cells = expected.obs_names
    pd.testing.assert_frame_equal(mdata["ephys"].to_df().loc[cells], expected["ephys"].to_df())
    pd.testing.assert_frame_equal(mdata.obs.loc[cells], expected.obs)
    probabilities = [data.obsm["mapping_probabilities"] for data in (mdata, expected)]
    pd.testing.assert_frame_equal(probabilities[0].loc[cells], probabilities[1])


def test_metadata_of_no_recording_are_left_out_with_a_warning(folder: Path) -> None:
    (folder / EPHYS).write_text("".join(FEATURES.splitlines(keepends=True)[:3]))
    with pytest.warns(UserWarning, match="1 row left out, because no modality has this cell") as caught:
        mdata = gouwens2020(folder)
    assert [warning.filename for warning in caught if "left out" in str(warning.message)] == [__file__]
    assert mdata.n_obs == 2
    assert mdata.obs["subclass"].cat.categories.to_list() == ["Sst"]


CHANGED = {
    "no session": (EPHYS, "_ses-601790945", "", "'ID' is 'sub-2_icephys.nwb' in 1 rows"),
    "session twice": (EPHYS, "601506492", "601790945", "cell '601790945' is listed more than once"),
    "no metadata": (METADATA, "601790945", "7", r"no row for 1 cells of ephys, e\.g\. '601790945'"),
    "text": (EPHYS, "13.25", "long", "'tau' is not numeric"),
    "depth": (METADATA, "0.5", "deep", "'cell_soma_normalized_depth' is not numeric: .*deep"),
    "no type": (METADATA, "t_type", "type", "no column 't_type'"),
    "no sweep": (EPHYS, "thumbnail_sweep_num", "hero", "no column 'thumbnail_sweep_num'"),
    "probability": (PROBABILITIES, "0.75", "likely", "'Vip Lmo1 Myl1' is not numeric"),
    "no sample": (SAMPLES, "sample_id", "sample", "no column 'sample_id'"),
}


@pytest.mark.parametrize(("name", "old", "new", "message"), CHANGED.values(), ids=CHANGED)
def test_another_layout_is_refused(folder: Path, name: str, old: str, new: str, message: str) -> None:
    path = folder / name
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
        gouwens2020(folder)


def test_missing_files_are_named_with_their_addresses(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"scMNC/.*patchseqtools/.*Figure4Supplement1.*directory="):
        gouwens2020(tmp_path)


@pytest.fixture(scope="module")
def real_folder() -> Path:
    folder = Path(os.environ.get("SCVI_CAE_DATA", "")) / "gouwens2020"
    if "SCVI_CAE_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("needs the real data: set SCVI_CAE_DATA to the folder that holds gouwens2020/")
    return folder


@pytest.fixture(scope="module")
def real(real_folder: Path) -> mudata.MuData:
    return gouwens2020(real_folder)


def test_real_files_are_the_registered_ones(real_folder: Path) -> None:
    assert {name: git_blob_id(real_folder / name) for name in REGISTRY.blobs} == REGISTRY.blobs


def test_real_features(real: mudata.MuData) -> None:
    ephys = real["ephys"]
    assert ephys.shape == (4435, 45)
    missing = np.isnan(ephys.X)
    assert (missing.sum(), missing.all(axis=1).sum()) == (24865, 7)
    units = ephys.var["unit"]
    assert units.value_counts().to_dict() == {
        "mV": 17,
        "s": 16,
        "": 5,
        "pA": 3,
        "ms": 2,
        "Hz/pA": 1,
        "MOhm": 1,
    }
    medians = pd.Series(np.nanmedian(ephys.X, axis=0), index=ephys.var_names)
    assert (medians[units == "mV"].between(-100, 40)).all()
    assert medians[units == "ms"].between(5, 50).all()
    assert medians[units == "pA"].between(50, 600).all()
    assert ephys.var["stimulus"].nunique() == 5


def test_real_metadata(real: mudata.MuData, real_folder: Path) -> None:
    obs = real.obs
    assert (obs["t_type"].nunique(), obs["t_type"].isna().sum()) == (62, 165)
    counts = {"Sst": 1824, "Pvalb": 888, "Vip": 797, "Lamp5": 477, "Sncg": 235, "Serpinf1": 47}
    assert obs["subclass"].value_counts().to_dict() == counts | {"Meis2": 1, "L2/3": 1}
    # Rows belong to their recordings: these name the animal by another number than the metadata.
    animals = pd.read_csv(real_folder / EPHYS)["ID"].str.extract(r"sub-(\d+)_", expand=False).to_numpy()
    pairs = pd.DataFrame({"recording": animals, "metadata": obs["donor_id"].to_numpy()}).drop_duplicates()
    assert len(pairs) == pairs["recording"].nunique() == pairs["metadata"].nunique() == 1040


def test_real_probabilities(real: mudata.MuData) -> None:
    table = real.obsm["mapping_probabilities"].dropna()
    assert table.shape == (4284, 62)
    np.testing.assert_allclose(table.sum(axis=1), 1)
    assert real.obsm["mapping_probabilities"].isna().all(axis=1).sum() == 4435 - 4284
    assert (table.idxmax(axis=1) == real.obs.loc[table.index, "t_type"].astype(object)).sum() == 3863
