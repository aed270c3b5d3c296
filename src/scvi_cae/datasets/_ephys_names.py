"""What electrophysiological features are called in other data sets, and their units."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

_TABLE = "ephys_names.csv"


def ephys_names(source: str = "scala2020", target: str = "gouwens2020") -> pd.DataFrame:
    """Electrophysiological features that two data sets both have, and the factors between their units.

    The table renames and converts the features of a query for a model of other data:
    ``CoupledAE.prepare_query_mudata(mdata, model, rename={"ephys": ephys_names("scala2020", "gouwens2020")})``.

    Parameters
    ----------
    source, target
        Two of the data sets below.

        ``"scala2020"``
            Features of :func:`scala2020`, of Scala et al. (2021), in ms, mV, MOhm and pA.
        ``"gouwens2020"``
            Features that the package ipfx computes, by its names, as in Gouwens et al. (2020); in s, mV, MOhm and pA.
            In :func:`gala2021` these names are ``var["internal_name"]``, and values are scaled: its docstring has them
            in natural units.

    Returns
    -------
    Data frame with a row for each feature that has one counterpart of the same meaning: columns ``source`` and
    ``target`` hold its names, and ``factor`` is what to multiply values of ``source`` by to have them in the unit of
    ``target``. The columns of names are called as the data sets are.

    Raises
    ------
    ValueError
        If there is no such data set, or the two are the same.

    Notes
    -----
    Values are comparable, not equal. The action potential described is the first one at the lowest current that
    elicits any, in a step of 600 ms ("scala2020") or 1 s ("gouwens2020", "long square"). What "gouwens2020" also has
    of a step of 3 ms ("short square") has no counterpart. "scala2020" was recorded at room temperature, "gouwens2020"
    at 34 °C, where action potentials are narrower. Besides,

    - the width is measured at half the height above threshold in "scala2020", above the trough in "gouwens2020";
    - input resistance is from the steady state of the response to a hyperpolarising step in "scala2020", from its
      peak in "gouwens2020", and so larger where there is a sag;
    - the membrane potential is that before the current step in both, which a holding current may shift;
    - the rheobase is extrapolated from firing rates in "scala2020" where possible, and so up to one step of the
      current, of 20 pA, below the lowest current that elicits an action potential, which it is in "gouwens2020".

    Left out are features of another definition, which no factor converts. AP amplitude (from threshold) is not the
    peak voltage, nor is afterhyperpolarisation (from threshold) the voltage of the fast trough: add the threshold.
    The sag ratio of "scala2020" is peak over steady state, 1 without a sag; ``sag_nearest_minus_100`` is the fraction
    of the peak that the sag takes back, 0 without: one minus the ratio's inverse, of another step.
    The maximum number of action potentials is counted in the step with most of them, ``avg_rate_0_long_square`` in
    the one with the first. Features of adaptation, interspike intervals, bursts, rebound, afterdepolarisation, sag
    time and sag area have no counterpart in ipfx's, nor have upstroke and downstroke in "scala2020".
    ``stimulus_amplitude_0_long_square`` is ``rheobase_i`` once more.

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
            raise ValueError(f"No data set {name!r} in the table; there are {', '.join(map(repr, known))}.")
    if source == target:
        raise ValueError(f"source and target are both {source!r}: name two data sets.")
    factor = table["factor"] if source == known[0] else 1 / table["factor"]
    return table[[source, target]].assign(factor=factor.astype(float))
