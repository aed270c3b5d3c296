"""Where the names of the cells are: in the rows of a table, by which column, or above its columns."""

from __future__ import annotations

from itertools import combinations, permutations, product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.data import fold, near_misses

from ._names import apply, shared_part
from ._places import HEADER, Place, gene_like, names_at, numbers_rows, row_keys, words

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ._names import Join
    from ._table import Table

#: A column other than the first names cells if it shares this part of its names, or of the other table's.
_LEAST = 0.1


def locate(
    tables: Mapping[str, Table],
    join: Join,
    transposed: Collection[str] | None,
    transcriptomes: Collection[str],
) -> dict[str, Place]:
    """Find where the names of the cells are in each table: where tables agree.

    Parameters
    ----------
    tables
        The tables.
    join
        How names are to be changed.
    transposed
        Tables that have cells in columns; ``None`` if that is to be found, too.
    transcriptomes
        Tables that hold genes.

    Raises
    ------
    ValueError
        If names of a table are in no other one, or agree in several places as much.
    """
    places = {name: _candidates(table, transposed) for name, table in tables.items()}
    if len(tables) == 1:
        (name,) = tables
        return {name: _alone(tables[name], places[name], transposed, name in transcriptomes)}
    folded = {
        name: {place: names for place in found if (names := _folded(tables[name], place, join)) is not None}
        for name, found in places.items()
    }
    shared = _overlaps(tables, folded, transcriptomes)
    chosen: dict[str, Place] = {}
    while len(chosen) < len(tables):
        scores = {
            (name, place): max(
                (
                    shared.get((name, place, other, there), 0)
                    for other in tables
                    if other != name
                    for there in ([chosen[other]] if other in chosen else folded[other] if not chosen else [])
                ),
                default=0,
            )
            for name in tables
            if name not in chosen
            for place in folded[name]
        }
        if not scores or not max(scores.values()):
            break
        best = max(scores.values())
        name = next(name for (name, _), score in scores.items() if score == best)
        tied = [place for (other, place), score in scores.items() if other == name and score == best]
        chosen[name] = _settled(tables[name], tied, len(chosen), transposed)
    for name in tables:
        if name not in chosen:
            if transposed is None:
                raise ValueError(_no_match(tables, places, name, chosen))
            chosen[name] = next(iter(places[name]))
    return chosen


def _candidates(table: Table, transposed: Collection[str] | None) -> list[Place]:
    found = row_keys(table)
    # Row numbers are names at most in the first place, and where rows have names, features may be whole numbers.
    keys = [p for p in found if p.column in (-1, 0) or not numbers_rows(p, found[p])]
    if table.name != "obs" and any(p.column in (-1, 0) and not numbers_rows(p, found[p]) for p in keys):
        keys = [p for p in keys if p.column in (-1, 0) or p.column not in table.numeric]
    header = [HEADER] if len(table.numeric) and table.name != "obs" else []
    if numbers_rows(HEADER, table.header):
        header = []
    if transposed is not None:
        keys, header = ([], header) if table.name in transposed else (keys, [])
    if not keys and not header:
        raise ValueError(
            f"{table.source}: no column of {table.name!r} holds names of cells, that is, entries that differ from row to "
            "row. Make names the first column, or the index of a data frame: frame.set_index('cell')."
        )
    return [*keys, *header]


def _alone(table: Table, places: list[Place], transposed: Collection[str] | None, genes: bool) -> Place:
    """The place of the names in the only table: rows, unless these are genes."""
    rows = next((place for place in places if not place.transposed), None)
    if rows is None or transposed is not None:
        return places[0]
    turned = (
        genes
        and HEADER in places
        and gene_like(names_at(table, rows))
        and not gene_like(names_at(table, HEADER))
    )
    return HEADER if turned else rows


def _folded(table: Table, place: Place, join: Join) -> pd.Index | None:
    """Names at a place without what names may differ in; ``None`` if they cannot be names of cells."""
    names = apply(join, names_at(table, place), table.name, strict=False)
    return None if names is None else fold(names)


