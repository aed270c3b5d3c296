"""Counts, other values, and what may be left out; genes are chosen after normalising."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scvi_cae._normalization import NORMALIZATION, Normalization
from scvi_cae.io import read_tables

CELLS = [f"cell_{i}" for i in range(12)]
RAW = pd.DataFrame(
    np.random.default_rng(1).poisson(4, (12, 5)), index=CELLS, columns=["Gad1", "Sst", "Pvalb", "Vip", "Npy"]
)


def read(table, **kwargs):
    mdata = read_tables(rna=table, verbose=False, **kwargs)
    return mdata["rna"], " ".join(mdata.uns["read_tables"].split())


def record(rna):
    return Normalization.from_uns(rna.uns[NORMALIZATION])


def log_per_million(counts, totals=None):
    totals = counts.sum(axis=1) if totals is None else totals
    return np.log1p(counts.to_numpy() / np.asarray(totals)[:, None] * 1e6)


def test_counts_are_kept_and_normalised():
    rna, text = read(RAW)
    np.testing.assert_array_equal(rna.layers["counts"].toarray(), RAW)
    assert rna.layers["counts"].dtype == np.int32
    np.testing.assert_allclose(rna.X.toarray(), log_per_million(RAW), rtol=1e-5)
    assert record(rna).genes == tuple(RAW.columns)
    assert "natural logarithms of 1 + counts per 1,000,000 over 5 genes" in text


def test_genes_are_chosen_after_normalising():
    everything = log_per_million(RAW)
    rna, text = read(RAW, genes=["Vip", "Gad1"])
    assert rna.var_names.tolist() == ["Gad1", "Vip"]
    np.testing.assert_allclose(rna.X.toarray(), everything[:, [0, 3]], rtol=1e-5)
    assert record(rna).genes == tuple(RAW.columns)
    assert "2 of 5 genes by the list, chosen after normalising" in text
    rna, _ = read(RAW, genes=3)
    assert set(rna.var_names) == set(RAW.columns[np.argsort(everything.var(axis=0))[-3:]])
    with pytest.raises(ValueError, match="genes= names 1 that it does not have: 'gad1'"):
        read(RAW, genes=["gad1", "Sst"])
    with pytest.raises(ValueError, match="genes=6 must be a whole number from 1 to 5, the number of genes"):
        read(RAW, genes=6)


def test_the_total_may_be_of_all_sequenced_genes():
    obs = pd.DataFrame({"reads": RAW.sum(axis=1) * 3}, index=CELLS)
    rna, text = read(RAW, obs=obs, library_size="reads")
    np.testing.assert_allclose(rna.X.toarray(), log_per_million(RAW, obs["reads"]), rtol=1e-5)
    assert record(rna).genes is None
    assert "over unknown genes" in text
    obs.loc["cell_3", "reads"] = 1
    with pytest.raises(
        ValueError, match=r"1 cells have more counts than library_size='reads' says, such as 'cell_3'"
    ):
        read(RAW, obs=obs, library_size="reads")
    with pytest.raises(ValueError, match="library_size='reds' must be a column of numbers; it has 'reads'"):
        read(RAW, obs=obs, library_size="reds")
    with pytest.raises(ValueError, match=r"is a column of obs, which is not given"):
        read(RAW, library_size="reads")


def test_expected_counts_are_rounded_on_request():
    expected = RAW * 20 + 0.3
    rna, text = read(expected)
    assert "counts" not in rna.layers
    assert "round_counts=True" in text
    np.testing.assert_allclose(rna.X.toarray(), log_per_million(expected), rtol=1e-5)
    rna, _ = read(expected, round_counts=True)
    np.testing.assert_array_equal(rna.layers["counts"].toarray(), RAW * 20)


def test_values_per_total_are_normalised_and_logarithms_left():
    per_million = RAW.div(RAW.sum(axis=1), axis=0) * 1e6
    rna, text = read(per_million)
    np.testing.assert_allclose(rna.X.toarray(), log_per_million(RAW), rtol=1e-5)
    assert "each cell's values sum to 1e+06: no counts" in text
    assert record(rna).total == 1e6
    for logs in (np.log1p(per_million), np.log2(per_million + 1), np.log1p(per_million) - 5):
        rna, text = read(logs)
        np.testing.assert_allclose(np.asarray(rna.X), logs, rtol=1e-6)
        assert NORMALIZATION not in rna.uns
        assert "look like logarithms" in text


def test_spike_ins_empty_genes_and_versions_are_listed_and_left_out_on_request():
    table = RAW.set_axis(
        ["ERCC-00002", "ENSMUSG00000000001.4", "ENSMUSG00000000028.15", "Vip", "Npy"], axis=1
    )
    table["Npy"] = 0
    rna, text = read(table)
    assert rna.n_vars == 5
    for hint in (
        "1 spike-ins ('ERCC-00002'): drop_spike_ins=True",
        "strip_versions=True",
        "drop_zero_genes=True",
    ):
        assert hint in text
    rna, _ = read(table, drop_spike_ins=True, drop_zero_genes=True, strip_versions=True)
    assert rna.var_names.tolist() == ["ENSMUSG00000000001", "ENSMUSG00000000028", "Vip"]
    np.testing.assert_allclose(np.expm1(rna.X.toarray()).sum(axis=1), 1e6, rtol=1e-4)
    with pytest.raises(ValueError, match="same name without versions: 'ENSMUSG00000000001'"):
        read(table.rename(columns={"ENSMUSG00000000028.15": "ENSMUSG00000000001.5"}), strip_versions=True)


def test_duplicated_genes_and_missing_counts_are_refused_by_name():
    with pytest.raises(ValueError, match="1 columns have the same name as another one: 'Sst'"):
        read(RAW.rename(columns={"Vip": "Sst"}))
    with pytest.raises(ValueError, match="1 features have the same name as another one: 'Sst'"):
        read(RAW.rename(columns={"Vip": "Sst"}).T, transposed=["rna"])
    table = RAW.astype(float)
    table.loc["cell_2", "Vip"] = np.nan
    with pytest.raises(ValueError, match="the first of gene 'Vip' in cell 'cell_2'"):
        read(table)


def test_cells_without_counts_keep_their_zeros_and_are_named():
    table = RAW.copy()
    table.loc["cell_7"] = 0
    rna, text = read(table)
    assert rna["cell_7"].X.sum() == 0
    assert "1 cells in which all values are 0: 'cell_7'" in text


def test_arguments_are_checked_before_anything_is_read():
    with pytest.raises(ValueError, match="target_sum=0 must be a number above 0"):
        read("missing.csv", target_sum=0)
    with pytest.raises(ValueError, match="genes='Gad1' must be a list"):
        read("missing.csv", genes="Gad1")


def test_what_logarithms_are_is_told_and_recorded():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.lognormal(1, 1.2, 80), (30, 80)).astype(float)
    logs = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    frame = pd.DataFrame(logs, index=[f"c{i}" for i in range(30)], columns=[f"g{i}" for i in range(80)])
    mdata = read_tables(rna=frame, genes=60, verbose=False)
    assert "natural logarithms of 1 + counts per 10,000 over 80 genes" in " ".join(
        mdata.uns["read_tables"].split()
    )
    assert len(mdata["rna"].uns["normalization"]["genes"]) == 80
