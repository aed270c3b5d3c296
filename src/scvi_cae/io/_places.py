"""Places of a table where names are, and what kind of names these are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

if TYPE_CHECKING:
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


def numbers_rows(place: Place, names: pd.Index) -> bool:
    """Whether names merely number the rows.

    Parameters
    ----------
    place
        Their place.
    names
        The names.
    """
    return place.column != -1 and any(
        list(names[:3]) == [str(k + s) for k in range(len(names[:3]))]
        and list(names) == [str(k + s) for k in range(len(names))]
        for s in (0, 1)
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
