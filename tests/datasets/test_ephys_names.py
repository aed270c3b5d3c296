"""Names and units of features in other data sets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import scvi_cae
from scvi_cae.data._query import prepare_query
from scvi_cae.datasets import ephys_names, scala2020, simulate_patchseq


def test_one_to_one_with_factors():
    table = ephys_names()
    assert list(table) == ["scala2020", "gouwens2020", "factor"]
    assert table["scala2020"].is_unique
    assert table["gouwens2020"].is_unique
    assert np.isfinite(table["factor"]).all()
    assert (table["factor"] > 0).all()


def test_factors_follow_the_units_that_names_give():
    """Times are in ms in one and in s in the other; all else has the same unit in both."""
    table = ephys_names()
    in_ms = table["scala2020"].str.endswith("(ms)")
    assert (table.loc[in_ms, "factor"] == 0.001).all()
    assert (table.loc[~in_ms, "factor"] == 1).all()
    assert table.loc[~in_ms, "scala2020"].str.contains(r"\((?:mV|MOhm|pA)\)$|ratio$").all()


def test_the_other_direction():
    there, back = ephys_names(), ephys_names("gouwens2020", "scala2020")
    assert list(back) == ["gouwens2020", "scala2020", "factor"]
    assert back[["scala2020", "gouwens2020"]].equals(there[["scala2020", "gouwens2020"]])
    np.testing.assert_array_equal(back["factor"], np.where(there["factor"] == 1, 1, 1000))


def test_features_of_another_definition_are_left_out():
    table = ephys_names()
    for word in ("amplitude", "Afterhyper", "Sag", "Max number"):
        assert not table["scala2020"].str.contains(word).any()
    for word in ("peak", "trough", "sag", "short_square", "avg_rate"):
        assert not table["gouwens2020"].str.contains(word).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("scala2020", "gala2021"),
            "No data set 'gala2021' in the table; it has 'scala2020', 'gouwens2020'",
        ),
        (("factor", "scala2020"), "No data set 'factor'"),
        (("scala2020", "scala2020"), "both 'scala2020': name two"),
    ],
)
def test_other_data_sets(arguments, message):
    with pytest.raises(ValueError, match=message):
        ephys_names(*arguments)


def test_it_renames_and_converts_a_query():
    ephys = simulate_patchseq(60)
    features = [*ephys_names()["gouwens2020"], "ap_1_peak_v_0_long_square"]
    query, report = prepare_query(ephys, {"ephys": features}, {"ephys": ephys_names()})
    width = ephys["ephys"].to_df()["AP width (ms)"]
    np.testing.assert_allclose(query["ephys"].to_df()["ap_1_width_0_long_square"], width / 1000, rtol=1e-6)
    assert report["n_renamed"].tolist() == [8]
    assert report["missing"].tolist() == [("ap_1_peak_v_0_long_square",)]
    back, _ = prepare_query(
        query,
        {"ephys": list(ephys["ephys"].var_names)},
        {"ephys": ephys_names("gouwens2020", "scala2020")},
    )
    np.testing.assert_allclose(back["ephys"].to_df()["AP width (ms)"], width, rtol=1e-6)


@pytest.mark.skipif(not os.environ.get("SCVI_CAE_DATA"), reason="needs the data sets")
def test_names_are_those_of_the_data_sets():
    assert set(ephys_names()["scala2020"]) <= set(scala2020()["ephys"].var_names)
    names = Path(os.environ["SCVI_CAE_DATA"]) / "gala2021" / "E_names.json"
    assert set(ephys_names()["gouwens2020"]) <= set(json.loads(names.read_text()))


def test_it_is_public():
    assert "ephys_names" in scvi_cae.datasets.__all__
