"""Reading Scala et al. (2021): a tiny copy with the layout and the quirks of the files, and the real ones."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_cae.datasets import scala2020
from scvi_cae.datasets._scala2020 import COUNTS, EPHYS, METADATA, METADATA_NUMBERS, METADATA_TEXT, MORPH

if TYPE_CHECKING:
    from pathlib import Path

    from mudata import MuData

CELLS = [
    "20171207_sample_1",
    "20171207_sample_2",
    "20180102_sample_1",
    "20180102_sample_2",
    "20180103_sample_1",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five cells: three have counts, four ephys, two morphology, one of them wrong."""
    write_metadata(tmp_path)
    (tmp_path / EPHYS).write_text(
        "cell id,AP width (ms),Max number of APs,Sag ratio\r\n"
        "20180103_sample_1,1.5,3,1.25\r\n20171207_sample_2,0.5,20,\r\n"
        "20171207_sample_1,1.0,7,1.5\r\n20180102_sample_2,0.75,1,1.0\r\n"
    )
    (tmp_path / MORPH).write_text(
        'cell id,"""apical"" height",soma radius,normalized layer,cell class\n'
        "20180102_sample_2,,9.5,2/3,inh\n20171207_sample_1,300.5,8.25,5,exc\n20180103_sample_1,,7.5,5,inh\n"
    )
    write_counts(tmp_path, ["NA,0,3,1", "Gad1,5,0,0", "Sst,0,0,9"])
    return tmp_path


def write_metadata(folder: Path, **changes: list[str]) -> None:
    """Write metadata, tab-separated, columns interleaved; ``changes`` replace columns by their names."""
    table = {name: ["a"] * 5 for name in METADATA_TEXT} | {name: ["1"] * 5 for name in METADATA_NUMBERS}
    table |= {
        "Cell": CELLS,
        "Sample": ["sample 1", "sample 2 ", "sample 1", "sample 2", "sample 1"],
        "Targeted layer": ["5", "2/3", "6", "1", "5"],
        "Sequencing batch": ["2", "10", "1", "2", "10"],
        "RNA family": ["ET", "low quality", "NA", "Sst", "IT"],
        "RNA type": ["L5 ET_1", "", "L6 IT_1", "Sst Chodl", "L5 IT_2"],
        "RNA type confidence": ["0.5", "", "1", "0.25", "0.75"],
        "Yield (pg/µl)": ["95.5", "?", "1", "2", "3"],
        "Soma depth (µm)": ["700.5", "", "Slice Lost", "100", "0"],
        "Cortical thickness (4x)": ["500", "", "500", "500", "500"],
        "Cortical thickness (µm)": ["1380", "0", "1380", "1380", "1380"],
    }
    table |= changes
    frame = pd.DataFrame(table)[sorted(table)]
    (folder / METADATA).write_text(frame.to_csv(sep="\t", index=False), encoding="utf-8")


def write_counts(
    folder: Path, rows: list[str], cells: tuple[str, ...] = (CELLS[2], CELLS[0], CELLS[1])
) -> None:
    (folder / COUNTS).write_bytes(gzip.compress("\n".join([f",{','.join(cells)}", *rows, ""]).encode()))


def test_modalities(folder: Path) -> None:
    mdata = scala2020(folder)
    rna, ephys, morph = (mdata[name] for name in ("rna", "ephys", "morph"))

    assert list(rna.obs_names) == [CELLS[2], CELLS[0], CELLS[1]]  # the order of the file
    assert list(rna.var_names) == ["NA", "Gad1", "Sst"]
    assert sparse.issparse(rna.X)
    assert rna.X.format == rna.layers["counts"].format == "csr"
    assert rna.X.dtype == np.float32
    np.testing.assert_array_equal(rna.layers["counts"].toarray(), [[0, 5, 0], [3, 0, 0], [1, 0, 9]])
    np.testing.assert_allclose(rna.X.toarray()[2], np.log1p([1e5, 0, 9e5]), rtol=1e-6)

    assert list(ephys.obs_names) == [CELLS[4], CELLS[1], CELLS[0], CELLS[3]]
    assert list(ephys.var["unit"]) == ["ms", "", ""]
    np.testing.assert_array_equal(ephys.X, [[1.5, 3, 1.25], [0.5, 20, np.nan], [1, 7, 1.5], [0.75, 1, 1]])

    assert list(morph.obs_names) == [CELLS[3], CELLS[4]]  # without the wrong reconstruction
    assert list(morph.var_names) == ['"apical" height', "soma radius"]
    np.testing.assert_array_equal(morph.X, [[np.nan, 9.5], [np.nan, 7.5]])
    assert morph.obs["normalized_layer"].astype(str).to_list() == ["2/3", "5"]
    assert morph.obs["cell_class"].astype(str).to_list() == ["inh", "inh"]


