"""Names of cells that are made the same in all tables, by rules or by a function."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.data import RULES, suffix_rule

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Names of rules, or a function from a name to a name.
Join = Sequence[str] | Callable[[str], str]


def checked(join: str | Join | None) -> Join:
    """The argument ``join`` as a list of rules, or a function, which a regular expression stands for.

    Parameters
    ----------
    join
        The argument.

    Raises
    ------
    ValueError
        If there is no such rule, or the regular expression is none.
    """
    if callable(join):
        return join
    if isinstance(join, str) and "(" in join:
        return _part(join)
    rules = [] if join is None else [join] if isinstance(join, str) else list(join)
    known = [*RULES, "suffix"]
    if unknown := [rule for rule in rules if rule not in known]:
        raise ValueError(
            f"join={unknown[0]!r} must be one of {', '.join(map(repr, known))}, a regular expression with "
            "parentheses around the part of a name that is to be kept, or a function."
        )
    return rules


def _part(expression: str) -> Callable[[str], str]:
    """The function that keeps the part of a name that a regular expression finds, and other names as they are."""
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise ValueError(f"join={expression!r} is no regular expression: {error}.") from error
    if pattern.groups != 1:
        raise ValueError(
            f"join={expression!r} must have one pair of parentheses, around the part of a name that is to be kept."
        )
    return lambda name: found[1] if (found := pattern.search(name)) else name


def shared_part(names: pd.Index, others: pd.Index) -> tuple[str, int]:
    """A regular expression for the part of names that are names elsewhere, and for how many it is.

    Parameters
    ----------
    names
        Names, such as ``"sub-7_ses-12_x.nwb"``.
    others
        Names elsewhere, such as ``"12"``.
    """
    known = set(others)

    def n_shared(expression: str, names: pd.Index) -> int:
        change = _part(expression)
        return sum(change(part) == part for part in known & {change(name) for name in names})

    some = names[:500]
    n_parts = max((len(re.findall("[0-9A-Za-z]+", name)) for name in some), default=0)
    expressions = ["^([0-9A-Za-z]+)"] + [
        f"^(?:[^0-9A-Za-z]*[0-9A-Za-z]+){{{i}}}[^0-9A-Za-z]+([0-9A-Za-z]+)" for i in range(1, n_parts)
    ]
    best = max(expressions, key=lambda expression: n_shared(expression, some))
    return best, n_shared(best, names)


def apply(join: Join, names: pd.Index, table: str, strict: bool = True) -> pd.Index | None:
    """Names by which a table is joined to others.

    Parameters
    ----------
    join
        Rules or function. A suffix is removed if all of ``names`` have it.
    names
        Names in the table.
    table
        The table, for messages.
    strict
        Whether a name on which the function fails is an error; otherwise the answer is ``None``.

    Raises
    ------
    ValueError
        If the function fails.
    """
    if callable(join):
        try:
            return pd.Index([str(join(name)) for name in names], dtype=object)
        except Exception as error:
            if not strict:
                return None
            raise ValueError(
                f"join= fails on names of {table!r}, such as {shorten(names, 1)} ({type(error).__name__}: {error}). All names "
                "pass it: return those unchanged that need no change."
            ) from error
    for name in join:
        for rule in suffix_rule([names]) if name == "suffix" else [RULES[name]]:
            names = rule.change(names)
    return names


def unify(join: Join, names: Mapping[str, pd.Index], sources: Mapping[str, str]) -> dict[str, pd.Index]:
    """Names of all tables' cells, with one name for each cell: that of the first table that has it.

    Parameters
    ----------
    join
        Rules or function; the names that a function returns are kept.
    names
        Names in each table.
    sources
        Files of the tables, for messages.

    Raises
    ------
    ValueError
        If two rows of a table have the same name, or none.
    """
    first: dict[str, str] = {}
    unified = {}
    for table, given in names.items():
        if (empty := given.str.strip() == "").any():
            raise ValueError(
                f"{sources[table]}: {int(empty.sum())} cells of {table!r} have no name, the first in row "
                f"{int(empty.argmax()) + 1}. Name or delete them."
            )
        _check_unique(given, table, sources[table], "")
        keys = apply(join, given, table)
        assert keys is not None
        _check_unique(keys, table, sources[table], " by join=")
        for key, name in zip(keys, given, strict=True):
            first.setdefault(key, key if callable(join) else name)
        unified[table] = pd.Index([first[key] for key in keys], dtype=object)
    return unified


def _check_unique(names: pd.Index, table: str, source: str, how: str) -> None:
    twice = names[names.duplicated()].unique()
    if len(twice):
        raise ValueError(
            f"{source}: {len(twice)} names of cells of {table!r} are there more than once{how}, with different values: "
            f"{shorten(twice)}. Keep one of each, or give them different names."
        )
