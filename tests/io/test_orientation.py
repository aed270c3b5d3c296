"""Where the names of cells are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scvi_cae.io import read_tables

CELLS = [f"cell_{i}" for i in range(10)]
GENES = ["Gad1", "Sst", "Pvalb", "Vip"]


def counts():
    return pd.DataFrame(np.random.default_rng(0).poisson(3, (10, 4)), index=CELLS, columns=GENES)


def ephys(names=CELLS):
    return pd.DataFrame({"width": np.linspace(1, 2, len(names)), "n": range(len(names))}, index=names)


@pytest.mark.parametrize("obs_column", [0, 1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_cells_are_found_by_agreement(transposed, obs_column):
    obs = pd.DataFrame({"number": range(1, 11), "mouse": list("aabbccddee")})
    obs.insert(obs_column, "cell", CELLS[::-1])
    rna = counts().T if transposed else counts()
    mdata = read_tables(rna=rna, ephys=ephys()[::-1], obs=obs, verbose=False)
    pd.testing.assert_frame_equal(mdata["rna"].to_df(layer="counts").astype(np.int64), counts())
    assert mdata["ephys"].obs_names.tolist() == CELLS[::-1]
    assert mdata.obs.loc["cell_9", "number"] == 1


def test_row_numbers_are_no_names(tmp_path):
    obs = pd.DataFrame({"Number": range(1, 11), "Cell": CELLS})
    numbered = ephys(CELLS[:6] + ["x", "y", "z", "w"]).rename_axis("cell").reset_index()
    numbered.to_csv(tmp_path / "ephys.csv")  # with the index of pandas, 0 to 9
    with pytest.warns(UserWarning, match="4 cells left out"):
        mdata = read_tables(ephys=tmp_path / "ephys.csv", obs=obs, verbose=False)
    assert mdata["ephys"].obs_names[:6].tolist() == CELLS[:6]
    assert mdata["ephys"].var_names.tolist() == ["width", "n"]
    assert "left out: a column that numbers the rows, without a name" in mdata.uns["read_tables"]


def test_columns_that_describe_genes_go_to_var():
    rna = counts().T.rename_axis("Geneid").reset_index()
    rna.insert(1, "Chr", ["chr1", "chr2", "chr1", "chrX"])
    rna.insert(2, "Length", [100, 200, 300, 400])
    rna = read_tables(rna=rna, ephys=ephys(), verbose=False)["rna"]
    assert rna.shape == (10, 4)
    assert rna.var["Length"].tolist() == [100, 200, 300, 400]
    assert rna.var["Chr"].tolist() == ["chr1", "chr2", "chr1", "chrX"]


def test_a_single_table_is_turned_only_if_its_rows_are_genes():
    for table in (counts(), counts().T):
        assert read_tables(rna=table, verbose=False)["rna"].obs_names.tolist() == CELLS
    unknown = counts().T.set_axis(list("wxyz"))
    assert read_tables(rna=unknown, verbose=False)["rna"].n_obs == 4
    assert read_tables(rna=unknown, transposed=["rna"], verbose=False)["rna"].obs_names.tolist() == CELLS


def test_when_nothing_matches_names_of_both_are_shown_with_a_way_out():
    other = ephys([f"s{i}" for i in range(10)])
    with pytest.raises(
        ValueError,
        match=r"'cell_0', 'cell_1' and 8 more.*'s0', 's1' and 8 more.*join=lambda.*transposed=\[\]",
    ):
        read_tables(rna=counts(), ephys=other)
    mdata = read_tables(rna=counts(), ephys=other, transposed=[], verbose=False)
    assert mdata.n_obs == 20


def test_features_that_two_tables_share_are_no_cells():
    with pytest.raises(ValueError, match="No name of a cell in 'ephys' is in another table"):
        read_tables(ephys=ephys(), ephys_2=ephys([f"s{i}" for i in range(10)]))
    ones = counts().T.iloc[:, :3] * 0 + 1
    tables = {"rna": counts().T, "other": ones, "transcriptomes": ["rna", "other"]}
    with pytest.raises(ValueError, match="No name of a cell"):
        read_tables(**tables)
    assert read_tables(**tables, transposed=["rna", "other"], verbose=False).n_obs == 10


def test_ambiguity_is_refused():
    names = list("abcde")
    similarity = pd.DataFrame(np.random.default_rng(0).normal(size=(5, 5)), index=names, columns=names[::-1])
    with pytest.raises(
        ValueError, match=r"the index.*or in the header row.*transposed=\['rna'\] or transposed=\[\]"
    ):
        read_tables(rna=similarity, ephys=ephys(names))
    two = pd.DataFrame({"x": [1.5] * 5, "one": names, "two": names[::-1]})
    with pytest.raises(ValueError, match=r"column 'one'.*or in column 'two'.*the first column"):
        read_tables(ephys=two, morph=ephys(names))


def test_without_names_a_table_is_refused():
    with pytest.raises(ValueError, match=r"no column of 'ephys' holds names of cells.*set_index\('cell'\)"):
        read_tables(ephys=pd.DataFrame({"a": [1.5, 1.5], "b": [2.5, 1.5]}), transposed=[])
    arrays = {"rna": pd.DataFrame(np.ones((3, 2))), "ephys": pd.DataFrame(np.ones((3, 2)))}
    with pytest.raises(ValueError, match="no column of 'rna' holds names of cells"):
        read_tables(**arrays)
    with pytest.raises(ValueError, match=r"transposed=\['rnaa'\] must be a list"):
        read_tables(rna=counts(), transposed=["rnaa"])