def test_metadata_follow_the_names(folder: Path) -> None:
    obs = scala2020(folder).obs
    assert list(obs.index) == [CELLS[2], CELLS[0], CELLS[1], CELLS[4], CELLS[3]]
    assert len(obs.columns) == len(METADATA_TEXT) + len(METADATA_NUMBERS)
    obs = obs.loc[CELLS]
    assert obs["rna_family"].to_list() == ["ET", "low quality", "NA", "Sst", "IT"]
    assert obs["rna_type"].isna().to_list() == [False, True, False, False, False]
    assert obs["sample"].cat.categories.to_list() == ["sample 1", "sample 2"]
    assert obs["targeted_layer"].cat.categories.to_list() == ["1", "2/3", "5", "6"]
    assert obs["sequencing_batch"].cat.categories.to_list() == ["1", "2", "10"]
    np.testing.assert_array_equal(obs["soma_depth_um"], [700.5, np.nan, np.nan, 100, 0])
    np.testing.assert_array_equal(obs["yield_pg_ul"], [95.5, np.nan, 1, 2, 3])
    np.testing.assert_array_equal(obs["cortical_thickness_um"], [1380, np.nan, 1380, 1380, 1380])
    assert all(name.isascii() and name.isidentifier() for name in obs)


def test_environment_variable(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parent").mkdir()
    (tmp_path / "parent" / "scala2020").symlink_to(folder, target_is_directory=True)
    monkeypatch.setenv("SCVI_CAE_DATA", str(tmp_path / "parent"))
    assert scala2020().n_obs == 5


def test_repeated_gene_names_are_made_unique(folder: Path) -> None:
    write_counts(folder, ["Sst,0,3,1", "Sst,5,0,0"])
    assert list(scala2020(folder)["rna"].var_names) == ["Sst", "Sst-1"]


@pytest.mark.parametrize("value", ["0.5", "-1", "", "many"])
def test_counts_must_be_whole_numbers(folder: Path, value: str) -> None:
    write_counts(folder, ["Gad1,5,0,0", f"Sst,0,{value},9"])
    with pytest.raises(ValueError, match=r"exon_counts.*whole numbers"):
        scala2020(folder)


def test_counts_must_not_be_empty(folder: Path) -> None:
    write_counts(folder, [])
    with pytest.raises(ValueError, match="no counts"):
        scala2020(folder)


def test_missing_columns_are_named(folder: Path) -> None:
    path = folder / METADATA
    path.write_text(path.read_text(encoding="utf-8").replace("Soma depth (µm)", "Depth"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"meta_data.*no column 'Soma depth \(µm\)'"):
        scala2020(folder)


def test_missing_key_is_named(folder: Path) -> None:
    path = folder / EPHYS
    path.write_text(path.read_text().replace("cell id", "cell"))
    with pytest.raises(ValueError, match=r"ephys_features.*no column 'cell id'"):
        scala2020(folder)


def test_text_among_the_numbers(folder: Path) -> None:
    path = folder / EPHYS
    path.write_text(path.read_text().replace("1.25", "high"))
    with pytest.raises(ValueError, match="'Sag ratio' is not numeric"):
        scala2020(folder)
    write_metadata(folder, **{"Mouse age": ["36", "old", "36", "36", "36"]})
    path.write_text(path.read_text().replace("high", "1.25"))
    with pytest.raises(ValueError, match="'Mouse age' is not numeric.*old"):
        scala2020(folder)


def test_repeated_rows_are_left_out_with_a_warning(folder: Path) -> None:
    expected = scala2020(folder)["ephys"].to_df()
    with (folder / EPHYS).open("a") as file:
        file.write("20171207_sample_1,1.0,7,1.5\r\n")
    with pytest.warns(UserWarning, match="rows left out that repeat another row: 1") as caught:
        mdata = scala2020(folder)
    assert [warning.filename for warning in caught if "left out" in str(warning.message)] == [__file__]
    pd.testing.assert_frame_equal(mdata["ephys"].to_df(), expected)


def test_cells_with_two_values_are_refused(folder: Path) -> None:
    with (folder / EPHYS).open("a") as file:
        file.write("20171207_sample_1,1.0,8,1.5\r\n")
    with pytest.raises(ValueError, match="'20171207_sample_1' is listed more than once"):
        scala2020(folder)


def test_cells_need_metadata(folder: Path) -> None:
    write_counts(folder, ["Gad1,5,1,1"], cells=(CELLS[0], CELLS[1], "unheard_of"))
    with pytest.raises(ValueError, match=r"no row for 1 cells of rna, e\.g\. 'unheard_of'"):
        scala2020(folder)


def test_metadata_of_no_cell_are_left_out_with_a_warning(folder: Path) -> None:
    write_counts(folder, ["Gad1,5,1"], cells=(CELLS[0], CELLS[1]))
    with pytest.warns(UserWarning, match="1 row left out"):
        mdata = scala2020(folder)
    assert set(mdata.obs_names) == set(CELLS) - {CELLS[2]}


@pytest.fixture(scope="module")
def real() -> MuData:
    if not os.environ.get("SCVI_CAE_DATA"):
        pytest.skip("needs the real data: set SCVI_CAE_DATA to the folder that holds scala2020/")
    return scala2020()


def test_real_sizes(real: MuData) -> None:
    assert real.n_obs == 1329
    assert {name: real[name].n_obs for name in ("ephys", "morph")} == {"ephys": 1328, "morph": 645}
    assert real["rna"].n_obs in {1208, 1329}  # the subset or the published file
    assert (real["ephys"].n_vars, real["morph"].n_vars) == (29, 61)
    assert "20171207_sample_1" not in real["morph"].obs_names
    assert np.isnan(real["ephys"].X).sum() == 80
    assert np.isnan(real["ephys"].X).any(axis=1).sum() == 24


def test_genes_without_any_count_are_left_out_with_a_warning(folder: Path) -> None:
    write_counts(folder, ["Gad1,5,1,1", "Nowhere,0,0,0", "Sst,0,2,0"])
    with pytest.warns(UserWarning, match="1 of 3 genes left out"):
        rna = scala2020(folder)["rna"]
    assert list(rna.var_names) == ["Gad1", "Sst"]


def test_real_counts(real: MuData) -> None:
    counts = real["rna"].layers["counts"]
    assert counts.data.min() >= 1
    cpm = np.expm1(real["rna"].X.astype(np.float64))
    np.testing.assert_allclose(np.asarray(cpm.sum(axis=1)).ravel(), 1e6, rtol=1e-4)
    # biology: marker genes of the types are where they belong
    family = real.obs.loc[real["rna"].obs_names, "rna_family"]
    for gene in ("Pvalb", "Sst", "Vip"):
        expression = pd.Series(real["rna"][:, gene].X.toarray().ravel(), index=family.index)
        assert expression.groupby(family, observed=True).mean().idxmax() == gene


def test_real_metadata(real: MuData) -> None:
    obs = real.obs
    assert obs["rna_family"].nunique() == 10
    assert obs["rna_type"].nunique() == 77
    assert obs["rna_type"].isna().sum() == (obs["rna_family"] == "low quality").sum() == 97
    days = pd.to_datetime(obs["date"].astype(str)) - pd.to_datetime(obs["mouse_date_of_birth"].astype(str))
    assert (days.dt.days == obs["mouse_age"]).mean() > 0.99
    assert obs["soma_depth_um"].max() < 2000
    assert obs["cortical_thickness_um"].min() > 1000
    # rows belong to their cells: the name of a cell begins with its day
    assert (obs["date"].astype(str).str.replace("-", "") == obs.index.str[:8]).all()
