"""The summary as a stranger reads it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scvi_cae.io import read_tables

EXPECTED = """\
6 cells, 2 modalities

rna    data frame: 4 cells x 3 genes; cells' names in the header row
       counts, 25% of them 0, kept in layers["counts"]
       X: natural logarithms of 1 + counts per 1,000,000 over 3 genes
ephys  data frame: 5 cells x 2 features; cells' names in the index
       1 of 10 values missing (10.0%), in 1 cells and 1 features
       text, moved to .obs: 'layer'
       1 cells in which all values are equal: 'c4'
obs    data frame: 5 cells x 1 annotations; cells' names in the index
       annotations of 4 of the 6 cells; 1 more cells have no modality, and are left out

Cells with
        3  rna and ephys
        2  ephys alone
        1  rna alone
Pairs: 3 of rna and ephys"""


def test_summary(capsys):
    rna = pd.DataFrame(
        [[0, 2, 3, 1], [1, 0, 2, 1], [0, 1, 2, 3]],
        index=["Gad1", "Sst", "Vip"],
        columns=["c0", "c1", "c2", "c3"],
    )
    ephys = pd.DataFrame(
        {"a (mV)": [1, np.nan, 3, 4, 5], "b": [2, 3, 4, 4, 6], "layer": list("xxyyz")},
        index=["c0", "c1", "c2", "c4", "c5"],
    )
    obs = pd.DataFrame({"mouse": list("aabbc")}, index=["c0", "c1", "c2", "c4", "c9"])
    with pytest.warns(UserWarning, match="data frame: 1 cells left out, because no modality has them: 'c9'"):
        mdata = read_tables(rna=rna, ephys=ephys, obs=obs)
    assert capsys.readouterr().out == EXPECTED + "\n"
    assert mdata.uns["read_tables"] == EXPECTED
    assert mdata["ephys"].var["unit"].tolist() == ["mV", ""]
    assert mdata.obs["mouse"].isna().sum() == 2


def test_cells_with_few_genes_are_named():
    counts = np.ones((10, 40), dtype=int)
    counts[3, 2:] = 0
    table = pd.DataFrame(counts, index=[f"c{i}" for i in range(10)], columns=[f"g{i}" for i in range(40)])
    text = read_tables(rna=table, verbose=False).uns["read_tables"]
    assert "1 cells with fewer than a tenth of the median number of genes (40): 'c3'" in text


def test_numbers_that_may_mean_missing_are_listed():
    frame = pd.DataFrame({"Vm": [-999.0, -70.5, -65.0], "R": [1.0, 2.0, 3.0]}, index=["a", "b", "c"])
    assert "1 values are -999: missing=[-999]" in read_tables(ephys=frame, verbose=False).uns["read_tables"]
