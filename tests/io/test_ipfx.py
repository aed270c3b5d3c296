"""Tables of features that pipelines of ipfx wrote."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import mudata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.data._query import prepare_query
from scvi_cae.io import read_ipfx
from scvi_cae.pp import ephys_concepts, ephys_names


def features(**columns):
    n = len(next(iter(columns.values()), [0, 1]))
    table = {
        "vrest": np.linspace(-75, -60, n),
        "tau": np.linspace(8, 20, n),
        "ri": np.linspace(100, 200, n),
        "threshold_v_long_square": np.linspace(-45, -35, n),
        "peak_v_long_square": np.linspace(20, 30, n),
    }
    return pd.DataFrame({"specimen_id": np.arange(600, 600 + n), **table, **columns})


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".TSV.gz"])
def test_files_and_data_frames_are_the_same(tmp_path, ending):
    table = features(sag=[0.1, np.nan, 0.3])
    path = tmp_path / f"features{ending}"
    table.to_csv(path, index=False, sep="\t" if "tsv" in ending.lower() else ",")
    before = table.copy()
    indexed = table.set_index(table["specimen_id"].astype(str)), table.set_index("specimen_id")
    for source in (path, str(path), table, *indexed):
        adata = read_ipfx(source)
        assert adata.obs_names.tolist() == ["600", "601", "602"]
        assert adata.X.dtype == np.float32
        values = adata.to_df()[list(table.columns[1:])]
        np.testing.assert_allclose(values, table.iloc[:, 1:], rtol=1e-6)
    pd.testing.assert_frame_equal(table, before)


def test_features_have_concept_unit_and_stimulus():
    adata = read_ipfx(features(peak_t_ramp=[1.0, 2.0]))
    var = adata.var
    assert var.loc["tau", ["concept", "unit", "stimulus"]].tolist() == [
        "membrane_time_constant",
        "ms",
        "hyperpolarising steps",
    ]
    assert var.loc["peak_t_ramp", ["concept", "unit", "stimulus"]].tolist() == ["", "", ""]
    in_ms = features().rename(columns={"vrest": "v_baseline", "ri": "input_resistance"})
    with pytest.warns(UserWarning, match=r"'tau' all 2 \(such as 8 s .*in another unit if all are"):
        assert read_ipfx(in_ms, convention="lee2023").var.loc["tau", "unit"] == "s"


def test_columns_that_are_no_features_are_in_obs(tmp_path):
    table = features(
        rheobase_sweep_num=[40, 41],
        hero_sweep_number=[44, 45],
        donor_id=[1, 2],
        structure=["VISp", None],
        failed_fx_ramps=[True, False],
        nothing=[None, None],
    )
    adata = read_ipfx(table)
    assert list(adata.obs) == [
        *("rheobase_sweep_num", "hero_sweep_number", "donor_id", "structure", "failed_fx_ramps", "nothing")
    ]
    assert adata.n_vars == 5
    mudata.MuData({"ephys": adata}).write(tmp_path / "ephys.h5mu")


IMPOSSIBLE = {"ri": (-62.5, 1.5e13, np.inf), "vrest": (-999.0, 400.0), "tau": (-1.0, 9999.0), "sag": (1.9,)}
impossible = st.sampled_from([(name, value) for name, values in IMPOSSIBLE.items() for value in values])


@given(impossible, st.integers(0, 3))
def test_impossible_values_become_nan_and_are_reported(which, row):
    name, value = which
    table = features(sag=[0.1, 0.2, -0.05, np.nan])
    table.loc[row, name] = value
    with pytest.warns(UserWarning, match=f"read_ipfx: impossible values became NaN: '{name}' 1 ") as record:
        adata = read_ipfx(table)
    assert len(record) == 1
    assert f"in cell '{600 + row}'; possible are" in str(record[0].message)
    missing = adata.to_df().isna()
    assert missing.loc[str(600 + row), name]
    assert adata.var["n_impossible"].to_dict() == {other: int(other == name) for other in adata.var_names}
    assert missing.to_numpy().sum() == 1 + (name != "sag" or row != 3)


def test_limits_are_those_of_the_concept_in_the_table_s_unit():
    low, high = ephys_concepts().loc["membrane_time_constant", ["min", "max"]]
    table = features().rename(columns={"vrest": "v_baseline", "ri": "input_resistance"})
    table["tau"] = [low / 1000, high / 1000]
    assert read_ipfx(table, convention="ipfx").to_df()["tau"].notna().all()
    table["tau"] = [low / 1000 - 1e-6, high / 1000 + 1e-3]
    with pytest.warns(
        UserWarning, match=r"'tau' all 2 \(such as .* s in cell '600'; possible are 0.0001 to 1\)"
    ):
        read_ipfx(table, convention="ipfx")


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (
            features().drop(columns="specimen_id"),
            {},
            r"no column that is known to name cells, only 'vrest'.*cells=",
        ),
        (features(), {"cells": "name"}, "The table has no column 'name'; it has 'specimen_id'"),
        (features(specimen_id=[1, 1]), {}, "cells with the same name, '1'"),
        (features(specimen_id=[1, None]), {}, "1 cells have no name"),
        (features(vrest=["-70", "none"]), {}, "must be numbers .*'none'.*Write missing values as empty"),
        (pd.DataFrame({"id": ["a"], "x": [1.0]}), {}, "No name of any convention among 'x'"),
        (pd.DataFrame({"id": ["a"], "tau": [1.0]}), {}, "'tau' have different meanings.*Give the name"),
        (features(), {"convention": "lee2021"}, "No convention 'lee2021' in the table"),
    ],
)
def test_tables_that_cannot_be_read(table, arguments, message):
    with pytest.raises(ValueError, match=message):
        read_ipfx(table, **arguments)


def test_the_result_becomes_a_query():
    adata = read_ipfx(features())
    wanted = ["AP amplitude (mV)", "Membrane time constant (ms)", "AP width (ms)"]
    names = ephys_names(adata.var_names, "scala2020")
    query, _ = prepare_query(mudata.MuData({"ephys": adata}), {"ephys": wanted}, {"ephys": names})
    values = query["ephys"].to_df()
    np.testing.assert_allclose(values["AP amplitude (mV)"], [65, 65])
    np.testing.assert_allclose(values["Membrane time constant (ms)"], [8, 20])
    assert values["AP width (ms)"].isna().all()


@pytest.mark.skipif(
    not os.environ.get("SCVI_CAE_DATA"), reason="needs the data sets: set SCVI_CAE_DATA to their folder"
)
def test_published_tables_are_read():
    folder = Path(os.environ["SCVI_CAE_DATA"])
    with pytest.warns(UserWarning, match=r"'ri' 3 .*; 'sag' 2 .*'upstroke_downstroke_ratio_short_square' 1 "):
        gouwens = read_ipfx(folder / "gouwens2020" / "efeature.csv")
    assert gouwens.shape == (4435, 45)
    assert (gouwens.var["concept"] != "").sum() == 35
    assert list(gouwens.obs) == ["rheobase_sweep_num", "thumbnail_sweep_num"]
    with pytest.warns(UserWarning, match="'input_resistance' 2 "):
        lee = read_ipfx(folder / "lee2023" / "LeeDalley_ephys_fx.csv")
    assert lee.shape == (704, 93)
    assert (lee.var["concept"] != "").sum() == 81
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = mudata.MuData({"ephys": gouwens})
    names = ephys_names(gouwens.var_names, "lee2023")
    query, report = prepare_query(both, {"ephys": list(lee.var_names)}, {"ephys": names})
    assert report["n_matched"].tolist() == [len(names)]
    assert query["ephys"].to_df()["peak_deltav_rheo"].median() == pytest.approx(62, abs=3)


def test_files_are_read_as_other_tables_are(tmp_path):
    """Semicolons and decimal commas, and names of cells that keep their zeros."""
    (path := tmp_path / "features.csv").write_text(
        "specimen_id;vrest;tau;threshold_v_long_square\n001;-71,5;12,1;-41,0\n002;-68,0;n/a;-38,5\n"
    )
    ephys = read_ipfx(path)
    assert ephys.obs_names.tolist() == ["001", "002"]
    np.testing.assert_allclose(ephys.to_df().loc["001"], [-71.5, 12.1, -41.0], rtol=1e-6)
    assert np.isnan(ephys.to_df().loc["002", "tau"])
