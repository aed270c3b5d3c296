"""Names of cells that differ between modalities only in how they are written."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from anndata import AnnData

#: The end of a name that a program appends: "-1" of 10x Genomics, "_rna".
_SUFFIX = r"[-_.:][^-_.:]*$"


class Rule(NamedTuple):
    """A way to write names alike.

    Parameters
    ----------
    name
        Its name, which ``join`` of :func:`~scvi_cae.io.read_tables` takes.
    words
        What names differ in, in words.
    code
        Python code that changes names by the rule, to follow ``obs_names``.
    change
        The same as a function.
    """

    name: str
    words: str
    code: str
    change: Callable[[pd.Index], pd.Index]


class NearMiss(NamedTuple):
    """Names of two modalities that a rule would join.

    Parameters
    ----------
    first, second
        Keys of the modalities.
    rule
        The rule.
    pairs
        Names in the first modality and in the second.
    """

    first: str
    second: str
    rule: Rule
    pairs: list[tuple[str, str]]

    @property
    def reason(self) -> str:
        """Which cells would be pairs but for what."""
        shown = ", ".join(f"{a!r} and {b!r}" for a, b in self.pairs[:3])
        return (
            f"{len(self.pairs)} cells of {self.first!r} and {self.second!r} would be pairs but for {self.rule.words} in "
            f"their names: {shown}."
        )

    def __str__(self) -> str:
        """A sentence, and code that joins them in a MuData."""
        both = "; ".join(
            f"mdata[{name!r}].obs_names = mdata[{name!r}].obs_names{self.rule.code}"
            for name in (self.first, self.second)
        )
        return f"{self.reason} If they are the same cells, join them: {both}; mdata = mudata.MuData(dict(mdata.mod))."


def fold(names: pd.Index) -> pd.Index:
    """Names without blanks around them, upper case and decimals.

    Parameters
    ----------
    names
        The names.
    """
    return names.str.strip().str.replace(r"\.0+$", "", regex=True).str.casefold()


#: The simplest first.
RULES = {
    rule.name: rule
    for rule in (
        Rule("blanks", "blanks", ".str.strip()", lambda names: names.str.strip()),
        Rule("case", "case", ".str.lower()", lambda names: names.str.lower()),
        Rule(
            "decimals",
            "decimals",
            r".str.replace(r'\.0+$', '', regex=True)",
            lambda names: names.str.replace(r"\.0+$", "", regex=True),
        ),
        Rule(
            "all",
            "blanks, case and decimals",
            r".str.strip().str.replace(r'\.0+$', '', regex=True).str.lower()",
            fold,
        ),
    )
}


def near_misses(names: Mapping[str, pd.Index]) -> list[NearMiss]:
    """Pairs of modalities with names that match only by a rule.

    Parameters
    ----------
    names
        Names of the cells of each modality.

    Returns
    -------
    For each pair of modalities the simplest rule that joins the most cells that have no partner of their own name, if
    any does: blanks, case, decimals (``"17.0"`` for ``"17"``), all three, or a suffix that all of them have in one of
    the modalities.
    """
    found = []
    texts = {key: pd.Index(index.astype(str)) for key, index in names.items()}
    for first, second in combinations(texts, 2):
        a, b = texts[first].difference(texts[second]), texts[second].difference(texts[first])
        if not len(a) or not len(b):
            continue
        rules = [*RULES.values(), *suffix_rule([a, b])]
        joined = [_joined(a, b, rule.change) for rule in rules]
        best = max(range(len(rules)), key=lambda i: len(joined[i]))
        if joined[best]:
            found.append(NearMiss(first, second, rules[best], joined[best]))
    return found


def suffix_rule(tables: Iterable[pd.Index]) -> list[Rule]:
    """The rule that removes the suffixes that all names of a table share, if there is such a table.

    Parameters
    ----------
    tables
        Names of the cells of each table.
    """
    suffixes = set()
    for names in tables:
        ends = names.str.extract(f"({_SUFFIX})", expand=False)
        if len(ends) and ends.nunique(dropna=False) == 1 and not pd.isna(ends[0]):
            suffixes.add(ends[0])
    if not suffixes:
        return []

    def change(names: pd.Index) -> pd.Index:
        for suffix in sorted(suffixes):
            names = names.str.removesuffix(suffix)
        return names

    code = "".join(f".str.removesuffix({suffix!r})" for suffix in sorted(suffixes))
    return [Rule("suffix", f"the suffix {' or '.join(map(repr, sorted(suffixes)))}", code, change)]


def _joined(a: pd.Index, b: pd.Index, change: Callable[[pd.Index], pd.Index]) -> list[tuple[str, str]]:
    """Names that a rule makes equal, where it joins one to one."""
    first, second = (pd.Series(names, index=change(names)) for names in (a, b))
    first, second = (s[~s.index.duplicated(keep=False)] for s in (first, second))
    shared = first.index.intersection(second.index, sort=False)
    return list(zip(first[shared], second[shared], strict=True))


def transposed(modalities: Mapping[str, AnnData]) -> list[str]:
    """Sentences for modalities whose features are named like the cells of another one.

    Parameters
    ----------
    modalities
        The modalities.
    """
    return [
        f"features of {name!r} are named like the cells of {other!r}: is it transposed? mdata[{name!r}].T has its cells "
        "in rows."
        for name, adata in modalities.items()
        for other, cells in modalities.items()
        if name != other and adata.var_names.astype(str).isin(cells.obs_names.astype(str)).any()
    ]
