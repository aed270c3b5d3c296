"""What eFEL returns: arrays or None for each trace, reduced to one value for each cell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.io import read_efel
from scvi_cae.pp import ephys_names

CURRENTS = np.array([-100.0, -60, -20, 20, 40, 60, 80, 100, 140])
COUNTS = np.array([0, 0, 0, 0, 2, 4, 6, 9, 7])


def trace(current, count, rng):
    """What ``efel.get_feature_values`` gives for one trace."""
    spikes = rng.normal(size=count)

    def of_spikes(mean, sd=1.0):
        return mean + sd * spikes if count else None

    passive = count == 0
    return {
        "Spikecount": np.array([count]),
        "voltage_base": np.array([-70 + 0.1 * rng.normal()]),
        "ohmic_input_resistance_vb_ssse": np.array([180.0 + current / 10]) if passive else np.array([1.5e13]),
        "time_constant": np.array([12.0 - current / 100]) if passive else None,
        "sag_ratio1": np.array([0.1 - current / 1000]) if current < 0 else None,
        "AP_amplitude": of_spikes(80),
        "AP_begin_voltage": of_spikes(-40),
        "AP_peak_upstroke": of_spikes(300, 10),
        "AP_peak_downstroke": of_spikes(-100),
        "AP_duration_half_width": of_spikes(0.8, 0.01),
        "time_to_first_spike": np.array([100 - current / 2]) if count else None,
        "AP_rise_time": of_spikes(0.5, 0.01),
        "ISI_CV": np.array([0.2]) if count > 3 else np.array([]),
    }


def cell(seed=0):
    rng = np.random.default_rng(seed)
    return [trace(current, count, rng) for current, count in zip(CURRENTS, COUNTS, strict=True)]


def read(traces, **arguments):
    arguments = {"stimulus_current": CURRENTS, "stimulus_duration": 600, **arguments}
    return read_efel({"a": traces}, **arguments).to_df().loc["a"]


@given(st.permutations(range(len(CURRENTS))), st.integers(0, 99))
def test_the_order_of_traces_does_not_matter(order, seed):
    traces = cell(seed)
    values = read([traces[i] for i in order], stimulus_current=CURRENTS[order])
    pd.testing.assert_series_equal(values[read(traces).index], read(traces))


def test_values_are_of_the_trace_of_their_stimulus():
    traces = cell()
    values = read(traces)
    assert values["voltage_base"] == pytest.approx(np.median([one["voltage_base"][0] for one in traces]))
    assert values["ohmic_input_resistance_vb_ssse"] == pytest.approx(174)
    assert values["time_constant"] == pytest.approx(12.6)
    assert values["sag_ratio1"] == pytest.approx(0.2)
    assert values["AP_amplitude"] == pytest.approx(traces[4]["AP_amplitude"][0])
    # 80 and 100 pA are 40 and 60 above rheobase; the lower of two as near is taken.
    assert values["AP_amplitude_typical"] == pytest.approx(traces[6]["AP_amplitude"][0])
    assert values[["rheobase", "max_rate", "rate", "rate_rheobase"]].tolist() == pytest.approx(
        [40, 15, 10, 2 / 0.6]
    )
    spiking = COUNTS > 0
    slope = np.polyfit(CURRENTS[spiking], COUNTS[spiking] / 0.6, 1)[0]
    assert values["fi_slope"] == pytest.approx(slope)


def test_without_currents_traces_are_taken_in_their_order():
    traces = cell()
    values = read(traces, stimulus_current=None, stimulus_duration=None)
    assert values["AP_amplitude"] == pytest.approx(traces[4]["AP_amplitude"][0])
    assert values["sag_ratio1"] == pytest.approx(0.2)
    assert np.isnan(values[["AP_amplitude_typical", "ISI_CV"]]).all()
    assert not {"rheobase", "max_rate", "fi_slope", "rate"} & set(values.index)


def test_traces_without_counts_spike_if_they_have_spikes():
    traces = [{name: value for name, value in one.items() if name != "Spikecount"} for one in cell()]
    assert read(traces)["AP_amplitude"] == pytest.approx(traces[4]["AP_amplitude"][0])
    assert "max_rate" not in read(traces).index


def test_none_and_empty_arrays_are_missing():
    silent = [trace(current, 0, np.random.default_rng(0)) for current in CURRENTS]
    results = {"a": cell(), "silent": silent, "empty": []}
    currents = {"a": CURRENTS, "silent": CURRENTS, "empty": []}
    adata = read_efel(results, stimulus_current=currents, stimulus_duration=600)
    values = adata.to_df()
    of_spikes = ["AP_amplitude", "AP_amplitude_typical", "rheobase", "ISI_CV", "fi_slope"]
    assert values.loc[["silent", "empty"], of_spikes].isna().all(axis=None)
    assert values.loc["silent", ["max_rate", "time_constant"]].tolist() == pytest.approx([0, 12.6])
    assert values.loc["empty"].isna().all()
    assert adata.var.loc["AP_amplitude_typical", ["concept", "unit", "stimulus"]].tolist() == [
        "ap_amplitude_typical",
        "mV",
        "typical step",
    ]


def test_impossible_values_become_nan_and_are_reported():
    traces = cell()
    for one in traces:
        one["ohmic_input_resistance_vb_ssse"] = np.array([1.5e13])
    with pytest.warns(
        UserWarning, match=r"read_efel: .*'ohmic_input_resistance_vb_ssse' 1 \(such as 1.5e\+13 MOhm"
    ):
        assert np.isnan(read(traces)["ohmic_input_resistance_vb_ssse"])


def test_features_that_the_table_lacks_are_of_the_rheobase_step():
    traces = cell()
    for i, one in enumerate(traces):
        one["AP_phaseslope"] = np.array([float(i)]) if COUNTS[i] else None
    adata = read_efel({"a": traces}, stimulus_current=CURRENTS)
    assert adata.to_df().loc["a", "AP_phaseslope"] == 4
    assert adata.var.loc["AP_phaseslope", "concept"] == ""


def test_a_table_of_reduced_values(tmp_path):
    table = pd.DataFrame({"voltage_base": [-70.0, -65.0], "AP1_amp": [80.0, None]}, index=["a", "b"])
    table.to_csv(tmp_path / "efel.csv", index_label="cell")
    for source in (table, tmp_path / "efel.csv"):
        adata = read_efel(source)
        assert adata.obs_names.tolist() == ["a", "b"]
        assert adata.var["concept"].tolist() == ["resting_potential", "ap_amplitude"]
        assert np.isnan(adata.X[1, 1])


def test_names_go_to_those_of_a_data_set():
    adata = read_efel({"a": cell()}, stimulus_current=CURRENTS, stimulus_duration=600)
    table = ephys_names(adata.var_names, "scala2020").set_index("scala2020")
    assert table.loc["Latency (ms)", "data"] == "`time_to_first_spike` - `AP_rise_time`"
    assert table.loc["Max number of APs", ["data", "factor"]].tolist() == ["max_rate", 0.6]


@pytest.mark.parametrize(
    ("results", "arguments", "error", "message"),
    [
        ([cell()], {}, TypeError, r"which cell they are of: \{'name of the cell': results\}"),
        ({"a": cell()}, {"stimulus_current": [1.0]}, ValueError, "Cell 'a' has 9 traces, and .* 1 values"),
        ({"a": cell()}, {"stimulus_duration": 0}, ValueError, "stimulus_duration=0 must be positive, in ms"),
        ({"a": [{"x": None}]}, {}, ValueError, "No name of convention 'efel' among 'x'"),
    ],
)
def test_results_that_cannot_be_read(results, arguments, error, message):
    with pytest.raises(error, match=message):
        read_efel(results, **arguments)
