"""Columns of text: numbers with words for missing values, truth values, or annotations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._table import Table

#: Ways to write that a value is missing, in lower case.
NO_VALUE = frozenset(
    ["", "na", "n/a", "<na>", "#na", "#n/a", "#n/a n/a", "nan", "-nan", "none", "null", "pd.na", "nat"]
)
TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Missing:
    """What means that a value is missing.

    Parameters
    ----------
    words
        Words, in lower case, without blanks around them.
    numbers
        Numbers.
    """

    words: frozenset[str]
    numbers: tuple[float, ...]

    @classmethod
    def of(cls, missing: str | float | Iterable[str | float]) -> Missing:
        """Words and numbers that a user names, beside those that always mean it.

        Parameters
        ----------
        missing
            One or several.
        """
        named = [missing] if isinstance(missing, (str, int, float)) else list(missing)
        words = {str(item).strip().casefold() for item in named}
        numbers = pd.to_numeric(pd.Series(list(words), dtype=object), errors="coerce").dropna()
        return cls(NO_VALUE | words, tuple(numbers.astype(float)))

    def blank(self, text: pd.Series) -> pd.Series:
        """Which entries of a column of text are missing.

        Parameters
        ----------
        text
            The column.
        """
        return text.str.strip().str.casefold().isin(self.words)

    def masked(self, numbers: Any) -> Any:
        """A copy of numbers with NaN in place of those that mean missing.

        Parameters
        ----------
        numbers
            Matrix, dense or sparse.
        """
        if not self.numbers:
            return numbers
        if sparse.issparse(numbers) and 0.0 in self.numbers:
            numbers = numbers.toarray()
        numbers = numbers.astype(np.float64 if numbers.dtype.kind in "iub" else numbers.dtype)
        values = numbers.data if sparse.issparse(numbers) else numbers
        values[np.isin(values, self.numbers)] = np.nan
        return numbers


def to_numbers(text: pd.Series, missing: Missing, decimal: str = ".") -> tuple[np.ndarray, np.ndarray]:
    """Numbers in a column of text, and which entries are neither numbers nor missing.

    Parameters
    ----------
    text
        The column.
    missing
        What means missing.
    decimal
        Decimal mark.
    """
    blank = missing.blank(text)
    values = text.where(~blank).astype(object)
    words = values.str.strip().str.casefold().dropna()
    if len(words) and words.isin(list(TRUTH)).all():
        return words.map(TRUTH).reindex(text.index).to_numpy(dtype=float), np.zeros(len(text), dtype=bool)
    if decimal != ".":
        values = values.str.replace(decimal, ".", regex=False)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float)
    return numbers, (np.isnan(numbers) & ~blank).to_numpy()


def resolve(table: Table, missing: Missing) -> Table:
    """A table whose columns of text that are numbers, missing or truth values throughout are numbers, too.

    They stay among the columns of text, since they may be names. Truth values among annotations stay text.

    Parameters
    ----------
    table
        The table.
    missing
        What means missing.
    """
    found: dict[int, np.ndarray] = {}
    known = set(table.numeric.tolist())
    for i in map(int, table.text.columns):
        column = table.text[i]
        if i in known or (table.name == "obs" and _is_truth(column, missing)):
            continue
        numbers, words = to_numbers(column, missing, table.decimal)
        if not words.any():
            found[i] = numbers
    numbers = table.numbers
    if found:
        new: Any = np.column_stack(list(found.values()))
        order = np.argsort([*table.numeric, *found])
        numbers = (
            sparse.hstack([numbers, sparse.csr_matrix(new)], format="csr")
            if sparse.issparse(numbers)
            else np.hstack([numbers, new])
        )[:, order]
    positions = np.array(sorted([*table.numeric, *found]), dtype=int)
    return replace(table, numbers=missing.masked(numbers), numeric=positions)


@dataclass(frozen=True)
class Columns:
    """The columns of a table, apart from that of its names.

    Parameters
    ----------
    numbers
        Values ``(n_rows, n_numeric)``.
    names
        Names of these columns.
    text
        Columns of text, NaN where missing.
    """

    numbers: Any
    names: pd.Index
    text: pd.DataFrame


def settle(table: Table, key: int | None, rows: pd.Index, missing: Missing) -> Columns:
    """Tell numbers from text among the columns of a table, once it is known which one holds names.

    Parameters
    ----------
    table
        The table, after :func:`resolve`.
    key
        Position of the column that holds the names of the rows, which is left out; ``None`` if none does.
    rows
        Names of the rows, for messages.
    missing
        What means missing.

    Raises
    ------
    ValueError
        If a column of numbers has words, but for annotations, or if a name is above several columns.
    """
    others, left_out = _without_row_numbers(table, [i for i in range(len(table.header)) if i != key])
    if left_out:
        table.notes.append(left_out)
    twice = table.header[others][table.header[others].duplicated()].unique()
    if len(twice):
        raise ValueError(
            f"{table.source}: {len(twice)} columns have the same name as another one: {shorten(twice)}. Rename or "
            "delete one of each."
        )
    numeric = {position: i for i, position in enumerate(table.numeric.tolist())}
    text: dict[str, np.ndarray] = {}
    mixed: dict[int, np.ndarray] = {}
    for i in (i for i in others if i not in numeric):
        column = pd.Series(table.text[i].to_numpy(dtype=object))
        text[table.header[i]] = column.where(~missing.blank(column)).str.strip().to_numpy()
        if _is_truth(column, missing):
            continue
        numbers, words = to_numbers(column, missing, table.decimal)
        commas = column[words].str.fullmatch(r"\s*[-+]?\d+,\d+\s*")
        if commas.any() and commas.all() and not np.isfinite(numbers).any() and table.name != "obs":
            raise ValueError(
                f"{table.source}: column {table.header[i]!r} has decimal commas ({shorten(column[words].tolist(), 1)}), where others "
                "have points. Write all columns alike."
            )
        if np.isfinite(numbers).sum() >= max(1, words.sum()) and not _are_classes(column, words):
            mixed[i] = words
            if table.name != "obs":
                _refuse_words(table, i, rows, column, words)
    _note_words(table, mixed)
    kept = [i for i in others if i in numeric]
    return Columns(
        table.numbers if len(kept) == len(numeric) else table.numbers[:, [numeric[i] for i in kept]],
        table.header[kept],
        pd.DataFrame(text, index=range(len(rows))),
    )


def _is_truth(column: pd.Series, missing: Missing) -> bool:
    words = column[~missing.blank(column)].str.strip().str.casefold()
    return bool(len(words)) and bool(words.isin(list(TRUTH)).all())


def _without_row_numbers(table: Table, positions: list[int]) -> tuple[list[int], str]:
    """Positions without those of unnamed columns that only number the rows, or are empty."""
    kept, left_out = [], []
    for i in positions:
        plain = table.header[i].strip() in ("", f"Unnamed: {i}") and i in table.text
        entries = table.text[i].tolist() if plain else []
        numbers = plain and entries in ([str(k + s) for k in range(len(entries))] for s in (0, 1))
        empty = plain and not any(str(entry).strip() for entry in entries)
        if numbers or empty:
            left_out.append("a column that numbers the rows" if numbers else "an empty column")
        elif table.header[i].strip() == "" and _all_nan(table, i):
            left_out.append("an empty column")
        else:
            kept.append(i)
    return kept, f"left out: {' and '.join(left_out)}, without a name" if left_out else ""


def _all_nan(table: Table, position: int) -> bool:
    where = np.flatnonzero(table.numeric == position)
    if not len(where) or table.adata is not None:
        return False
    column = table.numbers[:, where]
    return bool(np.isnan(column.toarray() if sparse.issparse(column) else column).all())


def _are_classes(column: pd.Series, words: np.ndarray) -> bool:
    """Whether a column with numbers and words holds classes, such as layers 1, 2/3 and 5."""
    whole = column[~words].str.strip().str.fullmatch(r"\d*").all()
    return bool(whole) and bool(column[words].str.contains(r"\d").all())


def _refuse_words(table: Table, position: int, rows: pd.Index, column: pd.Series, words: np.ndarray) -> None:
    found = column[words].str.strip().unique().tolist()
    raise ValueError(
        f"{table.source}: column {table.header[position]!r} has numbers, and {int(words.sum())} other entries: "
        f"{shorten(found)}, the first in row {rows[int(np.flatnonzero(words)[0])]!r}. If they mean that the value is "
        f"missing: missing={found[:20]}. Otherwise correct them."
    )


def _note_words(table: Table, mixed: dict[int, np.ndarray]) -> None:
    """Say which annotations would be numbers but for a few words."""
    found = {i: list(dict.fromkeys(table.text[i][words].str.strip())) for i, words in mixed.items()}
    if found:
        columns = ", ".join(f"{table.header[i]!r} ({shorten(words, 3)})" for i, words in found.items())
        every = list(dict.fromkeys(word for words in found.values() for word in words))
        table.notes.append(
            f"numbers with words among them, kept as text: {columns}. If the words mean missing: missing={every[:20]}"
        )


def renamed(table: Table, frame: pd.DataFrame) -> pd.DataFrame:
    """Annotations whose names files can hold: HDF5 takes a slash for the path of a group.

    Parameters
    ----------
    table
        Their table, which takes note of what is renamed.
    frame
        The annotations.
    """
    names = {name: str(name).replace("/", "_") for name in frame if "/" in str(name)}
    if names:
        table.notes.append(
            "columns of annotations renamed, since files cannot hold slashes: "
            + ", ".join(f"{old!r} to {new!r}" for old, new in names.items())
        )
    return frame.rename(columns=names)
