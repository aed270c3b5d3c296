"""Where the names of the cells are: in the rows of a table, by which column, or above its columns."""

from __future__ import annotations

import re
from itertools import combinations, permutations, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.data._names import fold, near_misses

from ._names import apply, shared_part

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ._names import Join
    from ._table import Table

#: Names that many transcriptomes hold, in lower case, and no list of cells.
GENES = frozenset(
    "actb gapdh malat1 gad1 gad2 slc17a7 slc17a6 slc32a1 sst pvalb vip npy cck calb1 calb2 snap25 syt1 rbfox3 "
    "lamp5 sncg reln cplx1 kcnc1 kcnc2 scn1a scn2a hcn1 rps27a rpl13a eef1a1 tubb3 map2 camk2a".split()
)
#: Names of columns beside counts that are numbers, but no cells, in lower case.
ANNOTATIONS = frozenset(
    "length gene_length genelength start end strand chr chromosome entrez entrezid entrez_id gene_id geneid effective_length "
    "gene_size width n_exons gc gc_content".split()
)
_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{11}(\.\d+)?$")
#: A column other than the first names cells if it shares this part of its names, or of the other table's.
_LEAST = 0.1
#: Part of the entries of a column of names that differ from all others, at least.
_DISTINCT = 0.9


class Place(NamedTuple):
    """Where the names of a table's cells are.

    Parameters
    ----------
    column
        Position of the column that holds them, -1 for the index; ``None`` if they are above the columns.
    """

    column: int | None

    @property
    def transposed(self) -> bool:
        """Whether cells are columns."""
        return self.column is None


HEADER = Place(None)


def gene_like(names: pd.Index) -> bool:
    """Whether names are those of genes.

    Parameters
    ----------
    names
        The names.
    """
    texts = [str(name) for name in names]
    return not GENES.isdisjoint(name.casefold() for name in texts) or any(map(_ENSEMBL.match, texts))


def is_annotation(name: str) -> bool:
    """Whether a column beside counts describes genes, and is no cell.

    Parameters
    ----------
    name
        Name of the column.
    """
    return name.strip().casefold() in ANNOTATIONS


def row_keys(table: Table) -> dict[Place, pd.Index]:
    """Names that rows may have, the most usual place first.

    Parameters
    ----------
    table
        The table.

    Returns
    -------
    Names in the index, in the first column, and in every other column whose entries differ from each other, up to a few.
    """
    keys = {} if table.index is None else {Place(-1): table.index}
    for i in map(int, table.text.columns):
        names = pd.Index(table.text[i].to_numpy(dtype=object), dtype=object)
        if i in table.numeric and not names.str.fullmatch(r"\s*\d+([.,]0*)?\s*").all():
            continue
        first = i == 0 and i not in table.numeric
        # A name that is there twice is refused by name later.
        if first or names.nunique() >= _DISTINCT * len(names):
            keys[Place(i)] = names
    return keys


def names_at(table: Table, place: Place) -> pd.Index:
    """Names at a place of a table.

    Parameters
    ----------
    table
        The table.
    place
        The place.
    """
    if place.transposed:
        return pd.Index(
            [name for name in table.header[table.numeric] if not is_annotation(name)], dtype=object
        )
    if place.column == -1 and table.index is not None:
        return table.index
    return pd.Index(table.text[place.column].to_numpy(dtype=object), dtype=object)


def _numbering(table: Table, place: Place, names: pd.Index) -> bool:
    """Whether names merely number the rows."""
    return place.column != -1 and any(
        list(names[:3]) == [str(k + s) for k in range(len(names[:3]))]
        and list(names) == [str(k + s) for k in range(len(names))]
        for s in (0, 1)
    )


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
    keys = [p for p in found if p.column in (-1, 0) or not _numbering(table, p, found[p])]
    if table.name != "obs" and any(p.column in (-1, 0) and not _numbering(table, p, found[p]) for p in keys):
        keys = [p for p in keys if p.column in (-1, 0) or p.column not in table.numeric]
    header = [HEADER] if len(table.numeric) and table.name != "obs" else []
    if _numbering(table, HEADER, table.header):
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
        if _numbering(tables[name], place, names)
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


def words(table: Table, place: Place) -> str:
    """A place in words.

    Parameters
    ----------
    table
        The table.
    place
        The place.
    """
    if place.transposed:
        return "the names of the features" if table.adata is not None else "the header row"
    if place.column == -1:
        return "the index"
    assert place.column is not None
    name = table.header[place.column].strip()
    return f"column {name!r}" if name else f"column {place.column + 1}, which has no name"


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
