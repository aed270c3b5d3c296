"""Names, units and definitions of electrophysiological features in different data sets and packages."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The convention of this package: names of the table of concepts.
CONCEPTS = "concepts"


def ephys_names(source: str | Iterable[str], target: str, *, different: bool = False) -> pd.DataFrame:
    """Electrophysiological features that two tables share, and how one is computed from the other.

    The result renames and converts the features of a query for a model of other data::

        rename = {"ephys": ephys_names("ipfx", "scala2020")}
        CoupledAE.prepare_query_mudata(mdata, model, rename=rename)

    Features correspond if they are the same concept, a row of :func:`ephys_concepts`, which has their definitions.
    Units are converted by a factor. What the source lacks is calculated where arithmetic gives it exactly: the
    amplitude of action potentials from peak and threshold, the sag as a fraction from the sag ratio.

    Parameters
    ----------
    source
        Names of the data, one of these conventions:

        ``"scala2020"``
            :func:`scvi_cae.datasets.scala2020`, Scala et al. (2021).
        ``"gouwens2020"``
            The table of features of Gouwens et al. (2020), and what the pipeline of ipfx writes: ``vrest``,
            ``threshold_v_long_square``. ``tau`` is in ms, ``latency`` in s.
        ``"ipfx"``
            ipfx' collection of features: ``v_baseline``, ``ap_1_threshold_v_0_long_square``. In
            :func:`scvi_cae.datasets.gala2021` these names are ``var["internal_name"]``, and values are scaled;
            its docstring shows how to convert them to natural units.
        ``"lee2023"``
            Lee et al. (2023), and ipfx' script ``features_from_output_json``: ``threshold_v_rheo``,
            ``peak_deltav_hero``, ``tau`` in s.
        ``"efel"``
            Features of eFEL, reduced to one value for each cell as by :func:`scvi_cae.io.read_efel`.
        ``"concepts"``
            Names of :func:`ephys_concepts`.

        Or the names of the columns of a table, whose convention is then recognised: a name that several conventions
        have is of the one that knows most of the names.
    target
        Names of the model, one of these conventions.
    different
        Whether to add features whose definitions differ, such as an input resistance from the largest deflection
        instead of the steady state. Their values are comparable, but differ systematically.

    Returns
    -------
    Data frame with a row for each feature of the target. The first column, named after the source (``"data"`` if it
    is a list of names), has the name of a feature, or a formula with names in backticks; the second, named after the
    target, the name of the result. ``factor`` multiplies the first to give the second. ``concept``, and ``unit`` of
    the result, say what it is. ``difference`` is empty, or says how definitions differ.

    Raises
    ------
    ValueError
        If a convention is unknown; if source and target are the same; if no name is recognised, or names are of
        several conventions alike, in which they are different features.

    See Also
    --------
    ephys_concepts : Definitions.
    scvi_cae.io.read_ipfx, scvi_cae.io.read_efel : Tables in these conventions.

    Notes
    -----
    Values of a concept are comparable, not equal, where protocols differ:

    - Features of the "rheobase step" are of the first action potential at the lowest current that elicits any, in a
      step of 600 ms ("scala2020") or 1 s (ipfx, "long square"); a "typical step" is 40 to 60 pA above.
    - "scala2020" was recorded at room temperature, the data of the Allen Institute at 34 °C, where action potentials
      are narrower.
    - The membrane potential precedes the current step, and a holding current may shift it.
    - The rheobase is extrapolated from firing rates in "scala2020" where possible, and is therefore up to one
      current step, 20 pA, below the lowest current that elicits an action potential.
    - The sag is that of the strongest hyperpolarising step in "scala2020", of the step that comes nearest to -100 mV
      in ipfx.
    - Features of a pulse of 3 ms ("short square") are averages over all that elicit an action potential, in
      "lee2023" over those of one current.
    - Times of "gouwens2020" count from 0.5 s before the current step.

    References
    ----------
    Scala F, Kobak D, et al. Phenotypic variation of transcriptomic cell types in mouse motor cortex.
    Nature 598, 144-150 (2021). https://doi.org/10.1038/s41586-020-2907-3

    Gouwens NW, Sorensen SA, et al. Integrated morphoelectric and transcriptomic classification of cortical
    GABAergic cells. Cell 183, 935-953 (2020). https://doi.org/10.1016/j.cell.2020.09.057

    Lee BR, Dalley R, et al. Signature morphoelectric properties of diverse GABAergic interneurons in the human
    neocortex. Science 382, eadf6484 (2023). https://doi.org/10.1126/science.adf6484

    Van Geit W, et al. eFEL: Blue Brain Project electrophys feature extraction library.
    https://github.com/BlueBrain/eFEL

    Examples
    --------
    >>> from scvi_cae.pp import ephys_names
    >>> table = ephys_names("gouwens2020", "scala2020").set_index("scala2020")
    >>> table.loc["AP amplitude (mV)", "gouwens2020"]
    '`peak_v_long_square` - `threshold_v_long_square`'
    >>> table.loc["Latency (ms)", "gouwens2020"], float(table.loc["Latency (ms)", "factor"])
    ('`threshold_t_long_square` - 0.5', 1000.0)

    Definitions that differ:

    >>> "AP width (ms)" in set(ephys_names("ipfx", "scala2020")["scala2020"])
    False
    >>> table = ephys_names("ipfx", "scala2020", different=True).set_index("scala2020")
    >>> table.loc["AP width (ms)", "ipfx"], float(table.loc["AP width (ms)", "factor"])
    ('ap_1_width_0_long_square', 1000.0)
    >>> table.loc["AP width (ms)", "difference"]  # doctest: +ELLIPSIS
    'ap_width_above_trough: at half of the height above the trough instead of the threshold...'
    """
    named = isinstance(source, str)
    if named and source == target:
        raise ValueError(f"source and target are both {source!r}: name two conventions.")
    headers = _convention(source) if isinstance(source, str) else recognise(source)
    given = {str(concept): _direct(row) for concept, row in _first(headers).iterrows()}
    near = _near() if different else {}
    rows = []
    for header, wanted in _convention(target).iterrows():
        for concept, difference in [(wanted["concept"], ""), *near.get(wanted["concept"], [])]:
            term = _express(concept, given)
            if term is not None:
                text, factor = _to_header(term, wanted)
                rows.append((text, header, factor, wanted["concept"], wanted["unit"], difference))
                break
    columns = [source if named else "data", target, "factor", "concept", "unit", "difference"]
    return pd.DataFrame(rows, columns=columns).astype({"factor": float})


def ephys_concepts() -> pd.DataFrame:
    """Definitions of electrophysiological features: the convention ``"concepts"``.

    Returns
    -------
    Data frame, indexed by the name of a concept, with columns ``unit``; ``stimulus``, the current step or other
    stimulus in whose response it is measured; ``definition``; ``formula``, other concepts that give the same, if any;
    ``like``, a concept that differs in definition only, and the ``difference``; ``min`` and ``max``, beyond which a
    value is impossible.

    See Also
    --------
    ephys_names : Names of these concepts in data sets and packages.

    Examples
    --------
    >>> from scvi_cae.pp import ephys_concepts
    >>> ephys_concepts().loc["sag", ["unit", "formula"]].tolist()
    ['1', '1 - 1 / sag_ratio']
    """
    return _read("ephys_concepts.csv").set_index("concept")


def recognise(names: Iterable[str], convention: str | None = None) -> pd.DataFrame:
    """Headers of the table of names among the columns of a table.

    Parameters
    ----------
    names
        Names of columns.
    convention
        Convention of the names; by default it is recognised: a name that several conventions have is of the one that
        knows most of the names.

    Returns
    -------
    Data frame, indexed by the recognised names in their order, with columns ``convention``, ``concept`` and ``unit``,
    and those that convert values, ``concept = factor * (header - zero)``.

    Raises
    ------
    ValueError
        If no name is recognised, or names are of several conventions alike, in which they are different features.
    """
    names = pd.Index(names).astype(str)
    table = _headers() if convention is None else _convention(convention)
    table = table[table.index.isin(names)]
    if table.empty:
        which = f"convention {convention!r}" if convention else "any convention"
        raise ValueError(
            f"No name of {which} among {shorten(names)}. Name features as in one of {shorten(_conventions(), 9)}; "
            "scvi_cae.pp.ephys_concepts() has those of 'concepts'."
        )
    known = table["convention"].map(table["convention"].value_counts())
    best = table[known == known.groupby(level=0).transform("max")]
    alike = best.drop(columns="convention").reset_index().drop_duplicates()
    twice = pd.Index(alike.loc[alike["header"].duplicated(), "header"])
    if len(twice):
        conventions = best.loc[twice[:1], "convention"].to_list()
        raise ValueError(
            f"Names such as {shorten(twice, 3)} have different meanings or units in conventions "
            f"{shorten(conventions)}, and as many of the names are of either. Give the name of the convention instead."
        )
    best = best[~best.index.duplicated()]
    return best.loc[names[names.isin(best.index)].unique()]


class _Term(NamedTuple):
    """A value: the name of a feature or a formula, times a factor."""

    text: str
    factor: float
    is_name: bool = False

    def in_formula(self) -> str:
        quoted = f"`{self.text}`" if self.is_name else f"({self.text})"
        return quoted if self.factor == 1 else f"({self.factor!r} * {quoted})"


def _direct(header: pd.Series) -> _Term:
    """What gives the concept of a header."""
    name, zero = str(header["header"]), float(header["zero"])
    factor = float(header["factor"])
    return _Term(f"`{name}` - {zero!r}", factor) if zero else _Term(name, factor, is_name=True)


def _express(concept: str, given: Mapping[str, _Term], without: frozenset[str] = frozenset()) -> _Term | None:
    """What gives a concept: a feature, or the formula of its concepts if all can be expressed."""
    if concept in given:
        return given[concept]
    formula = _formulas().get(concept)
    if formula is None or concept in without:
        return None
    terms: dict[str, str] = {}
    for name in re.findall(r"[a-z_]\w*", formula):
        term = _express(name, given, without | {concept})
        if term is None:
            return None
        terms[name] = term.in_formula()
    return _Term(re.sub(r"[a-z_]\w*", lambda match: terms[match[0]], formula), 1.0)


def _to_header(term: _Term, header: pd.Series) -> tuple[str, float]:
    """Text and factor that give a header from what gives its concept: ``header = concept / factor + zero``."""
    factor = term.factor / float(header["factor"])
    if header["zero"]:
        return f"{term._replace(factor=factor).in_formula()} + {float(header['zero'])!r}", 1.0
    return term.text, factor


def _first(headers: pd.DataFrame) -> pd.DataFrame:
    """The first header of each concept, which is preferred to others."""
    return headers.rename_axis("header").reset_index().drop_duplicates("concept").set_index("concept")


@cache
def _near() -> dict[str, list[tuple[str, str]]]:
    """Concepts that differ from each in definition only, with the difference."""
    concepts = ephys_concepts()
    like = concepts["like"].where(concepts["like"] != "", concepts.index.to_series())
    said = {name: f"{name}: {text}" for name, text in concepts["difference"].items() if text}
    near: dict[str, list[tuple[str, str]]] = {}
    for name, root in like.items():
        # The concept that others are like first.
        others = [root, *like.index[like == root]]
        others = [other for other in dict.fromkeys(others) if other != name]
        near[str(name)] = [
            (other, "; ".join(said[one] for one in (other, name) if one in said)) for other in others
        ]
    return near


@cache
def _formulas() -> dict[str, str]:
    formulas = ephys_concepts()["formula"]
    return {str(name): formula for name, formula in formulas.items() if formula}


def _convention(name: str) -> pd.DataFrame:
    known = _conventions()
    if name not in known:
        raise ValueError(f"No convention {name!r} in the table; it has {shorten(known, len(known))}.")
    table = _headers()
    return table[table["convention"] == name]


def _conventions() -> list[str]:
    return list(_headers()["convention"].unique())


@cache
def _headers() -> pd.DataFrame:
    """All headers, those of concepts included."""
    table = _read("ephys_headers.csv").astype({"factor": float, "zero": float})
    concepts = ephys_concepts()[["unit"]].reset_index()
    own = concepts.assign(convention=CONCEPTS, header=concepts["concept"], factor=1.0, zero=0.0)
    return pd.concat([table, own[list(table)]]).set_index("header")


@cache
def _read(name: str) -> pd.DataFrame:
    with files("scvi_cae.pp").joinpath(name).open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"unit": str}, keep_default_na=False)
