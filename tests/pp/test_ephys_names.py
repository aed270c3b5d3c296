"""Names, units and definitions of electrophysiological features in different tables."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.data._formulas import Formula, is_formula
from scvi_cae.pp import ephys_concepts, ephys_names
from scvi_cae.pp._ephys_names import _headers, recognise

CONVENTIONS = ["scala2020", "gouwens2020", "ipfx", "lee2023", "efel", "concepts"]
#: Concepts that the real tables share, written by hand from how each is computed, before the table of names:
#: - Scala et al. 2021, methods, "Extraction of electrophysiological features", and the authors' code
#:   (github.com/berenslab/EphysExtraction: first AP at the lowest current, fast trough, width above threshold);
#: - Gouwens et al. 2020, methods, and ipfx (github.com/AllenInstitute/ipfx): feature_record.py names the columns,
#:   stimulus_protocol_analysis.py and subthresh_features.py compute them;
#: - Lee et al. 2023, methods, and ipfx, bin/features_from_output_json.py: "_rheo" is the first AP at rheobase,
#:   "_hero" 40 to 60 pA above, "_deltav" relative to the threshold, "width_suprathresh" above the threshold.
KEY = pd.read_csv(Path(__file__).parent / "ephys_key.csv")
real_data = pytest.mark.skipif(
    not os.environ.get("SCVI_CAE_DATA"), reason="needs the data sets: set SCVI_CAE_DATA to their folder"
)
pairs = st.sampled_from([(a, b) for a in CONVENTIONS for b in CONVENTIONS if a != b])


def inputs(text):
    return list(Formula.parse(text).names) if is_formula(text) else [text]


def convert(values, table):
    """Values of the second column of a table of names."""
    out = {}
    for source, target, factor in table.iloc[:, :3].itertuples(index=False):
        formula = Formula.parse(source if is_formula(source) else f"`{source}`")
        if set(formula.names) <= set(values):
            out[target] = formula(values[list(formula.names)].to_numpy()) * factor
    return pd.DataFrame(out, index=values.index)


def real(name):
    folder = Path(os.environ["SCVI_CAE_DATA"])
    if name == "scala2020":
        return pd.read_csv(
            folder / name / "m1_patchseq_ephys_features.csv", index_col=0, sep=None, engine="python"
        )
    if name == "gouwens2020":
        table = pd.read_csv(folder / name / "efeature.csv")
        return table.set_index(table.pop("ID").str.extract(r"ses-(\d+)_")[0].astype(int))
    return pd.read_csv(folder / name / "LeeDalley_ephys_fx.csv", index_col="specimen_id")


@given(pairs, st.booleans())
def test_rows_are_of_headers_of_both_conventions(pair, different):
    table = ephys_names(*pair, different=different)
    assert list(table) == [*pair, "factor", "concept", "unit", "difference"]
    headers = _headers()
    ours, theirs = (set(headers.index[headers["convention"] == name]) for name in pair)
    assert {name for text in table[pair[0]] for name in inputs(text)} <= ours
    assert set(table[pair[1]]) <= theirs
    assert table[pair[1]].is_unique
    assert (np.isfinite(table["factor"]) & (table["factor"] != 0)).all()
    assert different or (table["difference"] == "").all()


@given(pairs)
def test_what_differs_is_named_and_left_out_unless_asked_for(pair):
    same, all_rows = ephys_names(*pair), ephys_names(*pair, different=True)
    pd.testing.assert_frame_equal(all_rows[all_rows["difference"] == ""].reset_index(drop=True), same)


@given(pairs)
def test_the_other_direction_is_the_inverse(pair):
    source, target = pair
    there, back = ephys_names(source, target), ephys_names(target, source)
    both = there.merge(back, on=[source, target])
    assert len(both) or pair in (("ipfx", "efel"), ("efel", "ipfx"))
    np.testing.assert_allclose(both["factor_x"] * both["factor_y"], 1, rtol=1e-12)


def test_there_and_back_gives_the_same_values():
    cells = pd.DataFrame({"AP threshold (mV)": [-40.0], "AP amplitude (mV)": [80.0], "Sag ratio": [1.25]})
    cells["Latency (ms)"] = 70.0
    for other in ("gouwens2020", "ipfx", "lee2023", "concepts"):
        there = convert(cells, ephys_names("scala2020", other))
        back = convert(there, ephys_names(other, "scala2020"))
        pd.testing.assert_frame_equal(back[list(cells)], cells)


@pytest.mark.parametrize(
    ("source", "target", "header", "text", "factor"),
    [
        ("scala2020", "gouwens2020", "vrest", "Resting membrane potential (mV)", 1),
        ("scala2020", "gouwens2020", "sag", "1 - 1 / `Sag ratio`", 1),
        ("gouwens2020", "scala2020", "Sag ratio", "1 / (1 - `sag`)", 1),
        ("scala2020", "gouwens2020", "peak_v_long_square", "`AP threshold (mV)` + `AP amplitude (mV)`", 1),
        ("ipfx", "scala2020", "Membrane time constant (ms)", "tau", 1000),
        ("gouwens2020", "lee2023", "tau", "tau", 0.001),
        ("gouwens2020", "scala2020", "Latency (ms)", "`threshold_t_long_square` - 0.5", 1000),
        ("lee2023", "gouwens2020", "threshold_t_long_square", "`latency_rheo` + 0.5", 1),
        ("lee2023", "concepts", "chirp_peak_impedance", "peak_impedance_chirp", 1000),
        ("efel", "scala2020", "Max number of APs", "max_rate", 0.6),
        (
            "efel",
            "scala2020",
            "Upstroke-to-downstroke ratio",
            "-`AP_peak_upstroke` / `AP_peak_downstroke`",
            1,
        ),
        ("scala2020", "ipfx", "stimulus_amplitude_0_long_square", "Rheobase (pA)", 1),
    ],
)
def test_conversions(source, target, header, text, factor):
    row = ephys_names(source, target).set_index(target).loc[header]
    assert row[source] == text
    assert row["factor"] == pytest.approx(factor, rel=1e-12)


def test_definitions_that_differ_are_named():
    table = ephys_names("ipfx", "scala2020", different=True).set_index("scala2020")
    left_out = ["AP width (ms)", "Input resistance (MOhm)"]
    assert set(left_out) & set(ephys_names("ipfx", "scala2020")["scala2020"]) == set()
    assert table.loc[left_out, "difference"].str.contains("instead of").all()
    assert "AP width (ms)" in set(ephys_names("lee2023", "scala2020")["scala2020"])


def test_conventions_of_columns_are_recognised():
    names = ["vrest", "tau", "threshold_v_long_square", "something"]
    table = ephys_names(names, "scala2020").set_index("scala2020")
    assert list(table)[0] == "data"
    assert table.loc["Membrane time constant (ms)", ["data", "factor"]].tolist() == ["tau", 1]
    names = ["v_baseline", "tau", "threshold_v_rheo"]
    assert ephys_names(names, "scala2020").set_index("data").loc["tau", "factor"] == 1000
    # Columns of several conventions, and the second of two headers of one concept.
    table = ephys_names(["Rheobase (pA)", "AP1_amp", "voltage_base"], "concepts").set_index("concepts")
    assert table.loc[["rheobase", "ap_amplitude"], "data"].tolist() == ["Rheobase (pA)", "AP1_amp"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("scala2020", "gala2021"),
            "No convention 'gala2021' in the table; it has 'scala2020', 'gouwens2020'",
        ),
        (("factor", "scala2020"), "No convention 'factor'"),
        (("scala2020", "scala2020"), "both 'scala2020': name two"),
        ((["a", "b"], "scala2020"), "No name of any convention among 'a', 'b'"),
        ((["tau"], "scala2020"), "'tau' have different .*'gouwens2020', 'ipfx', 'lee2023'.*Give the name"),
    ],
)
def test_names_that_cannot_be_meant(arguments, message):
    with pytest.raises(ValueError, match=message):
        ephys_names(*arguments)


def test_tables_are_consistent():
    concepts, headers = ephys_concepts(), _headers()
    assert headers["convention"].unique().tolist() == CONVENTIONS
    assert concepts.index.is_unique
    assert set(headers["concept"]) == set(concepts.index)
    assert not headers.reset_index().duplicated(["convention", "header"]).any()
    assert (concepts[["unit", "stimulus", "definition"]] != "").all(axis=None)
    assert (concepts["min"] < concepts["max"]).all()
    assert set(concepts["like"]) - {""} <= set(concepts.index)
    assert ((concepts["like"] == "") == (concepts["difference"] == "")).all()
    units = {("s", "ms"): 1000, ("GOhm", "MOhm"): 1000}
    for header, row in headers.iterrows():
        unit = concepts.loc[row["concept"], "unit"]
        if header not in ("Max number of APs", "sag_ratio2"):
            assert row["factor"] == units.get((row["unit"], unit), 1), header
            assert unit == row["unit"] or (row["unit"], unit) in units
    in_names = headers[headers["convention"] == "scala2020"].index.to_series().str.extract(r"\((.*)\)$")[0]
    for header, unit in in_names.dropna().items():
        assert headers.loc[header, "unit"] == unit.replace("mV*s", "mV s")


@pytest.mark.parametrize("tables", KEY["tables"].unique())
def test_all_of_the_key_is_recognised(tables):
    names = tables.split("-")
    given = [ephys_names(name, "concepts").set_index("concepts") for name in names]
    directions = ephys_names(*names), ephys_names(*names[::-1])
    for entry in KEY[KEY["tables"] == tables].to_dict("records"):
        headers = entry["first"], entry["second"]
        for name, header, table in zip(names, headers, given, strict=True):
            assert header in inputs(table.loc[entry["concept"], name]), entry
        for header, table in zip(headers[::-1], directions, strict=True):
            assert header in set(table.iloc[:, 1]), entry


@real_data
def test_the_key_and_the_table_are_of_columns_of_the_real_tables():
    columns = {name: set(real(name)) for name in ("scala2020", "gouwens2020", "lee2023")}
    for entry in KEY.to_dict("records"):
        first, second = entry["tables"].split("-")
        assert entry["first"] in columns[first]
        assert entry["second"] in columns[second]
    headers = _headers()
    for name, known in columns.items():
        assert set(headers.index[headers["convention"] == name]) <= known
    assert len(recognise(columns["scala2020"])) == 29
    assert len(recognise(columns["gouwens2020"])) == 35
    assert len(recognise(columns["lee2023"])) == 81
    names = json.loads((Path(os.environ["SCVI_CAE_DATA"]) / "gala2021" / "E_names.json").read_text())
    assert len(recognise(names)) == 24  # the others are 44 principal components


#: Concept, feature of both tables that one code computed, and how it was transformed there.
SAME_CODE = {
    "ap_threshold": ("AP threshold", lambda x: x),
    "ap_amplitude": ("AP amplitude", lambda x: x),
    "ap_ahp": ("AHP", lambda x: x),
    "resting_potential": ("rest $V_{m}$ mean", lambda x: x),
}
#: The same, of M1 alone, by rank.
SAME_CODE_M1 = {
    "ap_width": ("AP width", lambda x: x, 0.9),
    "isi_ratio_2": ("ISI adapt", np.exp, 0.6),
    "isi_cv_strongest": ("ISI CV", np.exp, 0.7),
    "max_rate": ("AP count", lambda x: np.exp(x) - 3, 0.8),
    "ap_amplitude_ratio_2": ("AP amp adapt", np.exp, 0.7),
}


@real_data
def test_concepts_agree_with_features_that_one_code_computed():
    """Of one trace, at a higher current, and corrected for a junction potential of about 15 mV."""
    folder = Path(os.environ["SCVI_CAE_DATA"]) / "m1_v1_same_features"
    offsets = {}
    for name, file in (("scala2020", "M1"), ("gouwens2020", "V1")):
        same = pd.read_csv(folder / f"{file}_features.csv", index_col=0)
        values = convert(real(name), ephys_names(name, "concepts"))
        cells = values.index.intersection(same.index)
        assert len(cells) > 1000
        values, same = values.loc[cells], same.loc[cells]
        checks = {concept: (*check, 0.75) for concept, check in SAME_CODE.items()}
        for concept, (feature, undo, r) in {**checks, **(SAME_CODE_M1 if file == "M1" else {})}.items():
            both = pd.DataFrame({"ours": values[concept], "theirs": undo(same[feature])}).dropna()
            assert both.corr("spearman").iloc[0, 1] > r, (file, concept)
            if concept in SAME_CODE:
                slope = np.polyfit(both["ours"], both["theirs"], 1)[0]
                assert 0.7 < slope < 1.1, (file, concept)
                offsets[file, concept] = (both["theirs"] - both["ours"]).median()
        if file == "M1":
            assert 0.9 < (same["AP width"] / values["ap_width"]).median() < 1.1
    for concept in ("ap_threshold", "ap_amplitude", "ap_ahp"):
        assert abs(offsets["M1", concept] - offsets["V1", concept]) < 4, concept


@real_data
def test_converted_features_have_the_range_of_the_other_table():
    """A factor of 1,000, or a wrong sign, puts the median far outside of the other table."""
    tables = {name: real(name) for name in ("scala2020", "gouwens2020", "lee2023")}
    for source, values in tables.items():
        for target, others in tables.items():
            if source != target:
                converted = convert(values, ephys_names(source, target))
                low, high = others[list(converted)].quantile(0.01), others[list(converted)].quantile(0.99)
                median = converted.median()
                outside = converted.columns[(median < low) | (median > high)]
                assert outside.empty, (source, target, list(outside))