def _overlaps(
    tables: Mapping[str, Table], folded: dict[str, dict[Place, pd.Index]], transcriptomes: Collection[str]
) -> dict[tuple[str, Place, str, Place], int]:
    """How many names each two places of two tables share, unless these are names of features.

    Two headers may both hold features, unless one of them is that of a transcriptome, and two transcriptomes may both
    have genes in rows.
    """
    sets = {(name, place): set(names) for name, found in folded.items() for place, names in found.items()}
    numbers = {
        (name, place)
        for name, found in folded.items()
        for place, names in found.items()
        if numbers_rows(place, names)
    }
    shared: dict[tuple[str, Place, str, Place], int] = {}
    for first, second in combinations(tables, 2):
        for here, there in product(folded[first], folded[second]):
            a, b = sets[first, here], sets[second, there]
            n_genes = (first in transcriptomes) + (second in transcriptomes)
            if (here.transposed and there.transposed and n_genes != 1) or (
                n_genes == 2 and gene_like(pd.Index(a & b))
            ):
                continue
            n = len(a & b)
            usual = all(p.transposed or p.column in (-1, 0) for p in (here, there))
            if n and (usual or n >= _LEAST * min(len(a), len(b))):
                shared[first, here, second, there] = shared[second, there, first, here] = n
    # Row numbers are names only where a table has no others.
    proper = {(name, place) for (name, place, *_) in shared} - numbers
    tables_with_names = {name for name, _ in proper}
    return {
        key: n
        for key, n in shared.items()
        if all(
            spot not in numbers or spot[0] not in tables_with_names
            for spot in ((key[0], key[1]), (key[2], key[3]))
        )
    }


def _settled(table: Table, tied: list[Place], n_chosen: int, transposed: Collection[str] | None) -> Place:
    """The place among those that agree with other tables as much."""
    usual = [place for place in tied if place.column in (-1, 0)]
    same = all(np.array_equal(names_at(table, tied[0]), names_at(table, place)) for place in tied)
    if len(tied) == 1 or same or (usual and HEADER not in tied):
        return (usual or tied)[0]
    where = [f"{words(table, place)} ({shorten(names_at(table, place), 3)})" for place in tied]
    raise ValueError(
        f"{table.source}: names of cells may be in {' or in '.join(where)}, which agree with the other tables as much. Say "
        f"which tables have cells in columns, transposed=['{table.name}'] or transposed=[], and make the names of rows the "
        "first column."
    )


def _no_match(
    tables: Mapping[str, Table], places: Mapping[str, list[Place]], lost: str, chosen: Mapping[str, Place]
) -> str:
    """Why the cells of a table are not found in the others, with names of all of them side by side."""
    lines = []
    for name, table in tables.items():
        shown = [chosen[name]] if name in chosen else places[name][:6]
        parts = [f"{words(table, place)}: {shorten(names_at(table, place), 2)}" for place in shown]
        lines.append(f"{name!r} ({table.source}) has in {'; in '.join(parts)}")
    first = {name: chosen.get(name, places[name][0]) for name in tables}
    misses = near_misses({name: names_at(tables[name], place) for name, place in first.items()})
    hint = "".join(
        f" {miss.reason} Then join={miss.rule.name!r}."
        for miss in misses
        if lost in (miss.first, miss.second)
    )
    found = {
        (name, here, other, there): shared_part(names_at(tables[name], here), names_at(tables[other], there))
        for name, other in permutations(tables, 2)
        if lost in (name, other)
        for here, there in product(*([chosen[t]] if t in chosen else places[t][:6] for t in (name, other)))
        if not (here.transposed or there.transposed)
    }
    (name, here, other, _), (expression, n) = max(
        found.items(), key=lambda item: item[1][1], default=(("", HEADER, "", HEADER), ("", 0))
    )
    if n and not hint:
        hint = (
            f" {n:,} parts of names of {name!r} ({words(tables[name], here)}) are names of {other!r}: join='{expression}' "
            "keeps these."
        )
    return (
        f"No name of a cell in {lost!r} is in another table. {'. '.join(lines)}.{hint} Otherwise, give a function that makes "
        f"the names of one table those of another, such as join=lambda name: name.split('_')[0], which all names pass; or, "
        "if no cell is in both, say which tables have cells in columns: transposed=[] for none of them."
    )
