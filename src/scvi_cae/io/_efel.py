"""Features that eFEL computed, for each trace or reduced to one value for each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_cae.pp._ephys_names import ephys_concepts, recognise

from ._features import features_to_anndata, read_table

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    #: What ``efel.get_feature_values`` returns for one trace.
    Trace = Mapping[str, Any]

_TYPICAL = "_typical"
#: Current of a typical step above rheobase, in pA: the middle of what ipfx takes, 40 to 60 pA.
_ABOVE_RHEOBASE = 50.0
_COUNTS = ("Spikecount_stimint", "Spikecount")
#: Features that eFEL gives for traces with action potentials only.
_OF_SPIKES = (
    "peak_time",
    "peak_voltage",
    "AP_amplitude",
    "AP1_amp",
    "AP_begin_voltage",
    "time_to_first_spike",
)


def read_efel(
    results: Mapping[str, Sequence[Trace]] | pd.DataFrame | str | Path,
    *,
    stimulus_current: Mapping[str, Sequence[float]] | Sequence[float] | None = None,
    stimulus_duration: float | None = None,
    cells: str | None = None,
) -> AnnData:
    """Read electrophysiological features that eFEL computed.

    eFEL gives an array, or ``None``, for each feature and trace, which are reduced to one value for each cell (see
    Notes). Names go to those of a model by :func:`scvi_cae.pp.ephys_names`::

        results = {cell: efel.get_feature_values(traces[cell], features) for cell in traces}
        ephys = read_efel(results, stimulus_current=np.arange(-100, 301, 20), stimulus_duration=600)
        rename = {"ephys": ephys_names(ephys.var_names, "scala2020")}
        query = CoupledAE.prepare_query_mudata(mudata.MuData({"ephys": ephys}), model, rename=rename)

    Parameters
    ----------
    results
        For each cell, what ``efel.get_feature_values`` returned: a list with a dictionary for each trace, current steps
        of one duration. Or a table, with a row for each cell, of values that are reduced already: a data frame, or the
        path of a csv or tsv file.
    stimulus_current
        Current of each trace, in pA, relative to the holding current: for each cell, or once if it is the same for all.
        Without it, traces are taken to be in ascending order of current; what needs the current is missing.
    stimulus_duration
        Duration of the current steps, in ms. Without it, firing rates are missing.
    cells
        Column of a table that names the cells, as in :func:`read_ipfx`.

    Returns
    -------
    AnnData of cells x features, dense, NaN where eFEL gave ``None`` or an empty array. ``var_names`` are names of eFEL,
    with ``_typical`` for a typical step, and, if they can be told, ``rheobase``, ``max_rate``, ``rate``,
    ``rate_rheobase`` and ``fi_slope``. ``.var`` is as in :func:`read_ipfx`.

    Raises
    ------
    TypeError
        If results are a list, which does not say which cell it is.
    ValueError
        If numbers of traces and currents differ; if no feature is recognised; if a duration is not positive.

    Warns
    -----
    UserWarning
        If values are impossible, as in :func:`read_ipfx`; they become NaN. eFEL can return resistances of 1e13 MOhm.

    See Also
    --------
    scvi_cae.pp.ephys_concepts : What features mean, and their stimuli.

    Notes
    -----
    Which traces a feature is taken from is the stimulus of its concept:

    ==================================  ==============================================================================
    stimulus                            value
    ==================================  ==============================================================================
    before the step                     median over all traces
    hyperpolarising steps               median over traces with a negative current and no action potential
    strongest hyperpolarising step      the trace of the most negative current
    rheobase step                       the trace of the lowest positive current with an action potential
    typical step                        the trace with action potentials nearest to 50 pA above rheobase
    ==================================  ==============================================================================

    Without currents, the traces without action potential stand for hyperpolarising steps, the first that spikes for
    the rheobase step; a typical step cannot be told. In each trace, the value is the first element of eFEL's array, that
    of the first action potential for features of action potentials. Features that the table of names lacks are taken
    from the rheobase step.

    eFEL's own ``ISI_CV``, ``inv_first_ISI``, ``adaptation_index2`` and ``mean_frequency`` are of the typical step;
    ``max_rate`` is of the step with the most action potentials, and ``fi_slope`` is the slope of a line fitted to the
    rates of all steps with action potentials. Action potentials are counted by ``Spikecount_stimint`` or
    ``Spikecount``.

    eFEL's input resistances are in MOhm if its ``stimulus_current`` was given in nA.

    References
    ----------
    Van Geit W, et al. eFEL: Blue Brain Project electrophys feature extraction library.
    https://github.com/BlueBrain/eFEL

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.io import read_efel
    >>> traces = [
    ...     {"voltage_base": np.array([-70.0]), "AP_amplitude": None, "Spikecount": np.array([0])},
    ...     {
    ...         "voltage_base": np.array([-71.0]),
    ...         "AP_amplitude": np.array([82.0, 77.0]),
    ...         "Spikecount": np.array([2]),
    ...     },
    ...     {
    ...         "voltage_base": np.array([-72.0]),
    ...         "AP_amplitude": np.array([80.0, 75.0]),
    ...         "Spikecount": np.array([9]),
    ...     },
    ... ]
    >>> ephys = read_efel({"cell_1": traces}, stimulus_current=[-20, 60, 120], stimulus_duration=600)
    >>> values = ephys.to_df().loc["cell_1"]
    >>> [
    ...     float(values[name])
    ...     for name in ("voltage_base", "AP_amplitude", "AP_amplitude_typical", "max_rate", "rheobase")
    ... ]
    [-71.0, 82.0, 80.0, 15.0, 60.0]
    """
    if not isinstance(results, Mapping):
        if isinstance(results, (list, tuple)):
            raise TypeError("results must say which cell they are of: {'name of the cell': results}.")
        return features_to_anndata(read_table(results, cells), "efel", "read_efel")
    if stimulus_duration is not None and not stimulus_duration > 0:
        raise ValueError(f"stimulus_duration={stimulus_duration!r} must be positive, in ms.")
    features = list(dict.fromkeys(name for traces in results.values() for trace in traces for name in trace))
    stimuli = _stimuli(features)
    rows = {}
    for cell, traces in results.items():
        given = stimulus_current.get(cell) if isinstance(stimulus_current, Mapping) else stimulus_current
        rows[str(cell)] = _reduce(str(cell), traces, given, stimulus_duration, stimuli)
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return features_to_anndata(frame, "efel", "read_efel")


def _stimuli(features: list[str]) -> dict[str, tuple[str, str]]:
    """Feature of eFEL, and stimulus, by the name of the result."""
    names = [*features, *(name + _TYPICAL for name in features)]
    headers = recognise(names, "efel")
    stimuli = ephys_concepts()["stimulus"].reindex(headers["concept"])
    known = dict(zip(headers.index, stimuli, strict=True))
    results = {}
    for feature in features:
        if feature in _COUNTS:
            continue
        results[feature] = (feature, known.get(feature, "rheobase step"))
        if feature + _TYPICAL in known:
            results[feature + _TYPICAL] = (feature, "typical step")
    return results


def _reduce(
    cell: str,
    traces: Sequence[Trace],
    current: Sequence[float] | None,
    duration: float | None,
    stimuli: Mapping[str, tuple[str, str]],
) -> dict[str, float]:
    """One value for each feature of a cell."""
    amps = None if current is None else np.asarray(current, dtype=float)
    if amps is not None and amps.shape != (len(traces),):
        raise ValueError(
            f"Cell {cell!r} has {len(traces)} traces, and stimulus_current {amps.size} values. Give one for each trace."
        )
    counts = np.array([_count(trace) for trace in traces], dtype=float)
    chosen = _chosen(counts, amps)
    values = {}
    for name, (feature, stimulus) in stimuli.items():
        found = [
            value for i in chosen.get(stimulus, []) if np.isfinite(value := _first(traces[i].get(feature)))
        ]
        values[name] = float(np.median(found)) if found else np.nan
    rheobase, typical = chosen["rheobase step"], chosen["typical step"]
    if amps is not None:
        values["rheobase"] = amps[rheobase[0]] if rheobase else np.nan
    if duration is not None and any(name in trace for trace in traces for name in _COUNTS):
        rates = 1000 * counts / duration
        values["max_rate"] = rates.max() if len(rates) else np.nan
        values["rate_rheobase"] = rates[rheobase[0]] if rheobase else np.nan
        if amps is not None:
            values["rate"] = rates[typical[0]] if typical else np.nan
            spiking = (counts > 0) & (amps > 0)
            fitted = len(np.unique(amps[spiking])) > 1
            values["fi_slope"] = np.polyfit(amps[spiking], rates[spiking], 1)[0] if fitted else np.nan
    return values


def _chosen(counts: np.ndarray, amps: np.ndarray | None) -> dict[str, list[int]]:
    """Positions of the traces of each stimulus."""
    order = np.arange(len(counts)) if amps is None else np.argsort(amps, kind="stable")
    silent = [i for i in order if counts[i] == 0 and (amps is None or amps[i] < 0)]
    spiking = [i for i in order if counts[i] > 0 and (amps is None or amps[i] > 0)]
    typical: list[int] = []
    if amps is not None and spiking:
        above = [i for i in spiking if amps[i] > amps[spiking[0]]]
        typical = sorted(above, key=lambda i: abs(amps[i] - amps[spiking[0]] - _ABOVE_RHEOBASE))[:1]
    return {
        "before the step": list(order),
        "hyperpolarising steps": silent,
        "strongest hyperpolarising step": silent[:1],
        "rheobase step": spiking[:1],
        "typical step": typical,
    }


def _count(trace: Trace) -> float:
    """Number of action potentials; 1 for any where eFEL did not count them."""
    for name in _COUNTS:
        count = _first(trace.get(name))
        if np.isfinite(count):
            return count
    return float(any(np.isfinite(_first(trace.get(name))) for name in _OF_SPIKES))


def _first(values: Any) -> float:
    """First element of what eFEL gave, NaN if nothing."""
    array = np.empty(0) if values is None else np.atleast_1d(np.asarray(values, dtype=float))
    return float(array[0]) if array.size else np.nan
