"""Names and units of electrophysiological features in different data sets."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

_TABLE = "ephys_names.csv"


def ephys_names(source: str = "scala2020", target: str = "gouwens2020") -> pd.DataFrame:
    """Electrophysiological features that two data sets share, and the factors between their units.

    The table renames and converts the features of a query for a model of other data::

        rename = {"ephys": ephys_names("scala2020", "gouwens2020")}
        CoupledAE.prepare_query_mudata(mdata, model, rename=rename)

    Parameters
    ----------
    source, target
        Two of these data sets:

        ``"scala2020"``
            Features of :func:`scala2020`, Scala et al. (2021), in ms, mV, MOhm and pA.
        ``"gouwens2020"``
            Features computed by the package ipfx, under its names, as in Gouwens et al. (2020); in s, mV,
            MOhm and pA. In :func:`gala2021` these names are ``var["internal_name"]``, and values are scaled;
            its docstring shows how to convert them to natural units.

    Returns
    -------
    Data frame with a row for each feature that has a counterpart with the same meaning. Columns ``source``
    and ``target``, named after the data sets, hold its names. Column ``factor`` converts units: values of
    ``target`` are values of ``source`` times ``factor``.

    Raises
    ------
    ValueError
        If a data set is unknown, or both are the same.

    Notes
    -----
    Values are comparable, not equal. The action potential that features describe is the first one at the
    lowest current that elicits any, in a step of 600 ms ("scala2020") or 1 s ("gouwens2020", "long square").
    Features of "gouwens2020" from a step of 3 ms ("short square") have no counterpart. "scala2020" was
    recorded at room temperature, "gouwens2020" at 34 °C, where action potentials are narrower. Further
    differences:

    - Width is measured at half the height above threshold in "scala2020", above the trough in "gouwens2020".
    - Input resistance is computed from the steady state of the response to a hyperpolarising step in
      "scala2020", and from its peak in "gouwens2020", where it is therefore larger if there is a sag.
    - The membrane potential precedes the current step in both, and a holding current may shift it.
    - The rheobase is extrapolated from firing rates in "scala2020" where possible, and is therefore up to one
      current step, 20 pA, below the lowest current that elicits an action potential, which is the rheobase in
      "gouwens2020".

    Features with different definitions, which no factor converts, are left out. AP amplitude (from threshold)
    differs from the peak voltage, and afterhyperpolarisation (from threshold) from the voltage of the fast
    trough: add the threshold. The sag ratio of "scala2020" is peak over steady state, 1 without sag;
    ``sag_nearest_minus_100`` is the fraction of the peak that the sag takes back, 0 without sag: one minus
    the inverse of the ratio, for another step. The maximum number of action potentials is counted in the step
    with the most action potentials, ``avg_rate_0_long_square`` in the step with the first one. Features of
    adaptation, interspike intervals, bursts, rebound, afterdepolarisation, sag time and sag area have no
    counterpart in ipfx, and upstroke and downstroke have none in "scala2020".
    ``stimulus_amplitude_0_long_square`` duplicates ``rheobase_i``.

    References
    ----------
    Scala F, Kobak D, et al. Phenotypic variation of transcriptomic cell types in mouse motor cortex.
    Nature 598, 144-150 (2021). https://doi.org/10.1038/s41586-020-2907-3

    Gouwens NW, Sorensen SA, et al. Integrated morphoelectric and transcriptomic classification of cortical
    GABAergic cells. Cell 183, 935-953 (2020). https://doi.org/10.1016/j.cell.2020.09.057

    Examples
    --------
    >>> from scvi_cae.datasets import ephys_names
    >>> table = ephys_names("scala2020", "gouwens2020").set_index("scala2020")
    >>> table.loc["AP width (ms)", "gouwens2020"], float(table.loc["AP width (ms)", "factor"])
    ('ap_1_width_0_long_square', 0.001)
    """
    with files("scvi_cae.datasets").joinpath(_TABLE).open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    known = [name for name in table if name != "factor"]
    for name in (source, target):
        if name not in known:
            raise ValueError(f"No data set {name!r} in the table; it has {', '.join(map(repr, known))}.")
    if source == target:
        raise ValueError(f"source and target are both {source!r}: name two data sets.")
    factor = table["factor"] if source == known[0] else 1 / table["factor"]
    return table[[source, target]].assign(factor=factor.astype(float))
